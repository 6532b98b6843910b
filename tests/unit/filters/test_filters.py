"""Seen, available, blocked, attribute: what they take out, when they notice a change, what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from shortlist import ops
from shortlist.dataset import DAY, DEFAULT_KINDS, Dataset, Kind, Kinds
from shortlist.errors import ConfigError
from shortlist.filters.attribute import Attribute
from shortlist.filters.available import Available
from shortlist.filters.blocked import Blocked
from shortlist.filters.seen import Seen
from shortlist.stores.embedded import Embedded
from shortlist.types import HISTORY, Candidates, Events, Queries, Ragged

NOW = 1000 * DAY
CLICK, BUY, HIDE = (DEFAULT_KINDS[name].code for name in ("click", "buy", "hide"))


@pytest.fixture
def catalog():
    with Embedded.memory() as stores:
        yield stores.catalog


def put(catalog, ids, entity="item", **columns):
    rows = catalog.rows(entity, ids, create=True)
    catalog.put(entity, rows, {name: objects(values) for name, values in columns.items()})


def objects(values):
    if isinstance(values, np.ndarray):
        return values
    column = np.empty(len(values), object)
    column[:] = values
    return column


def asking(*events, users=(0,), time=NOW):
    """One person with `events` of (item, kind, weight, days ago)."""
    history = {
        "item": [item for item, _, _, _ in events],
        "kind": [kind for _, kind, _, _ in events],
        "value": [1.0 for _ in events],
        "weight": [weight for _, _, weight, _ in events],
        "time": [NOW - int(days * DAY) for _, _, _, days in events],
    }
    return Queries.of(users, history=Ragged.of([history], HISTORY) if events else None, time=time)


def left(filter, queries, items=6):
    """The items that keep lets through for each query, after checking that narrow allows the same."""
    narrowed = filter.narrow(queries)
    query = np.repeat(np.arange(len(queries), dtype=np.int32), items)
    found = Candidates(query, np.tile(np.arange(items, dtype=np.int32), len(queries)))
    kept = filter.keep(queries, found)
    np.testing.assert_array_equal(kept, ops.permitted(found.query, found.item, narrowed.exclude, narrowed.allowed))
    return [found.item[kept & (query == b)].tolist() for b in range(len(queries))]


def test_seen_forgets_after_the_window_but_never_a_dislike():
    queries = asking((0, CLICK, 1, 400), (1, HIDE, -1, 400), (2, CLICK, 1, 91), (3, BUY, 3, 89), (4, CLICK, 0, 1))
    assert left(Seen(), queries) == [[5]]
    assert left(Seen(window="90d"), queries) == [[0, 2, 5]]


def test_seen_counts_only_the_kinds_it_is_told():
    queries = asking((0, CLICK, 1, 1), (1, HIDE, -1, 1), (2, BUY, 3, 1))
    assert left(Seen(kinds=("buy",)), queries) == [[0, 3, 4, 5]]


def test_seen_takes_the_names_of_the_data_when_fitted():
    kinds = Kinds({"watch": Kind(40)})
    data = Dataset.of(Events.empty(), 1, 6, kinds=kinds)
    queries = asking((0, 40, 1, 1), (1, CLICK, 1, 1))
    assert left(Seen(kinds=("watch",)).fit(data, seed=0), queries) == [[1, 2, 3, 4, 5]]


def test_seen_names_a_wrong_kind_and_a_wrong_window():
    with pytest.raises(ConfigError) as caught:
        Seen(kinds=("clik",)).narrow(asking())
    assert str(caught.value) == "filters.seen: kinds: there is no kind of event 'clik' (did you mean 'click'?)"
    assert caught.value.hint.startswith("choose among: view, click")
    with pytest.raises(ConfigError, match="'90 years' is not a length of time"):
        Seen(window="90 years").narrow(asking())


def test_available_reads_numbers_texts_and_flags(catalog):
    put(
        catalog,
        "abcdef",
        stock=np.array([3, 0, np.nan, -1, 1, np.nan]),
        state=["yes", " No ", "", "sold out", "OFF", "on"],
        listed=np.array([True, False, True, False, True, True]),
        tags=[("x",)] * 6,
    )
    assert left(Available(catalog, "stock"), asking()) == [[0, 2, 4, 5]]
    assert left(Available(catalog, "state"), asking()) == [[0, 2, 5]]
    assert left(Available(catalog, "listed"), asking()) == [[0, 2, 4, 5]]
    assert left(Available(catalog, "nothing"), asking()) == [[0, 1, 2, 3, 4, 5]]
    with pytest.raises(ConfigError, match="column 'tags' of the items is a list"):
        left(Available(catalog, "tags"), asking())


def test_one_item_said_to_be_unavailable_hides_no_other(catalog):
    put(catalog, "abc", stock=np.array([1.0, 1.0, 1.0]))
    put(catalog, "b", available=np.array([False]))
    assert left(Available(catalog), asking(), 3) == [[0, 2]]
    put(catalog, "b", available=[None])
    assert left(Available(catalog), asking(), 3) == [[0, 1, 2]]


def test_available_from_start_until_end_of_each_question(catalog):
    put(catalog, "abcd", opens=np.array([-1, 10, 20, 30]), closes=np.array([-1, 15, -1, 40]))
    filter = Available(catalog, start="opens", end="closes")
    queries = Queries.of([0, 1, 2, 3, 4], time=np.array([9, 10, 15, 30, 40], np.int64))
    alone = [left(filter, queries.take(np.array([b])), 4)[0] for b in range(5)]
    assert alone == [[0], [0, 1], [0], [0, 2, 3], [0, 2]]
    assert left(filter, queries, 4) == alone
    assert left(filter, queries.take(np.empty(0, np.intp)), 4) == []


def test_available_wants_times_for_start_and_end(catalog):
    put(catalog, "a", price=np.array([3.0]))
    with pytest.raises(ConfigError, match="column 'price' of the items is a number, not a time"):
        left(Available(catalog, start="price"), asking())


def test_available_notices_a_change_and_a_new_item(catalog):
    put(catalog, "ab", available=np.array([1.0, 1.0]))
    filter = Available(catalog)
    assert left(filter, asking(), 3) == [[0, 1, 2]]
    put(catalog, "bc", available=np.array([0.0, 0.0]))
    assert left(filter, asking(), 3) == [[0]]


def test_blocked_for_everybody_and_for_one(catalog):
    put(catalog, "abcdef")
    put(catalog, ["u", "v"], "user", unwanted=[("b", "nobody"), ()])
    filter = Blocked(catalog, items=("e", "later"), column="unwanted")
    queries = Queries.of([0, 1, -1, 7])
    assert left(filter, queries) == [[0, 2, 3, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 5]]
    told = replace(queries, columns={"unwanted": objects([(), ("a", "b"), (), ("f",)])})
    assert left(filter, told) == [[0, 1, 2, 3, 5], [2, 3, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3]]


def test_blocked_finds_an_item_that_arrives_later(catalog):
    put(catalog, "ab")
    filter = Blocked(catalog, items=("c",))
    assert left(filter, asking(), 3) == [[0, 1, 2]]
    put(catalog, "c")
    assert left(filter, asking(), 3) == [[0, 1]]


def test_blocked_wants_a_list(catalog):
    put(catalog, ["u"], "user", unwanted=["b"])
    with pytest.raises(ConfigError, match="user column 'unwanted' is a text, not a list of item ids"):
        left(Blocked(catalog, column="unwanted"), asking())


def test_attribute_follows_the_catalog(catalog):
    put(catalog, "abc", year=np.array([1980.0, 1995.0, np.nan]), genres=[("Drama",), ("Drama", "War"), ()])
    filter = Attribute(catalog, "year >= 1990 and 'Drama' in genres")
    assert left(filter, asking(), 3) == [[1]]
    put(catalog, "ad", year=np.array([2000.0, 2000.0]), genres=[("Drama",), ("Drama",)])
    assert left(filter, asking(), 4) == [[0, 1, 3]]
    beyond = Candidates(np.zeros(1, np.int32), np.array([9], np.int32))
    assert not filter.keep(asking(), beyond).any()  # nothing is known of it


def test_attribute_on_an_empty_catalog_lets_nothing_through(catalog):
    filter = Attribute(catalog, "year >= 1990")
    found = Candidates(np.zeros(1, np.int32), np.zeros(1, np.int32))
    assert not filter.keep(filter.narrow(asking()), found).any()


def test_attribute_reports_syntax_when_made_and_columns_when_asked(catalog):
    put(catalog, "a", year=np.array([1.0]))
    with pytest.raises(ConfigError, match="position 7: expected a column or a value"):
        Attribute(catalog, "year >")
    with pytest.raises(ConfigError, match=r"there is no column 'yaer' \(did you mean 'year'\?\)"):
        left(Attribute(catalog, "yaer > 1"), asking())
