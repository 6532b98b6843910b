"""The whole evaluation on a world whose right answers are planted, and the report on hostile names."""

import json
import math
import re

import numpy as np
import pytest

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.errors import ConfigError
from shortlist.eval import baselines, offline, protocol, report
from shortlist.types import Candidates, Events

CANARY = '<script>alert("canary")</script>'
RATE = 2


@pytest.fixture(scope="module")
def split():
    """60 people, 40 items; each person likes 5 to 12 items, low item rows most."""
    rng = np.random.default_rng(5)
    weight = 1 / np.arange(1, 41)
    size = 5 + np.arange(60) % 8
    item = np.concatenate([rng.choice(40, each, replace=False, p=weight / weight.sum()) for each in size])
    user = np.repeat(np.arange(60), size)
    total = len(user)
    order = rng.permutation(total)
    user, item = user[order].astype(np.int32), item[order].astype(np.int32)
    kind, value = np.full(total, RATE, np.uint8), np.ones(total, np.float32)
    time = np.arange(total, dtype=np.int64) * DAY // 4
    genre = np.empty(40, object)
    genre[:] = [("even",) if row % 2 == 0 else ("odd", "third") for row in range(40)]
    ids = ops.event_ids(user, item, kind, value, time)
    events = Events(user, item, kind, value, time, np.zeros(total, np.uint64), ids)
    return protocol.leave_last(Dataset.of(events, 60, 40, items={"genre": genre}))


def oracle(part):
    """A system that knows the answers."""
    right = dict(zip(part.user.tolist(), part.relevant["item"].tolist(), strict=True))

    def answer(queries, k):
        item = np.array([right[user] for user in queries.user.tolist()], np.int32)
        return Candidates(np.arange(len(queries), dtype=np.int32), item, {"score": np.ones(len(item), np.float32)})

    return answer


@pytest.fixture(scope="module")
def result(split):
    return offline.evaluate({CANARY: oracle(split.test), "same": baselines.popular(split.final)}, split, ks=(5, 10))


def test_the_oracle_is_perfect_and_the_baselines_stand_beside(result):
    assert result.row(CANARY, "ndcg@5").value[:3] == (1, 1, 1)
    assert result.row(CANARY, "precision@5").value.value == pytest.approx(0.2)
    assert result.systems[0] == CANARY
    assert set(result.beside) == {"random", "popular", "recent"} == set(result.systems[2:])
    assert result.row("popular", "recall@10").value.value > result.row("random", "recall@10").value.value


def test_differences_are_paired_and_the_baseline_has_none(result):
    gap = result.row(CANARY, "ndcg@5").difference
    assert gap.value == pytest.approx(1 - result.row("popular", "ndcg@5").value.value)
    assert gap.sign == 1
    assert result.row("same", "ndcg@5").difference[:3] == (0, 0, 0)
    assert result.row("popular", "ndcg@5").difference is None
    mine, base = result.values[CANARY]["ndcg@5"], result.values["popular"]["ndcg@5"]
    assert gap.value == pytest.approx(np.mean(mine - base))


def test_every_measure_beyond_accuracy_is_there(result):
    for name in ("novelty", "serendipity", "diversity", "age_days", "coverage", "gini", "entropy"):
        assert not math.isnan(result.row("popular", f"{name}@10").value.value), name
    assert result.row("popular", "serendipity@10").value.value == 0
    assert result.row("random", "coverage@10").value.value == 1


def test_segments_are_the_whole_cut_in_pieces(result):
    light, heavy, head, tail = result.segments[1:]
    assert light.startswith("light (1 to ")
    assert heavy.startswith("heavy (")
    for pieces in ((light, heavy), (head, tail)):
        rows = [result.row("popular", "ndcg@5", segment).value for segment in pieces if segment]
        assert sum(row.n for row in rows) == result.questions
        mean = sum(row.n * row.value for row in rows if row.n) / result.questions
        assert mean == pytest.approx(result.row("popular", "ndcg@5").value.value)


def test_the_verdict_says_better_the_same_or_worse(split, result):
    better, same = result.verdict()
    assert better.startswith(f"{CANARY} is better than popular: ndcg@5 1.000 against 0.")
    assert "(95 % interval), n = 60. Better for light (1 to " in better
    assert same.startswith("same shows no difference to popular")
    worse = offline.evaluate({"reversed": baselines.random(40)}, split, against="popular", resamples=200).verdict()
    assert worse[0].startswith("reversed is worse than popular")


def test_text_and_json_hold_the_same_figures(result):
    text = result.text(["recall@5"])
    assert text.splitlines()[0].split() == ["system", "ndcg@5", "95", "%", "interval", "minus", "popular", "recall@5"]
    plain = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert len(plain["rows"]) == len(result.rows)
    row = next(
        row for row in plain["rows"] if (row["system"], row["metric"], row["segment"]) == ("same", "ndcg@5", "all")
    )
    assert (row["value"], row["n"]) == (result.row("same", "ndcg@5").value.value, 60)


def test_the_report_escapes_names_and_fetches_nothing(result):
    page = report.html(result, title=CANARY)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "canary" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)
    assert page.count("<svg") == 3  # everyone, and one per system that was asked for
    assert page.count("n = 60") >= 3
    assert "prefers-color-scheme: dark" in page


def test_nan_is_shown_as_a_dash_never_as_nan(split):
    silent = offline.evaluate({"silent": lambda queries, k: Candidates.empty()}, split, resamples=50)
    assert silent.row("silent", "ndcg@10").value.value == 0
    assert "nan" not in silent.text().lower()
    assert "nan" not in report.html(silent).lower()


def test_an_unknown_baseline_is_named_with_the_known(split):
    with pytest.raises(ConfigError, match="no system 'mine' to compare with; there are: random, popular, recent, same"):
        offline.evaluate({"same": baselines.popular(split.final)}, split, against="mine")


def test_baselines_honour_exclude_and_allowed_and_time(split):
    queries = split.test.queries
    for name, system in {
        "random": baselines.random(40),
        "popular": baselines.popular(split.final),
        "recent": baselines.recent(split.final, 5),
    }.items():
        shown = offline.ask(system, split.test, 40)
        own = queries.exclude
        for q in range(len(queries)):
            mine = set(shown[q][shown[q] >= 0].tolist())
            assert mine.isdisjoint(own["item"][own.ptr[q] : own.ptr[q + 1]].tolist()), name
            assert len(mine) == int(queries.allowed.sum()) - int(own.length[q]), name


def test_recent_counts_only_the_days_before_the_moment_asked(split):
    data = split.final
    best = offline.ask(baselines.recent(data, 9), split.test, 1)[:, 0]
    likely = 0
    for q, day in enumerate(split.test.time // DAY * DAY):
        window = (data.events.time >= day - 9 * DAY) & (data.events.time < day)
        count = np.bincount(data.events.item[window], minlength=40)
        count[split.test.take(np.array([q])).history["item"]] = -1
        assert count[best[q]] == count.max()
        likely += count.max() > 1
    assert likely > 10


def test_attribute_vectors_take_lists_and_short_vocabularies():
    title = np.empty(3, object)
    title[:] = ["a", "b", "c"]
    genre = np.empty(3, object)
    genre[:] = [("x", "y"), (), ("y",)]
    year = np.array([1.0, 2.0, 3.0])
    vectors = offline.attribute_vectors({"title": title, "genre": genre, "year": year}, 3, limit=2)
    assert vectors.tolist() == [[1, 1], [0, 0], [0, 1]]
