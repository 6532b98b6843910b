"""Shortlist on the same terms as its peers: same folder, same requests, a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.peers.worker import SEED, Answer, arrays, loop, vectors
from shortlist import ops
from shortlist.batch.train import labelled
from shortlist.dataset import Dataset
from shortlist.eval import metrics, offline
from shortlist.eval.protocol import Part, hold_out, joined, later, newest
from shortlist.features.counts import Counts
from shortlist.features.near import Near
from shortlist.features.pace import Pace
from shortlist.features.scores import ModelScores
from shortlist.features.standing import Standing
from shortlist.models.als import Als
from shortlist.models.bpr import Bpr
from shortlist.models.bspm import Bspm
from shortlist.models.content import Content
from shortlist.models.dan import Dan
from shortlist.models.ease import Ease
from shortlist.models.edlae import Edlae
from shortlist.models.gfcf import GfCf
from shortlist.models.item2vec import Item2Vec
from shortlist.models.itemknn import ItemKnn
from shortlist.models.profile import Profile
from shortlist.models.rp3beta import Rp3Beta
from shortlist.models.sasrec import Sasrec
from shortlist.models.slim import Slim
from shortlist.models.slist import Slist
from shortlist.models.transitions import Transitions
from shortlist.models.turbocf import TurboCf
from shortlist.models.twotower import TwoTower
from shortlist.models.userknn import UserKnn
from shortlist.models.warp import Warp
from shortlist.pipeline import Pipeline, Recall
from shortlist.protocols import Catalog, Feature, Recipe, Scorer, Source
from shortlist.rank.combsum import CombSum, Ensemble
from shortlist.rank.gbdt import Gbdt, GbdtModel
from shortlist.rank.weighted import ZBlend
from shortlist.recall.popular import Popular
from shortlist.stores import open_store
from shortlist.stores.arrays import objects
from shortlist.types import Candidates, Column, Columns, Events, Ragged, Rows, Scores

RECIPES: Mapping[str, Callable[..., Recipe[Source]]] = {
    "als": Als,
    "bpr": Bpr,
    "bspm": Bspm,
    "content": Content,
    "dan": Dan,
    "ease": Ease,
    "edlae": Edlae,
    "gfcf": GfCf,
    "item2vec": Item2Vec,
    "itemknn": ItemKnn,
    "profile": Profile,
    "rp3beta": Rp3Beta,
    "sasrec": Sasrec,
    "slim": Slim,
    "slist": Slist,
    "transitions": Transitions,
    "trend": Popular,
    "turbocf": TurboCf,
    "twotower": TwoTower,
    "userknn": UserKnn,
    "warp": Warp,
}
PROPOSED = 200  # items that each source of the fused pipeline proposes


@dataclass(frozen=True)
class Asked:
    """What the folder of a job holds, as our own types."""

    train: Dataset
    part: Part
    k: int

    @staticmethod
    def read(folder: Path) -> Asked:
        asked, events = arrays(folder / "asked.npz"), arrays(folder / "events.npz")
        users, items = (int(size) for size in asked["size"])
        columns = [events[name] for name in ("user", "item", "kind", "value", "time", "request", "id")]
        facts = {
            entity: {name: _column(**each) for name, each in told.items()}
            for entity, told in json.loads((folder / "facts.json").read_text()).items()
        }
        train = Dataset.of(Events(*columns), users, items, now=int(asked["now"]), **facts)
        _ = train.matrix, train.sequences  # what the peers' files hold is loaded, not fitted
        history, relevant = (_lists(folder / f"{name}_lists.npz") for name in ("history", "relevant"))
        return Asked(train, Part(asked["user"], asked["time"], history, relevant, asked["known"]), int(asked["k"]))


def _lists(path: Path) -> Ragged:
    columns = arrays(path)
    return Ragged(columns.pop("ptr"), columns)


def _column(dtype: str, value: list[Any]) -> Column:
    if dtype != "|O":
        return np.array(value, dtype)
    return objects([tuple(each) if isinstance(each, list) else each for each in value])


def source(name: str, params: Mapping[str, Any], train: Dataset) -> Source:
    """`ease-recent` is `ease` whose params have a half-life; `descent.rate` is the rate of the recipe's descent."""
    recipe: Any = RECIPES[name.removesuffix("-recent")]
    given = {each: value for each, value in params.items() if "." not in each}
    if any(each.name == "catalog" for each in fields(recipe)):
        given["catalog"] = catalogue(train)
    made = recipe(**given)
    descent = {each.partition(".")[2]: value for each, value in params.items() if "." in each}
    if descent:
        made = replace(made, descent=replace(made.descent, **descent))
    model: Source = made.fit(train, seed=SEED)
    return model


def catalogue(train: Dataset) -> Catalog:
    """In memory, everybody and everything with their facts, under their row numbers."""
    catalog: Catalog = open_store("catalog", "memory:")
    entities: tuple[tuple[str, int, Columns], ...] = (
        ("user", train.n_users, train.users),
        ("item", train.n_items, train.items),
    )
    for entity, size, facts in entities:
        catalog.put(entity, catalog.rows(entity, [str(row) for row in range(size)], create=True), facts)
    return catalog


def single(name: str) -> Callable[[Asked, Mapping[str, Any]], Answer]:
    """One source, alone."""

    def fit(job: Asked, params: Mapping[str, Any]) -> Answer:
        model = source(name, params, job.train)
        return lambda: offline.ask(model.recall, job.part, job.k)

    return fit


