"""The language of conditions: what it means, what it refuses, and in which words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import ConfigError
from shortlist.filters.expression import MAX_DEPTH, MAX_NODES, moment, parse

TYPES = {"year": "number", "price": "number", "genres": "list", "type": "text", "new": "flag", "added": "time"}
DAY = 86_400_000_000


def objects(values):
    column = np.empty(len(values), object)
    column[:] = values
    return column


COLUMNS = {
    "year": np.array([1990.0, np.nan, 2001.0, 1985.0]),
    "price": np.array([1.0, 2.0, np.nan, 1985.0]),
    "genres": objects([("Drama",), (), ("Comedy", "Drama"), ("TV",)]),
    "type": objects(["TV", "", "Movie", "it's"]),
    "new": np.array([True, False, False, True]),
    "added": np.array([0, -1, 20 * DAY, 365 * DAY]),
}


def mask(text):
    expression = parse(text)
    expression.check(TYPES)
    return "".join("x" if each else "." for each in expression.mask(COLUMNS))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("year >= 1990", "x.x."),
        ("1990 <= year", "x.x."),
        ("year != 1990", "..xx"),  # missing: false
        ("not (year = 1990)", ".xxx"),
        ("year >= 1990 and 'Drama' in genres and not (type = 'TV')", "..x."),
        ("new or 'Comedy' in genres", "x.xx"),
        ("new and year > 1986 or type = 'Movie'", "x.x."),  # and binds tighter
        ("new and (year > 1986 or type = 'Movie')", "x..."),
        ("NOT new", ".xx."),
        ("new = false", ".xx."),
        ("'Drama' not in genres", "...x"),
        ("type in ('TV', \"Movie\")", "x.x."),
        ("type not in ('TV')", "..xx"),
        ("year in (1985, 2001)", "..xx"),
        ("type in genres", "...."),
        ("year = price", "...x"),
        ("year <> price", "x..."),
        ("type = 'it''s'", "...x"),
        ('type = "it\'s"', "...x"),
        ("added >= '1970-01-21'", "..xx"),
        ("added < '1970-01-21T00:00:00+01:00'", "x..."),
        ("added in ('1970-01-01', '1971-01-01')", "x..x"),
        ("`year`==1990", "x..."),
        ("year > -1e3", "x.xx"),
    ],
)
def test_meaning(text, rows):
    assert mask(text) == rows


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "yeer > 3",
            "condition, position 1: there is no column 'yeer' (did you mean 'year'?), near: yeer > 3",
            "added",
        ),
        ("year > 'a'", "condition, position 8: 'a' is a text, but a number is needed here, near: year > 'a'", ""),
        ("year >", "condition, position 7: expected a column or a value, found 'the end', near: year >", ""),
        ("year = 'x", "condition, position 8: this text does not end, near: year = 'x", "quotes"),
        ("'a' = 'b'", "condition, position 5: two constants are compared, near: 'a' = 'b'", "name a column"),
        ("genres = 'x'", "condition, position 8: a list cannot be compared with =, near: genres = 'x'", "in column"),
        ("new < true", "condition, position 5: a flag cannot be compared with <, near: new < true", "not column"),
        ("year in genres", "condition, position 1: column 'year' is a number, but a text is needed here", ""),
        ("'a' in type", "condition, position 8: column 'type' is a text, not a list", "compare with ="),
        ("'a' in ('a')", "condition, position 5: a constant is looked up among constants", "column in"),
        ("genres in ('a')", "condition, position 8: column 'genres' is a list itself", "'value' in genres"),
        ("(year = 1", "condition, position 10: expected `)`, found 'the end'", ""),
        ("year = 1 year", "condition, position 10: expected `and`, `or` or the end, found 'year'", ""),
        ("type in ('a' 'b')", "condition, position 14: expected `,` or `)`, found 'b'", ""),
        ("type in 'a'", "condition, position 9: expected a column or a list of values in brackets, found 'a'", ""),
        ("type not like 'a'", "condition, position 10: expected `in` after `not`, found 'like'", ""),
        ("added > 'soon'", "condition, position 9: 'soon' is not a time", "2024-01-31"),
        ("added > 3", "condition, position 9: 3.0 is a number, but a time is needed here", ""),
        ("year ; drop", "condition, position 6: ';' has no meaning here", "quotes"),
        ("year", "condition, position 1: column 'year' is a number, not a flag", "compare it"),
        ("1", "condition, position 2: expected a comparison, found 'the end'", "year >= 1990"),
        ("", "condition, position 1: expected a column or a value, found 'the end'", ""),
    ],
)
def test_refusals_name_the_place_the_given_and_the_allowed(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse(text).check(TYPES)
    assert str(caught.value).startswith(message)
    assert hint in caught.value.hint


def test_limits():
    with pytest.raises(ConfigError, match="has 2,001 characters, allowed are 2,000"):
        parse("x" * 2001)
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} deep"):
        parse("(" * 51 + "new" + ")" * 51)
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES} parts"):
        parse("year in (" + ",".join("1" for _ in range(600)) + ")")
    assert parse("(" * 49 + "new" + ")" * 49).mask(COLUMNS).tolist() == [True, False, False, True]


def test_names_are_sorted_and_single():
    assert parse("year > 1 and type in genres or year = price").names == ("genres", "price", "type", "year")


def test_moment_reads_zones_and_refuses_words():
    assert moment("1970-01-02") == DAY
    assert moment("1970-01-01T01:00:00+01:00") == 0
    assert moment("1969-12-31T23:59:59.999999Z") == -1
    assert moment("tomorrow") is None


# a condition, its text, and what it means for one row: missing values make comparisons false
leaf = st.one_of(
    st.tuples(
        st.sampled_from(["year", "price"]), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.integers(1980, 2005)
    ),
    st.tuples(st.just("genres"), st.sampled_from(["in", "not in"]), st.sampled_from(["Drama", "Comedy", "TV", "x"])),
    st.tuples(st.just("new"), st.just("flag"), st.just("")),
)
tree = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=12,
)


def written(node):
    match node:
        case ("not", inner):
            return f"not ({written(inner)})"
        case ("and" | "or" as word, left, right):
            return f"({written(left)}) {word} ({written(right)})"
        case ("genres", sign, value):
            return f"'{value}' {sign} genres"
        case ("new", _, _):
            return "new"
        case (name, sign, value):
            return f"{name} {sign} {value}"


def meant(node, row):
    match node:
        case ("not", inner):
            return not meant(inner, row)
        case ("and", left, right):
            return meant(left, row) and meant(right, row)
        case ("or", left, right):
            return meant(left, row) or meant(right, row)
        case ("genres", sign, value):
            return bool(row["genres"]) and (value in row["genres"]) == (sign == "in")
        case ("new", _, _):
            return bool(row["new"])
        case (name, sign, value):
            given = row[name]
            signs = {
                "=": given == value, "!=": given != value, "<": given < value,
                "<=": given <= value, ">": given > value, ">=": given >= value,
            }  # fmt: skip
            return not np.isnan(given) and bool(signs[sign])


@given(tree)
@settings(deadline=None)
def test_mask_says_what_each_row_says_alone(node):
    rows = [{name: column[row] for name, column in COLUMNS.items()} for row in range(4)]
    expression = parse(written(node))
    expression.check(TYPES)
    assert expression.mask(COLUMNS).tolist() == [meant(node, row) for row in rows]


@given(st.text(alphabet="year'\"`()<>=!, notinadorgenres19\n\t;", max_size=40))
@settings(deadline=None)
def test_any_text_is_understood_or_refused(text):
    try:
        expression = parse(text)
        expression.check(TYPES)
    except ConfigError:
        return
    assert expression.mask(COLUMNS).shape == (4,)
