"""Events into the stores: every row has one fate, ids are kept as given, loading twice adds nothing twice."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shortlist.data import text
from shortlist.data.events import IN_ORDER, context_number, hashed, request_number
from shortlist.data.guess import guess
from shortlist.data.load import load
from shortlist.data.mapping import Mapping, Rule
from shortlist.dataset import DEFAULT_KINDS, Kind, Kinds
from shortlist.errors import ConfigError, DataError, ShortlistError
from shortlist.stores.embedded import Embedded

from .conftest import NOW, Shop

DAY = 86_400_000_000
SPRING = 1_714_564_800  # 2024-05-01T12:00:00Z


def test_ratings_arrive_as_they_are(shop: Shop) -> None:
    path = shop.write(f"user_id,item_id,stars,when\n1,a,4.5,{SPRING}\n2,b,3,{SPRING + 1}\n")
    summary = shop.load(path, value="stars", time="when")
    assert shop.events() == [
        ("1", "a", "rate", 4.5, SPRING * 1_000_000),
        ("2", "b", "rate", 3.0, (SPRING + 1) * 1_000_000),
    ]
    assert (summary.rows, summary.accepted, summary.created, summary.warnings) == (2, 2, {"item": 2, "user": 2}, ())


def test_loading_again_adds_nothing(shop: Shop) -> None:
    path = shop.write(f"user_id,item_id,when\n1,a,{SPRING}\n1,a,{SPRING}\n2,b,{SPRING}\n")
    first = shop.load(path, time="when")
    assert (first.accepted, first.duplicate) == (2, 1)
    again = shop.load(path, time="when")
    assert (again.accepted, again.duplicate, again.created) == (0, 3, {})
    path = shop.write(f"user_id,item_id,when\n1,a,{SPRING}\n3,c,{SPRING}\n")
    assert shop.load(path, time="when").accepted == 1
    assert len(shop.events()) == 3


def test_every_bad_row_is_kept_with_its_reason(shop: Shop) -> None:
    rows = [
        ("missing-user", f",a,4,rate,{SPRING}"),
        ("missing-item", f"1,,4,rate,{SPRING}"),
        ("id-long", f"{'x' * 257},a,4,rate,{SPRING}"),
        ("id-long", f"1,{'é' * 129},4,rate,{SPRING}"),
        ("id-control", f"1,a\tb,4,rate,{SPRING}"),
        ("unknown-kind", f"1,a,4,sniff,{SPRING}"),
        ("missing-value", f"1,a,,rate,{SPRING}"),
        ("value", f'1,a,"3,5",rate,{SPRING}'),
        ("value", f"1,a,true,rate,{SPRING}"),
        ("value-range", f"1,a,nan,rate,{SPRING}"),
        ("value-range", f"1,a,-inf,rate,{SPRING}"),
        ("value-range", f"1,a,1e999,rate,{SPRING}"),
        ("value-range", f"1,a,1e39,rate,{SPRING}"),
        ("missing-time", "1,a,4,rate,"),
        ("time", "1,a,4,rate,noon"),
        ("time-range", "1,a,4,rate,0"),
        ("time-range", f"1,a,4,rate,{SPRING}000"),
        ("columns", "1,a,4,rate"),
    ]
    good = [f"1,g{n},4,rate,{SPRING + n}" for n in range(20)]
    path = shop.write("\n".join(["user_id,item_id,v,k,t", *good, *(row for _, row in rows)]))
    summary = shop.load(path, value="v", kind_column="k", time="t")
    assert summary.accepted == 20
    kept = {reject["line"]: reject for reject in shop.rejects()}
    assert {line: reject["reason"] for line, reject in kept.items()} == {
        22 + n: reason for n, (reason, _) in enumerate(rows)
    }
    assert all(kept[22 + n]["row"] == row for n, (_, row) in enumerate(rows))
    assert all(reject["file"] == str(path) and reject["message"] and reject["remedy"] for reject in kept.values())
    assert kept[29]["message"] == "'3,5' in column 'v' is no number"
    assert kept[29]["remedy"].startswith("write 3.5, not 3,5")
    assert "--time-unit ms" in kept[38]["remedy"]
    assert "column 'item_id'" in kept[25]["message"]
    assert "column 'item_id'" in kept[26]["message"]
    assert "[events.kinds.sniff]" in kept[27]["remedy"]
    assert "kinds of events that are not known: 'sniff' (1)" in summary.warnings
    assert shop.ids("user") == ["1"]
    assert len(shop.ids("item")) == 20


def test_a_clean_load_removes_the_rejects_of_the_last(shop: Shop) -> None:
    assert shop.load(shop.write("user_id,item_id\n1,a\n,b\n")).rejects == shop.folder / "rejects.jsonl"
    assert shop.load(shop.write("user_id,item_id\n1,a\n2,b\n")).rejects is None
    assert not (shop.folder / "rejects.jsonl").exists()


def test_kinds_by_column_by_rule_and_for_all(shop: Shop) -> None:
    path = shop.write("user_id,item_id,what\n1,a,pv\n1,b,buy\n1,c,cart\n")
    shop.load(path, kind_column="what", kinds={"pv": "view"})
    assert [event[2] for event in shop.events()] == ["view", "buy", "cart"]
    shop.load(shop.write("user_id,item_id,v\n2,a,-1\n2,b,7\n"), value="v", rules=(Rule(-1, "view"),))
    assert [event[2:4] for event in shop.events()[3:]] == [("view", 1.0), ("rate", 7.0)]
    shop.load(shop.write("user_id,item_id\n3,a\n"), kind="buy")
    assert shop.events()[-1][2] == "buy"


def test_times_out_of_the_ordinary(shop: Shop) -> None:
    ahead = NOW // 1_000_000 + 200
    later = NOW // 1_000_000 + 86_400
    path = shop.write(f"user_id,item_id,t\n1,a,{ahead}\n1,b,{later}\n")
    summary = shop.load(path, time="t")
    assert [event[4] for event in shop.events()] == [ahead * 1_000_000, NOW]
    assert summary.warnings == ("1 times lie in the future and were set to now",)
    summary = shop.load(shop.write("user_id,item_id,t\n2,a,2024-05-01T12:00:00\n2,b,2024-05-01T12:00:00Z\n"), time="t")
    assert summary.warnings == ("1 times have no zone and are read as UTC",)
    assert {event[4] for event in shop.events()[2:]} == {SPRING * 1_000_000}


def test_an_ambiguous_unit_stops_before_anything_is_loaded(shop: Shop) -> None:
    path = shop.write("user_id,item_id,t\n1,a,20240501\n")
    with pytest.raises(DataError, match="the unit of the times cannot be told") as error:
        shop.load(path, time="t")
    assert error.value.exit_code == 3
    assert shop.events() == []
    assert shop.load(path, time="t", time_unit="%Y%m%d").accepted == 1


def test_rows_without_times_are_in_order(shop: Shop) -> None:
    path = shop.write("user_id,item_id\n1,a\n1,a\n\n1,b\n")
    summary = shop.load(path)
    assert [event[4] - IN_ORDER for event in shop.events()] == [2_000_000, 3_000_000, 5_000_000]
    assert "no time column" in summary.warnings[0]
    assert shop.load(path).duplicate == 3


def test_event_ids_decide_when_they_are_given(shop: Shop) -> None:
    path = shop.write("user_id,item_id,e\n1,a,x\n1,a,y\n1,b,x\n1,c,\n")
    summary = shop.load(path, id="e")
    assert (summary.accepted, summary.duplicate, summary.rejected) == (2, 1, {"missing-id": 1})
    assert hashed(["x"]).tolist() != hashed(["y"]).tolist()
    assert hashed(["x", "x"]).shape == (2, 2)


def test_requests_are_numbered_as_the_server_does(shop: Shop) -> None:
    shop.load(shop.write("user_id,item_id,r\n1,a,req-7\n1,b,\n1,c,req-7\n"), request="r")
    (_, events), *_ = shop.stores.log.scan()
    assert events.request.tolist() == [request_number("req-7"), 0, request_number("req-7")]


@pytest.mark.parametrize("hold", [False, True])
def test_a_time_ahead_is_the_same_event_tomorrow(shop: Shop, hold: bool) -> None:
    path = shop.write("user_id,item_id,t\n1,a,2026-03-01T00:00:00Z\n")
    mapping = Mapping(time="t", unknown_items="hold" if hold else "create")
    for day in (0, 1):
        stores = shop.stores
        given = {"kinds": Kinds(), "now": NOW + day * DAY, "rejects": shop.folder / "r", "held": stores.held}
        summary = load(path, mapping, stores.catalog, stores.log, **given)
        assert summary.duplicate == day
    if hold:
        shop.load(shop.write("item_id\na\n", "items.csv"), entity="items")
        assert shop.load(path, mapping).duplicate == 1
    assert [event[4] for event in shop.events()] == [NOW]


def test_a_refused_user_brings_no_item(shop: Shop) -> None:
    shop.load(shop.write("user_id,item_id\n1,a\n"), unknown_users="reject")
    assert shop.ids("item") == []


# unknown users and items


def test_unknown_items_are_refused_when_asked(shop: Shop) -> None:
    shop.stores.catalog.rows("item", ["a"], create=True)
    summary = shop.load(shop.write("user_id,item_id\n1,a\n2,ghost\n"), unknown_items="reject")
    assert summary.rejected == {"unknown-item": 1}
    assert shop.rejects()[0]["message"] == "the item 'ghost' is not in the catalogue"
    assert (shop.ids("item"), shop.ids("user")) == (["a"], ["1"])
    assert "50 % of the events refer to items that were not in the catalogue" in summary.warnings


def test_unknown_users_are_refused_when_asked(shop: Shop) -> None:
    shop.stores.catalog.rows("user", ["1"], create=True)
    summary = shop.load(shop.write("user_id,item_id\n1,a\n2,b\n"), unknown_users="reject")
    assert summary.rejected == {"unknown-user": 1}
    assert shop.rejects()[0]["line"] == 3


@pytest.mark.parametrize("id", ["", "e"])
def test_held_events_happen_when_their_item_comes(shop: Shop, id: str) -> None:
    path = shop.write(f"user_id,item_id,v,t,e\n1,a,4,{SPRING},x\n2,b,2,{SPRING},y\n1,a,4,{SPRING},x\n")
    mapping = {"value": "v", "time": "t", "id": id, "unknown_items": "hold"}
    summary = shop.load(path, **mapping)
    assert (summary.accepted, summary.held, summary.duplicate) == (0, 2, 1)
    assert shop.load(path, **mapping).duplicate == 3
    assert shop.ids("item") == []
    items = shop.load(shop.write("item_id,title\na,Ales\n", "items.csv"), entity="items")
    assert items.released == 1
    assert shop.events() == [("1", "a", "rate", 4.0, SPRING * 1_000_000)]
    again = shop.load(path, **mapping)
    assert (again.accepted, again.held, again.duplicate) == (0, 0, 3)


def test_held_events_happen_when_another_event_brings_their_item(shop: Shop) -> None:
    shop.load(shop.write(f"user_id,item_id,t\n1,a,{SPRING}\n"), time="t", unknown_items="hold")
    summary = shop.load(shop.write(f"user_id,item_id,t\n2,a,{SPRING}\n"), time="t")
    assert (summary.accepted, summary.released, len(shop.stores.held)) == (1, 1, 0)
    assert sorted(event[:2] for event in shop.events()) == [("1", "a"), ("2", "a")]


def test_held_events_of_a_kind_that_was_removed_wait_for_it_to_come_back(shop: Shop) -> None:
    path = shop.write(f"user_id,item_id,k,t\n1,a,wish,{SPRING}\n2,a,click,{SPRING}\n")
    wider = Kinds({**DEFAULT_KINDS, "wish": Kind(200)})
    given = {"now": NOW, "rejects": shop.folder / "r", "held": shop.stores.held}
    catalog, log = shop.stores.catalog, shop.stores.log
    load(path, Mapping(kind_column="k", time="t", unknown_items="hold"), catalog, log, kinds=wider, **given)
    items = shop.write("item_id\na\n", "items.csv")
    assert load(items, Mapping(entity="items"), catalog, log, kinds=Kinds(), **given).released == 1
    assert len(shop.stores.held) == 1
    assert load(items, Mapping(entity="items"), catalog, log, kinds=wider, **given).released == 1
    assert len(shop.stores.held) == 0
    assert sorted(event[0] for event in shop.events()) == ["1", "2"]


def test_holding_needs_a_place(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\n1,a\n")
    mapping = Mapping(unknown_items="hold")
    with Embedded.memory() as stores, pytest.raises(ConfigError, match="cannot hold events"):
        load(path, mapping, stores.catalog, stores.log, kinds=Kinds(), now=NOW, rejects=tmp_path / "r")


def test_what_is_held_keeps_its_context(shop: Shop) -> None:
    path = shop.write(f"user_id,item_id,t,pid\n1,a,{SPRING},top\n2,a,{SPRING},\n3,a,{SPRING},side\n")
    assert shop.load(path, time="t", unknown_items="hold", context=("pid",)).held == 3
    assert shop.load(shop.write("item_id\na\n", "items.csv"), entity="items").released == 3
    ((_, events),) = shop.stores.log.scan()
    said = dict(zip(shop.stores.catalog.ids("user", events.user), events.columns["pid"].tolist(), strict=True))
    assert said == {"1": context_number("top"), "2": 0, "3": context_number("side")}


# ids


ID = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ID, ID), min_size=1, max_size=12))
def test_ids_come_back_exactly_as_given(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("user_id", "item_id"), *pairs])
    path = tmp_path / "ids.csv"
    path.write_bytes(out.getvalue().encode())
    with Embedded.memory() as stores:
        shop = Shop(stores, tmp_path)
        shop.load(path, separator=",", encoding="utf-8")
        assert [event[:2] for event in shop.events()] == pairs


@pytest.mark.parametrize("ids", [["01", "1", "1.0", " 1", "1 "], ["é", "e\u0301"], ["../x", "a:b", "%2e", "NULL"]])
def test_ids_that_look_alike_stay_apart(shop: Shop, ids: list[str]) -> None:
    summary = shop.load(shop.write("user_id,item_id\n" + "".join(f"{id},{id}\n" for id in ids)))
    assert summary.accepted == len(ids)
    assert shop.ids("item") == ids


def test_suspicious_ids_are_pointed_out(shop: Shop) -> None:
    summary = shop.load(shop.write("user_id,item_id\n007,7.0\n1,NULL\n1, x\n"))
    said = "; ".join(summary.warnings)
    assert "user ids begin with 0 and are kept as text, such as '007'" in said
    assert "item ids look like numbers that were rounded on the way, and are kept as text, such as '7.0'" in said
    assert "item ids are a word for nothing" in said
    assert "begin or end with a space" in said
    assert shop.load(shop.write("user_id,item_id\n1,NULL\n"), missing=("", "NULL")).rejected == {"missing-item": 1}


# the whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(["1", "a", "", "x,y", '"', "-1", "nan", "\n"]), min_size=1, max_size=4)))
def test_no_row_is_lost_or_counted_twice(tmp_path: Path, rows: list[list[str]]) -> None:
    lines = [",".join(row) for row in rows]
    path = tmp_path / "soup.csv"
    path.write_text("user_id,item_id,v\n" + "\n".join(lines) + "\n")
    with Embedded.memory() as stores:
        shop = Shop(stores, tmp_path)
        summary = shop.load(path, value="v", separator=",")
        assert len(shop.events()) == summary.accepted
        assert shop.load(path, value="v", separator=",").accepted == 0


def test_many_batches_are_one_load(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shop.write("user_id,item_id\n" + "".join(f"{n % 7},{n % 11}\n" for n in range(1000)))
    monkeypatch.setattr(text, "CHUNK", 500)
    monkeypatch.setattr(text, "START", 64)
    told: list[tuple[int, float]] = []
    stores = shop.stores
    mapping = Mapping()
    summary = load(
        path,
        mapping,
        stores.catalog,
        stores.log,
        kinds=Kinds(),
        now=NOW,
        rejects=shop.folder / "r",
        progress=lambda rows, share: told.append((rows, share)),
    )
    assert (summary.accepted, summary.created) == (1000, {"item": 11, "user": 7})
    assert told == sorted(told)
    assert told[-1] == (1000, 1.0)
    assert len(told) > 5


@pytest.mark.parametrize(
    ("mapping", "message", "hint"),
    [
        ({"user": "userid"}, "there is no column 'userid'; did you mean 'user_id'?", "shortlist init"),
        ({"value": "zzz"}, "there is no column 'zzz' (columns: 'user_id', 'item_id')", "shortlist init"),
        ({"kind": "sniff"}, "'sniff' is no kind of event", "[events.kinds.sniff]"),
        ({"kinds": {"pv": "peek"}, "kind_column": "item_id"}, "'peek' is no kind of event", "[events.kinds.peek]"),
    ],
)
def test_a_wrong_mapping_is_named(shop: Shop, mapping: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(ShortlistError) as error:
        shop.load(shop.write("user_id,item_id\n1,a\n"), **mapping)
    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "buy", "kind_column": "k"}, "either kind"),
        ({"user": ""}, "need a user column"),
        ({"time_unit": "days"}, "time_unit is 'days'"),
    ],
)
def test_a_mapping_that_contradicts_itself_is_refused(mapping: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mapping(**mapping)  # type: ignore[arg-type]


def test_rejects_are_json_lines_of_any_letters(shop: Shop) -> None:
    shop.load(shop.write(b"user_id,item_id\n1,\xff\n,\xc3\xa9\n1,a\n"), encoding="utf-8")
    first, second = (shop.folder / "rejects.jsonl").read_text("utf-8").splitlines()
    assert json.loads(first)["reason"] == "encoding"
    assert "é" in second


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=120)
    | st.text(st.sampled_from('user_id,item1"\n\r\t|;: {}[]é\x00'), max_size=80).map(str.encode),
    st.sampled_from(["soup.csv", "soup.jsonl", "soup.parquet"]),
    st.booleans(),
)
def test_any_bytes_are_loaded_or_refused(tmp_path: Path, content: bytes, name: str, named: bool) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    mapping = Mapping(names=("user_id", "item_id")) if named else Mapping()
    hints = []
    with Embedded.memory() as stores:
        try:
            Shop(stores, tmp_path).load(path, mapping)
        except ShortlistError as error:
            hints.append(error.hint)
        try:
            guess([path])
        except ShortlistError as error:
            hints.append(error.hint)
    assert all(hints)


def test_where_it_happened_is_kept_with_the_event(shop: Shop) -> None:
    path = shop.write("user_id,item_id,pid\na,1,top\nb,1,\nc,1,side\nd,1,top\n")
    assert shop.load(path, context=("pid",)).accepted == 4
    (batch,) = [batch for _, batch in shop.stores.log.scan()]
    top, none, side, again = batch.columns["pid"].tolist()
    assert (top, side, none) == (context_number("top"), context_number("side"), 0)
    assert again == top != side
    with pytest.raises(DataError, match="'place'"):
        shop.load(path, context=("place",))
