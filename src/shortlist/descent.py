"""Gradient descent: one loop with early stopping and checkpoints, for arrays of any names.

PyTorch (extra: torch) is imported when something is learned with it and never otherwise; what it learned leaves as
numpy arrays.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist import progress
from shortlist.errors import ConfigError
from shortlist.types import Vectors

Arrays: TypeAlias = dict[str, Vectors]
Tensors: TypeAlias = dict[str, Any]


def library(where: str) -> Any:
    """The module torch; ConfigError when it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise ConfigError(
            f"this model is learned with PyTorch, which cannot be loaded ({error})",
            where=where,
            hint="pip install 'shortlist[torch]' where models are trained; serving them needs nothing",
        ) from error
    return torch


@dataclass(frozen=True, slots=True)
class Descent:
    """How long and how fast to learn; part of the recipes that do."""

    epochs: int = 100  # at most
    patience: int = 5  # epochs without a better score on the held-out people before it stops
    held: int = 2000  # people whose last liking is held out, a tenth of all at most
    batch: int = 128
    rate: float = 0.001  # of Adam
    decay: float = 0.0  # of weights, decoupled
    clip: float = 5.0  # longest gradient
    average: float = 0.0  # what the mean of the weights keeps of itself at each step (Polyak, Juditsky 1992); 0 = none
    threads: int = 0  # of PyTorch; 0 = all. One thread repeats a seeded run exactly
    precision: Literal["float32", "bfloat16"] = "float32"  # of products; bfloat16 where the processor has it (AMX)
    checkpoint: str = ""  # file (.npz) that an interrupted run goes on from, written every epoch; empty = none

    def run(
        self,
        torch: Any,
        start: Arrays,
        loss: Callable[[Tensors, Any], Any],
        batches: Callable[[np.random.Generator], Iterable[Any]],
        score: Callable[[Arrays], float] | None,
        *,
        seed: int,
        facts: object,
    ) -> Arrays:
        """The arrays of the best epoch by `score` (None = the last), from `start` on, by Adam on `loss` (parameters,
        batch).

        Chance in epoch e comes from `seed` and e alone, so a run that was interrupted goes on as if it had not been.
        `facts` tells this training from others, which have checkpoints of their own beside it: a run of `train` learns
        the same recipe more than once.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads or threads)
        try:
            with torch.random.fork_rng(devices=[]):
                return self._run(torch, start, loss, batches, score, seed, facts)
        finally:
            torch.set_num_threads(threads)

    def _run(
        self,
        torch: Any,
        start: Arrays,
        loss: Callable[[Tensors, Any], Any],
        batches: Callable[[np.random.Generator], Iterable[Any]],
        score: Callable[[Arrays], float] | None,
        seed: int,
        facts: object,
    ) -> Arrays:
        run = _Run(torch, start, self)
        key = hashlib.sha256(repr((seed, facts)).encode()).hexdigest()
        path = Path(self.checkpoint) if self.checkpoint else None
        if path:
            path = path.with_name(f"{path.stem}.{key[:16]}{path.suffix}")
        run.resume(path, key)
        while run.epoch < self.epochs and run.epoch - run.best_epoch < self.patience:
            run.epoch += 1
            torch.manual_seed(seed * 1_000_003 + run.epoch)
            for batch in batches(np.random.default_rng((seed, run.epoch))):
                run.optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
                    lost = loss(run.parameters, batch)
                lost.backward()
                torch.nn.utils.clip_grad_norm_(run.parameters.values(), self.clip)
                run.optimizer.step()
                run.follow(self.average)
            reached = score(run.arrays()) if score else run.best_score
            if score is None or reached > run.best_score:
                run.best, run.best_score, run.best_epoch = run.arrays(), reached, run.epoch
            run.save(path, key)
            note = f"held out {reached:.4f}, best {run.best_score:.4f}" if score else ""
            progress.tell("epoch", run.epoch, self.epochs, note)
        if path:
            path.unlink(missing_ok=True)
        return run.best


class _Run:
    """Where a training is: everything that a checkpoint holds."""

    def __init__(self, torch: Any, start: Arrays, descent: Descent) -> None:
        self.torch = torch
        self.parameters: Tensors = {
            name: torch.tensor(each, dtype=torch.float32, requires_grad=True) for name, each in start.items()
        }
        self.mean = {name: torch.tensor(each, dtype=torch.float32) for name, each in start.items()}
        self.steps = 0
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=descent.rate, weight_decay=descent.decay)
        self.best, self.best_score, self.best_epoch, self.epoch = start, -1.0, 0, 0

    def follow(self, average: float) -> None:
        """The mean goes after the weights, faster in the first steps than `average` says."""
        self.steps += 1
        share = 1 - min(average, self.steps / (self.steps + 10))
        with self.torch.no_grad():
            for name, each in self.parameters.items():
                self.mean[name].lerp_(each, share)

    def arrays(self) -> Arrays:
        return {name: each.numpy().copy() for name, each in self.mean.items()}

    def save(self, path: Path | None, key: str) -> None:
        if path is None:
            return
        held: dict[str, NDArray[Any]] = {
            "key": np.array(key),
            "at": np.array([self.epoch, self.best_epoch, self.steps], np.int64),
            "score": np.array(self.best_score),
        }
        for name, each in self.parameters.items():
            held[f"now.{name}"], held[f"best.{name}"] = each.detach().numpy(), self.best[name]
            held[f"mean.{name}"] = self.mean[name].numpy()
            state = self.optimizer.state.get(each, {})
            held |= {f"adam.{part}.{name}": value.numpy() for part, value in state.items()}
        draft = path.with_name(f".{path.name}.draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, **held)  # type: ignore[arg-type]  # its stub takes names for its own options
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)

    def resume(self, path: Path | None, key: str) -> None:
        """Go on from `path`, if it is a whole checkpoint of the same training."""
        held = _read(path, key)
        if not held:
            return
        self.epoch, self.best_epoch, self.steps = (int(each) for each in held["at"])
        self.best_score = float(held["score"])
        self.best = {name: held[f"best.{name}"] for name in self.parameters}
        with self.torch.no_grad():
            for name, each in self.parameters.items():
                each.copy_(self.torch.from_numpy(held[f"now.{name}"]))
                self.mean[name].copy_(self.torch.from_numpy(held[f"mean.{name}"]))
                parts = [part for part in ("step", "exp_avg", "exp_avg_sq") if f"adam.{part}.{name}" in held]
                for part in parts:
                    self.optimizer.state[each][part] = self.torch.tensor(held[f"adam.{part}.{name}"])


def dropped(torch: Any, state: Any, share: float) -> Any:
    """`state` with about `share` of its entries at 0 and the others scaled up (Srivastava et al., JMLR 2014).

    The share is rounded to a 256th: one random byte an entry, which numpy draws several times as fast as PyTorch draws
    its own. The bytes follow from PyTorch's seed.
    """
    least = round(share * 256)
    if not least:
        return state
    chance = np.random.default_rng(int(torch.randint(2**62, ())))
    kept = np.frombuffer(chance.bytes(state.numel()), np.uint8).reshape(tuple(state.shape)) >= least
    return state * torch.from_numpy(kept).to(state.dtype).mul_(256 / (256 - least))


def _read(path: Path | None, key: str) -> Mapping[str, NDArray[Any]]:
    if path is None or not path.exists():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return dict(held) if str(held["key"]) == key else {}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # cut short: as if there were none
        return {}


def digest(*arrays: NDArray[Any]) -> str:
    """A short name of the contents of `arrays`."""
    made = hashlib.sha256()
    for each in arrays:
        made.update(np.ascontiguousarray(each).tobytes())
    return made.hexdigest()
