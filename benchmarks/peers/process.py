"""The parent's side: folders with data, environments for libraries, processes that fit and answer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from benchmarks.rows import ROOT
from shortlist.dataset import Dataset
from shortlist.eval.protocol import Part
from shortlist.types import Columns, Ragged, Rows

HERE = Path(__file__).parent
SCRIPTS = {
    "shortlist": "with_shortlist.py",
    "peer:implicit": "with_implicit.py",
    "peer:irspack": "with_irspack.py",
    "peer:rectools": "with_rectools.py",
    "peer:lenskit": "with_lenskit.py",
    "peer:gensim": "with_gensim.py",
    "peer:spark": "with_spark.py",
}
OWN = {  # libraries whose pins do not go with ours: what is installed, in this order
    "peer:rectools": ("rectools==0.19.0",),
    "peer:lenskit": ("torch==2.13.0", "lenskit==2025.8.1"),  # torch first, or a build for graphics cards comes along
    "peer:onnxruntime": ("onnxruntime==1.32.0", "onnx==1.23.2"),
    "peer:torch": ("torch==2.13.0", "numpy"),
    "peer:deepctr-torch": ("torch==2.13.0", "deepctr-torch==0.3.0", "requests"),
    "peer:surprise": ("scikit-surprise==1.1.5", "pandas"),
    "peer:myfm": ("myfm==0.4.0",),
    "peer:usearch": ("usearch==2.26.6",),
    "peer:hnswlib": ("hnswlib==0.8.0",),
    "peer:gensim": ("gensim==4.4.0",),
    "peer:spark": ("pyspark==4.3.0", "pandas<3", "scipy"),  # and Java 17
    "peer:rectools-torch": ("torch==2.13.0", "rectools[torch]==0.19.0"),
    "shortlist-torch": ("torch==2.13.0",),  # with our own environment beside it
}
LEARNED = ("sasrec", "twotower")  # fitted with PyTorch
THREADED = ("als", "bpr", "itemknn", "rp3beta", "slim", "top", "userknn")  # libraries run their own threads for these


class Answered(NamedTuple):
    """What a library showed, and what that cost."""

    shown: Rows  # (B, k)
    seconds: float  # of fitting
    peak_mb: float  # of fitting
    answering: float = 0.0  # seconds, of all questions


class PeerFailed(Exception):
    """A library could not fit or answer with these settings."""


def environment(side: str, folder: Path, model: str = "") -> Path:
    """The Python that runs a library: ours, or one made under `folder` when its pins conflict with ours.

    Models that are fitted with PyTorch get an environment with it; our own, when ours has none. Raises PeerFailed when
    a library cannot be installed.
    """
    if model in LEARNED and f"{side}-torch" in OWN and not (side == "shortlist" and importlib.util.find_spec("torch")):
        side = f"{side}-torch"
    if side not in OWN:
        return Path(sys.executable)
    home = folder / side.removeprefix("peer:")
    python, ready = home / "bin" / "python", home / ".ready"
    if not ready.exists():
        print(f"making an environment for {side} in {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        for package in OWN[side]:
            done = subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False)
            if done.returncode:
                raise PeerFailed(f"{side}: {package} cannot be installed")
        if side == "shortlist-torch":
            beside = sysconfig.get_path("purelib")
            (next((home / "lib").glob("python*/site-packages")) / "ours.pth").write_text(
                f"import site; site.addsitedir({beside!r})\n"
            )
        ready.touch()
    return python


def write_job(folder: Path, train: Dataset, part: Part, k: int) -> Path:
    """What a library learns from and is asked, as arrays: matrices for everybody, events and lists for ourselves."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, size = (len(part), train.n_items), (train.n_users, train.n_items)
    liked = part.history.where(part.history["weight"] > 0)
    _write_matrix(folder / "train.npz", train.matrix.astype(bool).astype(np.float32))
    _write_matrix(folder / "history.npz", _matrix(liked, shape))
    _write_matrix(folder / "seen.npz", _matrix(part.history, shape))
    np.savez(folder / "asked.npz", user=part.user, time=part.time, known=part.known, k=k, size=size, now=train.now)
    events = train.events
    columns = ("user", "item", "kind", "value", "time", "request", "id")
    np.savez(folder / "events.npz", **{name: getattr(events, name) for name in columns})
    np.savez(folder / "history_lists.npz", ptr=part.history.ptr, **part.history.columns)
    np.savez(folder / "relevant_lists.npz", ptr=part.relevant.ptr, **part.relevant.columns)
    facts = {entity: _facts(getattr(train, entity)) for entity in ("users", "items")}
    (folder / "facts.json").write_text(json.dumps(facts))
    return folder


def _facts(columns: Columns) -> dict[str, Any]:
    return {name: {"dtype": column.dtype.str, "value": column.tolist()} for name, column in columns.items()}


def _matrix(lists: Ragged, shape: tuple[int, int]) -> csr_array:
    one = np.ones(len(lists["item"]), np.float32)
    matrix = csr_array((one, lists["item"], lists.ptr), shape=shape, copy=True)
    matrix.sum_duplicates()  # in place, on the copy
    matrix.data[:] = 1
    return matrix


def _write_matrix(path: Path, matrix: csr_array) -> None:
    index = np.int32
    np.savez(
        path,
        data=matrix.data,
        indices=matrix.indices.astype(index),
        indptr=matrix.indptr.astype(index),
        shape=matrix.shape,
    )


class Worker:
    """A process that holds one library's algorithm and one folder of data. Use as a context."""

    def __init__(
        self, side: str, model: str, folder: Path, environments: Path, *, script: str = "", threads: int = 0
    ) -> None:
        python = environment(side, environments, model.removesuffix("-recent"))
        cores = str(threads or len(os.sched_getaffinity(0)))
        blas = "1" if model.removesuffix("-recent") in THREADED else cores
        own = {"OMP_NUM_THREADS": cores, "OPENBLAS_NUM_THREADS": blas, "MKL_NUM_THREADS": blas}
        path = {"PYTHONPATH": str(ROOT)} if side == "shortlist" else {}
        command = [str(python), str(HERE / (script or SCRIPTS[side])), model, str(folder)]
        self.name = f"{side} {model}"
        self.out = Path(tempfile.mkstemp(suffix=".npy", dir=folder)[1])
        self.log = self.out.with_suffix(".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **own, **path},
            )

    def ask(self, params: Mapping[str, Any]) -> Answered:
        """Fit with `params` and answer every question of the folder."""
        said = self.tell({"params": params})
        return Answered(np.load(self.out), said["seconds"], said["peak_mb"], said["answering"])

    def tell(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request with the file `out` for arrays; the reply."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**request, "out": str(self.out)}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} ended:\n{self.log.read_text(errors='replace')[-2000:]}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise PeerFailed(f"{self.name}: {said['error']}")
        return said

    @property
    def ended(self) -> bool:
        """True when the process is gone and no further request can be answered."""
        return self.process.poll() is not None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(timeout=60)
