"""Why and why not through the service and the command line: in words and as data, now and as things stood."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from shortlist import release
from shortlist.cli import app
from shortlist.cli.why import tree
from shortlist.config import Settings, parse
from shortlist.pipeline import Coarse, Trace
from shortlist.runtime import Runtime
from shortlist.serve import wire
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import Refusal
from shortlist.serve.ranking import Ranking, RankRequest, rank
from shortlist.serve.remembered import Memory
from shortlist.serve.service import Service
from shortlist.serve.why import ExplainRequest, Explanation, explain, trace


@pytest.fixture
def service(installation: Settings) -> Iterator[Service]:
    with Runtime.open(installation) as runtime:
        yield Service(runtime, Metrics())


def listed(service: Service, id: str = "seen", **ask: Any) -> wire.Recommendation:
    (answer,) = service.recommend([wire.RecommendRequest(**ask)], [id], [""])
    assert isinstance(answer, wire.Recommendation), answer
    return answer


def why(service: Service, **ask: Any) -> Explanation:
    told = explain(service, ExplainRequest(**ask), "asked")
    return msgspec.json.decode(msgspec.json.encode(told), type=Explanation)  # it can be said in JSON


def tell(service: Service, **event: Any) -> None:
    (result,) = service.intake.take([msgspec.convert(event, wire.EventInput)])
    assert result.result == "accepted", result


def test_every_shown_item_has_its_place_its_sources_and_parts_that_add_up(service: Service) -> None:
    answer = listed(service, user_id="u3", n=8, explain="full", seed=1)
    met = {event.item_id for event in service.history("u3", 1000).events}
    for item in answer.items:
        told = why(service, user_id="u3", n=8, item_id=item.id, seed=1)
        assert (told.shown, told.place, told.lost, told.otherwise) == (True, item.rank, None, None)
        assert told.text == f"shown at place {item.rank} of 8"
        assert [each.name for each in told.sources if each.proposed] == item.sources
        assert item.scores == pytest.approx({each.name: each.score for each in told.sources if each.proposed}, rel=1e-4)
        assert {liking.item_id for each in told.sources for liking in each.because} <= met
        named = {reason.item_id for reason in item.why or [] if reason.item_id}
        assert named <= {liking.item_id for each in told.sources for liking in each.because}
        assert told.rank is not None
        assert sum(part.part for part in told.rank.parts) == pytest.approx(told.rank.score, rel=1e-5)
        assert all(each.passed for each in told.rules)


def test_an_item_lost_to_the_coarse_ranker_says_by_how_much(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = service.runtime
    home = runtime.release.pipelines["home"]
    cut = replace(home, coarse=Coarse(None, 10))
    monkeypatch.setattr(
        runtime, "release", replace(runtime.release, pipelines={**runtime.release.pipelines, "home": cut})
    )
    queries = service.question(ExplainRequest(user_id="u3", item_id="i1"), "asked")
    every, left = (each.candidates(queries, Trace())[1].item for each in (home, cut))
    lost = service.catalog.ids("item", np.setdiff1d(every, left)[:1].astype(np.int32))[0]
    told = why(service, user_id="u3", n=5, item_id=lost)
    assert told.coarse is not None
    assert told.lost is not None
    assert (told.coarse.passed, told.coarse.kept, told.coarse.of) == (False, 10, len(every))
    assert told.coarse.place > 10
    assert told.coarse.score is not None
    assert told.coarse.last_kept is not None
    assert told.coarse.score <= told.coarse.last_kept
    assert (told.lost.stage, told.lost.name, told.rank) == ("coarse", "ReciprocalRank", None)
    assert told.text.startswith(
        f"not shown: coarse ranker ReciprocalRank: place {told.coarse.place} of {len(every)} with"
    )
    assert any("✗ ReciprocalRank: place" in line for line in tree(told))
    shown = listed(service, user_id="u3", n=5, explain="full")
    assert "coarse" in {each.stage for each in shown.trace or []}


def test_a_seen_item_says_when_and_what_would_be_otherwise(service: Service) -> None:
    tell(service, user_id="u3", item_id="i5", type="rate", value=4, time="2026-03-01T12:00:00Z")
    told = why(service, user_id="u3", item_id="i5")
    assert told.lost is not None
    assert (told.lost.stage, told.lost.name) == ("filter", "seen")
    assert told.lost.text == "seen on 2026-03-01 (rate)"
    assert told.lost.facts == {"time": "2026-03-01T12:00:00Z", "kind": "rate", "value": 4.0, "times": 1}
    assert told.text == "not shown: filter seen: seen on 2026-03-01 (rate)"
    assert (told.otherwise or "").startswith("without that it would")
    tell(service, user_id="u3", item_id="i5", type="hide")
    assert why(service, user_id="u3", item_id="i5").lost.text.startswith("disliked on ")  # type: ignore[union-attr]


def test_what_the_question_rules_out_is_told_with_the_values(service: Service) -> None:
    (first,) = listed(service, user_id="u3", n=1).items
    left_out = why(service, user_id="u3", item_id=first.id, exclude=[first.id])
    assert left_out.text == "not shown: by the request: the request leaves it out"
    assert left_out.otherwise == "without that it would stand at place 1 of 10"
    in_view = why(service, user_id="u3", item_id=first.id, context=[first.id])
    assert in_view.text == "not shown: by the request: in view already"
    year = service.catalog.read("item", service.catalog.rows("item", [first.id]), ["year"])["year"][0]
    other = why(service, user_id="u3", item_id=first.id, filter=f"year > {year} and 'Jazz' in genres")
    assert other.lost is not None
    assert other.lost.text.startswith(f"not true of it: year > {year} and 'Jazz' in genres; genres is ")
    assert other.lost.facts["item.year"] == year


def test_availability_and_removal_are_told(service: Service) -> None:
    (first,) = listed(service, user_id="u3", n=1).items
    row = service.catalog.rows("item", [first.id])
    service.catalog.put("item", row, {"available": np.zeros(1)})
    assert why(service, user_id="u3", item_id=first.id).lost.text == "unavailable: available is 0"  # type: ignore[union-attr]
    service.catalog.remove("item", row)
    removed = why(service, user_id="u3", item_id=first.id)
    assert [rule.text for rule in removed.rules if not rule.passed][:1] == ["removed from the catalogue"]


def test_an_item_that_nobody_proposed_says_by_how_much(service: Service) -> None:
    lost = [why(service, user_id="u3", item_id=f"i{row}").lost for row in range(90)]
    unproposed = [each for each in lost if each is not None and each.stage == "recall"]
    assert unproposed
    for each in unproposed:
        if each.name:
            assert each.facts["rank"] > each.facts["k"]  # type: ignore[operator]
    ranked = [each for each in lost if each is not None and each.stage == "rank"]
    assert all(each.facts["enough"] > 10 and each.facts["score"] <= each.facts["last"] for each in ranked)  # type: ignore[operator]


def test_unknown_items_and_people_are_answered(service: Service) -> None:
    told = why(service, user_id="u3", item_id="nobody has it")
    assert (told.lost.stage, told.text) == ("catalog", "not shown: there is no item 'nobody has it'")  # type: ignore[union-attr]
    assert why(service, user_id="new", item_id="i3").notes == ["nobody knows 'new': this is what a newcomer gets"]
    with pytest.raises(Refusal) as refused:
        why(service, user_id="u3", item_id="i3", scenario="attic")
    assert refused.value.errors[0].pointer == "/scenario"


def test_a_long_page_names_the_fallback(service: Service) -> None:
    answer = listed(service, user_id="u3", n=200)
    fallen = next(item for item in answer.items if item.sources == ["fallback"])
    told = why(service, user_id="u3", n=200, item_id=fallen.id)
    assert (told.shown, told.place) == (True, fallen.rank)
    assert told.text == f"shown at place {fallen.rank} of 200, from the fallback list"


# the past


def test_a_past_answer_is_explained_as_things_stood(service: Service) -> None:
    answer = listed(service, "then", user_id="u3", n=5)
    last = answer.items[-1]
    tell(service, user_id="u3", item_id=last.id, type="rate", value=5)
    now = why(service, user_id="u3", item_id=last.id)
    assert now.lost is not None
    assert now.lost.name == "seen"
    then = why(service, user_id="u3", item_id=last.id, request_id="then", n=17)
    assert (then.shown, then.place, then.places, then.request_id, then.notes) == (True, 5, 5, "then", [])
    assert then.time == trace(service, "then").time


def test_the_past_says_when_the_catalogue_has_changed(service: Service) -> None:
    first = listed(service, "then", user_id="u3", n=5).items[0]
    service.catalog.put("item", service.catalog.rows("item", [first.id]), {"available": np.zeros(1)})
    told = why(service, user_id="u3", item_id=first.id, request_id="then")
    assert told.shown  # the page of then is what counts
    assert any("catalogue has changed" in note for note in told.notes)


def test_an_answer_of_the_past_is_whole(service: Service) -> None:
    asks = [wire.RecommendRequest(user_id="u3", n=4, seed=7), wire.RecommendRequest(user_id="u4", n=4, seed=8)]
    answers = service.recommend(asks, ["both-0", "both-1"], ["", ""])
    for at, answer in enumerate(answers):
        assert isinstance(answer, wire.Recommendation)
        found = trace(service, f"both-{at}")
        assert [item.id for item in found.answer.items] == [item.id for item in answer.items]
        assert found.question.user_id == answer.user_id
        assert found.replayable
        assert isinstance(found.answer.trace, list)
        assert {"recall", "merge", "rank"} <= {stage.stage for stage in found.answer.trace}
        assert len(found.columns["score"]) == 4
        assert found.answer.items[0].scores
        assert b"NaN" not in msgspec.json.encode(found)
        told = why(service, user_id=answer.user_id, item_id=answer.items[1].id, request_id=f"both-{at}")
        assert (told.place, told.notes) == (2, [])


def test_a_past_answer_is_told_only_under_the_name_of_who_got_it(service: Service) -> None:
    item = listed(service, "mine", user_id="u3", n=1).items[0]
    for user in ("u4", None, "nobody"):
        with pytest.raises(Refusal) as refused:
            why(service, user_id=user, item_id=item.id, request_id="mine")
        with pytest.raises(Refusal) as unknown:
            why(service, user_id=user, item_id=item.id, request_id="none")
        assert refused.value.code == unknown.value.code == "not_found"
        assert refused.value.detail.replace("mine", "none") == unknown.value.detail
    with pytest.raises(Refusal):
        trace(service, "none")


def test_a_release_that_is_gone_is_said_to_be_gone(installation: Settings, publish: Callable[..., str]) -> None:
    before = str(release.current(installation.releases_path))
    publish(installation, "2026-02-02T00:00:00")
    with Runtime.open(installation) as runtime:
        service = Service(runtime, Metrics())
        first = listed(service, "then", user_id="u3", n=1).items[0]
        assert trace(service, "then").replayable
        release.publish(installation.releases_path, before)
        assert runtime.refresh()
        gc.collect()
        with pytest.raises(Refusal, match="no longer in memory"):
            why(service, user_id="u3", item_id=first.id, request_id="then")
        found = trace(service, "then")
        assert not found.replayable
        assert found.answer.items[0].id == first.id


def test_so_many_answers_are_kept_for_so_long(installation: Settings) -> None:
    now = 1_800_000_000_000_000
    times = iter(range(10**6))
    settings = replace(installation, serve=replace(installation.serve, remember=3, remember_for="10s"))
    with Runtime.open(settings, clock=lambda: now + next(times)) as runtime:
        service = Service(runtime, Metrics())
        for at in range(5):
            listed(service, f"r{at}", user_id="u3", n=2)
        assert [service.memory.find(f"r{at}", now) is not None for at in range(5)] == [False, False, True, True, True]
        assert service.memory.find("r4", now + 11_000_000) is None
        listed(service, "other", user_id="u4", n=2)
        service.memory.forget(int(runtime.catalog.rows("user", ["u3"])[0]))
        assert service.memory.find("r4", now) is None
        assert service.memory.find("other", now) is not None
        assert service.memory._bytes == service.memory._kept["other"].bytes


def test_nothing_is_kept_when_nothing_shall_be(service: Service) -> None:
    service.memory = Memory(0, 10**6)
    listed(service, "then", user_id="u3", n=1)
    assert service.memory.find("then", 0) is None


def test_a_person_who_was_erased_has_no_past(service: Service) -> None:
    listed(service, "then", user_id="u3", n=1)
    service.catalog.remove("user", service.catalog.rows("user", ["u3"]))
    with pytest.raises(Refusal, match="no answer 'then'"):
        trace(service, "then")


def test_explanations_name_no_other_people(installation: Settings, publish: Callable[..., str]) -> None:
    """S10: everything that is said about one person, read for the ids of all others; a source asks the neighbours."""
    home = installation.pipelines["home"]
    people = {"use": "models.userknn:UserKnn", "k": 30}
    asking = replace(home, sources={**home.sources, "people": people})
    settings = replace(installation, pipelines={**installation.pipelines, "home": asking})
    publish(settings, "2026-02-02T00:00:00")
    with Runtime.open(settings) as runtime:
        service = Service(runtime, Metrics())
        for user in ("u3", "u7", None):
            listed(service, "then", user_id=user, n=10)
            told: list[object] = [trace(service, "then"), rank(service, RankRequest(user_id=user, items=["i1"]), "x")]
            told += [why(service, user_id=user, item_id=f"i{row}") for row in range(0, 90, 3)]
            text = msgspec.json.encode(told).decode()
            assert user is None or '"people"' in text
            assert set(re.findall(r"\bu\d+\b", text)) <= {user}


# given candidates


def places(told: Ranking) -> dict[str, int]:
    return {item.id: item.rank for item in told.items}


def test_every_candidate_gets_a_place_or_a_reason(service: Service) -> None:
    ids = [*(f"i{row}" for row in range(90)), "nobody", "i3"]
    tell(service, user_id="u3", item_id="i8", type="rate", value=5)
    told = rank(service, RankRequest(user_id="u3", items=ids, exclude=["i60"], filter="year >= 1985"), "x")
    removed = {each.id: each for each in told.removed}
    assert sorted([*places(told), *(each.id for each in told.removed)]) == sorted(ids)
    assert [item.rank for item in told.items] == list(range(1, len(told.items) + 1))
    assert (removed["nobody"].stage, removed["nobody"].text) == ("catalog", "there is no such item")
    assert any(each.id == "i3" and each.text.startswith("it is given at position 3") for each in told.removed)
    assert removed["i60"].text == "the request leaves it out"
    assert any(each.text.startswith("not true of it: year >= 1985") for each in told.removed)
    assert removed["i8"].name in ("seen", "allowed")
    scores = [item.score for item in told.items if item.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert {"seen"} <= {each.name for each in told.removed}


def test_the_best_of_a_list_are_the_best_among_themselves_whatever_their_order(service: Service) -> None:
    ids = [item.id for item in listed(service, user_id="u3", n=8).items]
    told = rank(service, RankRequest(user_id="u3", items=ids[::-1]), "x")
    assert places(told) == places(rank(service, RankRequest(user_id="u3", items=ids), "x"))
    assert len(told.items) == 8
    three = rank(service, RankRequest(user_id="u3", items=ids, n=3), "x")
    assert [item.id for item in three.items] == [item.id for item in told.items[:3]]
    assert {each.text for each in three.removed} == {f"place {at} of 8; 3 were asked for" for at in range(4, 9)}


def test_candidates_of_which_nothing_is_known_come_last(installation: Settings, publish: Callable[..., str]) -> None:
    settings = parse({}, home=installation.home)
    publish(settings, "2026-03-03T00:00:00")
    with Runtime.open(settings) as runtime:
        service = Service(runtime, Metrics())
        runtime.catalog.rows("item", ["just born"], create=True)
        ids = ["just born", "i5", "i6", "i11"]
        told = rank(service, RankRequest(user_id="u3", items=ids, rerank=True), "x")
        assert len(told.items) + len(told.removed) == 4
        plain = rank(service, RankRequest(user_id="u3", items=ids), "x")
        assert {item.id for item in plain.items} | {each.id for each in plain.removed} == set(ids)
        alone = rank(service, RankRequest(items=["i5", "i6", "i11"]), "x")
        assert len(alone.items) == 3


# the command line


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    with pytest.raises(SystemExit) as left:
        app.main([*arguments])
    assert not left.value.code
    return capsys.readouterr().out


def test_the_command_line_draws_a_tree(installation: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (installation.home / "shortlist.toml").write_text("", "utf-8")
    home = str(installation.home)
    shown = said(capsys, "why", "u3", "i42", "--config", home)
    assert shown.startswith("i42 Action story 42\nnot shown: filter seen: seen on 2020-11-25 (rate)\n")
    assert "├─ filters\n│  ├─ ✗ seen: seen on 2020-11-25 (rate)\n│  └─ ✓ available: lets it through\n" in shown
    told = json.loads(said(capsys, "why", "u3", "i42", "--json", "--config", home))
    assert (told["schema"], told["lost"]["name"]) == ("shortlist.why/1", "seen")


def test_the_command_line_tells_why_of_a_whole_list(installation: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("recommend", "u3", "-n", "2", "--why", "--config", str(installation.home))
    shown = said(capsys, *asked)
    assert "shown at place 1 of 2" in shown
    assert "shown at place 2 of 2" in shown
    told = json.loads(said(capsys, *asked, "--json"))
    assert [each["place"] for each in told["explanations"]] == [1, 2]