def pipeline(sources: Mapping[str, Source], scorer: Scorer | None = None) -> Pipeline:
    """All sources; each that can judges every candidate."""
    recalls = {name: Recall(each, PROPOSED) for name, each in sources.items()}
    judges = {name: each for name, each in sources.items() if isinstance(each, Scorer)}
    return Pipeline(recalls, features={"scores": ModelScores(judges)}, scorer=scorer)


def fused(job: Asked, params: Mapping[str, Any]) -> Answer:
    """Weights learned on the validation questions in the folder `valid`, then the same sources on this job's train;
    without such a folder they are added up as they are."""
    if not params["valid"]:
        whole = pipeline({name: source(name, each, job.train) for name, each in params["sources"].items()}, CombSum())
        return lambda: offline.ask(lambda queries, k: whole.recommend(queries, k)[0], job.part, job.k)
    valid = Asked.read(Path(params["valid"]))
    sources = {name: source(name, each, valid.train) for name, each in params["sources"].items()}
    part = valid.part
    found, label = labelled(pipeline(sources), part.queries, part.relevant.owner, part.relevant["item"])
    scorer = ZBlend().learn(found, label, seed=SEED)
    if not np.array_equal(valid.train.events.id, job.train.events.id):
        sources = {name: source(name, each, job.train) for name, each in params["sources"].items()}
    whole = pipeline(sources, scorer)
    return lambda: offline.ask(lambda queries, k: whole.recommend(queries, k)[0], job.part, job.k)


def two_stage(job: Asked, params: Mapping[str, Any]) -> Answer:
    """Sources of this job's train, ranked by trees that learned from the newest part of it.

    While the trees learn, the sources have seen nothing of the likings they learn from, nor of what came after. `bags`
    of them, each with a seed of its own, speak as one; the plain mean of the sources counts `opinions` times as much.
    """
    start, asked = perf_counter(), 0
    tables: list[tuple[Candidates, Scores]] = []
    for past, part in LEARNED_FROM[params["learn"]["by"]](job.train, params["learn"]):
        learning, answers = staged(params, past), part.relevant
        found, label = labelled(learning, part.queries, answers.owner, answers["item"], others=params["others"])
        tables.append((replace(found, query=found.query + np.int32(asked)), label))
        asked += len(part)
    told = perf_counter()
    found, label = Candidates.concat([found for found, _ in tables]), np.concatenate([label for _, label in tables])
    bags, opinions = params.get("bags", 1), params.get("opinions", 0.0)
    members = (Gbdt(**params["trees"]),) * bags + ((CombSum(),) if opinions else ())
    shares = (1 / bags,) * bags + ((opinions,) if opinions else ())
    scorer = Ensemble(members, shares).learn(found, label, seed=params["seed"] * bags)
    trees = sum(len(each.root) for each in scorer.scorers if isinstance(each, GbdtModel))
    print(
        f"  sources and candidates of {asked:,} questions, {label.sum():,.0f} answers among them: {told - start:.0f} s;"
        f" {trees} trees: {perf_counter() - told:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    whole = replace(staged(params, job.train), scorer=scorer)
    return lambda: offline.ask(lambda queries, k: whole.recommend(queries, k)[0], job.part, job.k)


Lessons = list[tuple[Dataset, Part]]  # each a past, and questions about what came after it


def _by_newest(train: Dataset, how: Mapping[str, Any]) -> Lessons:
    return [newest(train, how["likings"])]


def _by_lot(train: Dataset, how: Mapping[str, Any]) -> Lessons:
    split = hold_out(train)
    return [(split.train, joined([split.valid, split.test]))]


def _by_later(train: Dataset, how: Mapping[str, Any]) -> Lessons:
    """From each moment to the end of train. Who is not known by then, or hardly comes again, teaches little about a
    long time to come."""
    lessons = [later(train, share) for share in how["shares"]]
    enough = [(part.history.length > 0) & (part.relevant.length >= how["answers"]) for _, part in lessons]
    return [(past, part.take(np.flatnonzero(kept))) for (past, part), kept in zip(lessons, enough, strict=True)]


LEARNED_FROM: Mapping[str, Callable[[Dataset, Mapping[str, Any]], Lessons]] = {
    "newest": _by_newest,
    "later": _by_later,
    "lot": _by_lot,
}


def staged(params: Mapping[str, Any], train: Dataset) -> Pipeline:
    """The first stage, and all that the second one reads."""
    sources = {name: source(each["model"], each["params"], train) for name, each in params["sources"].items()}
    judges = {name: each for name, each in sources.items() if isinstance(each, Scorer)}
    near = {name: judges[name] for name in params["near"]}
    features: dict[str, Feature] = {
        "standing": Standing(judges),
        "scores": ModelScores(judges),
        "near": Near(near, tuple(params["last"])),
    }
    if params["windows"]:
        features |= {"counts": Counts(tuple(params["windows"])).fit(train, seed=SEED), "pace": Pace()}
    return Pipeline({name: Recall(each, params["k"]) for name, each in sources.items()}, features=features)


def top(job: Asked, params: Mapping[str, Any]) -> Answer:
    """Nothing to fit: the lists of all who ask, from given vectors."""
    user, item = vectors(params["vectors"])

    def answer() -> Rows:
        found = ops.top_of_product(user, item, job.k, job.part.history, job.part.known)
        return metrics.places(found, len(user), job.k)

    return answer


if __name__ == "__main__":
    name = sys.argv[1]
    special = {"fused": fused, "two-stage": two_stage, "top": top}
    loop(special.get(name) or single(name), lambda: Asked.read(Path(sys.argv[2])))
