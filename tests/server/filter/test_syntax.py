"""The filter language: AIP-160's grammar, canonical texts, and errors which say what to write."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.filter.naive import filters

from tanager_server.filter.parser import MAX_CHARACTERS, MAX_DEPTH, MAX_TERMS, parse
from tanager_server.filter.syntax import (
    EVERYTHING,
    And,
    Comparison,
    FilterError,
    Not,
    Or,
    Present,
    Text,
    TitleHas,
)

A, B, C, D = (Comparison(name, "=", 1.0) for name in "abcd")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("a = 1", A),
        ("a=1", A),
        ("a = 1 AND b = 1 OR c = 1", And((A, Or((B, C))))),
        ("a = 1 OR b = 1 AND c = 1", And((Or((A, B)), C))),
        ("a=1 b=1 OR c=1 d=1", And((A, Or((B, C)), D))),
        ("(a=1 AND b=1) OR c=1", Or((And((A, B)), C))),
        ("((a=1))", A),
        ("NOT a=1", Not(A)),
        ("-a=1", Not(A)),
        ("-(a=1 b=1)", Not(And((A, B)))),
        ("NOT (NOT a=1)", A),
        ("NOT a=1 OR b=1", Or((Not(A), B))),
        ('-"x y"', Not(TitleHas("x y"))),
        ("Alien", TitleHas("alien")),
        ("*Alien*", TitleHas("alien")),
        ("30", TitleHas("30")),
        ("sci-fi", TitleHas("sci-fi")),
        ("domain = film", Comparison("domain", "=", Text("film"))),
        ("domain = 'film'", Comparison("domain", "=", Text("film"))),
        (r"""a = "it's \"\\\*\n" """, Comparison("a", "=", Text("it's \"\\*\n"))),
        ("a = '*x'", Comparison("a", "=", Text("x", open_start=True))),
        ("a != x*", Comparison("a", "!=", Text("x", open_end=True))),
        ("a = '*x*'", Comparison("a", "=", Text("x", open_start=True, open_end=True))),
        ("a = *", Comparison("a", "=", Text("", open_start=True))),
        ("a = '**'", Comparison("a", "=", Text("", open_start=True))),
        ("tags:horror", Comparison("tags", ":", Text("horror"))),
        ("tags:*", Present("tags")),
        ("tags:'*'", Comparison("tags", ":", Text("", open_start=True))),
        ("a.b >= -1.5e3", Comparison("a.b", ">=", -1500.0)),
        ("a < .5", Comparison("a", "<", 0.5)),
        ("a = -0", Comparison("a", "=", 0.0)),
        ("a = '1'", Comparison("a", "=", Text("1"))),
        ("a = 80s", Comparison("a", "=", Text("80s"))),
        ("a = ''", Comparison("a", "=", Text(""))),
        ('"running time" < 90', Comparison("running time", "<", 90.0)),
        ("三体 = 'x'", Comparison("三体", "=", Text("x"))),
        ("", EVERYTHING),
        (" \n ", EVERYTHING),
    ],
)
def test_what_is_read(text, node):
    assert parse(text) == node
    assert parse(str(node)) == node


def test_booleans_are_no_numbers():
    def value(text):
        node = parse(text)
        assert isinstance(node, Comparison)
        return node.value

    assert value("a = true") is True
    assert value("a != false") is False
    assert str(parse("a=true")) == "a = true"
    assert value("a = 'true'") == Text("true")
    assert type(value("a = 1")) is float


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("a =", 3, "expected a text, a number, true or false behind '=', found the end"),
        ("a = 1 AND", 9, "found the end of the filter; complete it"),
        ("AND a = 1", 0, "found 'AND'; put AND in quotes"),
        ("a = 1 OR OR b = 1", 9, "found 'OR'"),
        ("(a = 1", 6, r"the '\)' of the '\(' at character 1"),
        ("a = 1)", 5, r"found '\)'; drop"),
        ("()", 1, "expected an attribute's name"),
        ("= 1", 0, "an attribute's name before an operator"),
        ("a = = 1", 4, "behind '=', found '='"),
        ("a = b = c", 6, "found '='"),
        ("a = (1 OR 2)", 4, "repeat the name"),
        ("a = AND", 4, "quote it"),
        ("a = 1 and b = 1", 6, "write AND"),
        ("not a", 0, "write NOT"),
        ("f(a)", 0, "no functions"),
        ("a = 'x", 4, "no end; close it with '"),
        (r"a = 'x\q'", 6, r"unknown escape '\\q'"),
        ("a = 'x\\", 6, "unknown escape"),
        ("a = x\\y", 5, "backslash outside quotes"),
        ("!a", 0, "write NOT"),
        ("a = x,y", 5, "put the text in quotes"),
        ("a < true", 2, "write = or !="),
        ("a >= x*", 5, r"'\*' behind '>='"),
        ("a = x*y", 4, r"its character 2\); wildcards stand at its ends"),
        ("a = '***'", 4, "wildcards"),
        ("a* = 1", 0, "no attribute's name"),
        ("'' = 1", 0, "is empty"),
        ("''", 0, "no text to find"),
        ("x *", 2, "no text to find"),
        ("a = 1e999", 4, "too large"),
        ("a > 2020-01-01T00:00:00Z", 17, "put the value in quotes"),
        ("--a", 1, "a negation of a negation"),
        ("NOT -a", 4, "a negation of a negation"),
        ("a = 1 - b", 6, "nothing behind it"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH, f"more than {MAX_DEPTH} parentheses"),
        (" ".join(["x"] * (MAX_TERMS + 1)), 2 * MAX_TERMS, f"more than {MAX_TERMS} comparisons"),
        ("x" * (MAX_CHARACTERS + 1), MAX_CHARACTERS, f"at most {MAX_CHARACTERS}"),
    ],
)
def test_errors_say_where_and_what_to_write(text, position, problem):
    with pytest.raises(FilterError, match=problem) as caught:
        parse(text)
    assert caught.value.position == position
    assert str(caught.value).startswith(f"at character {position + 1}: ")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_the_bounds_themselves_are_allowed():
    assert parse("(" * MAX_DEPTH + "a=1" + ")" * MAX_DEPTH) == A
    most = [f"x{number}" for number in range(MAX_TERMS)]
    assert parse(" ".join(most)) == And(tuple(map(TitleHas, most)))
    assert parse("x" * MAX_CHARACTERS) == TitleHas("x" * MAX_CHARACTERS)


@settings(max_examples=500, deadline=None)
@given(filters(st.text(min_size=1, max_size=5) | st.sampled_from(["AND", "or", "a.b", "true", "1", "-x", "a*"])))
def test_filters_are_what_their_text_says(node):
    text = str(node)
    again = parse(text)
    assert again == node
    assert str(again) == text


_PIECES = [
    *("AND", "OR", "NOT", "and", "-", "(", ")", "=", "!=", "<", ">=", ":", "*", "'", '"', "\\", "!", ",", " ", "\n"),
    *("a", "title", "1", "-1.5", "true", "'x'", '"*y"', "x*", "1e999", "\x00", "\ud800", "ß", "三", "."),
]


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=30).map("".join)
    | st.lists(st.sampled_from(_PIECES), max_size=30).map(" ".join)
    | st.text()
    | st.text(alphabet=string.punctuation + "ab ")
)
def test_whatever_is_written_is_read_or_refused(text):
    try:
        node = parse(text)
    except FilterError as error:
        refused = error
    else:
        assert parse(str(node)) == node
        return
    assert 0 <= refused.position <= len(text)
    assert refused.problem


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01t01:00:00.5+01:00", 0.5),
        ("2020-01-01T00:00:00Z", 1577836800.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
        ("2020-01-01", None),
        ("2020-01-01T00:00:00", None),
        ("2020-13-01T00:00:00Z", None),
        ("0000-01-01T00:00:00Z", None),
        ("2020-01-01T00:00:00+99:00", None),
        ("x", None),
    ],
)
def test_times(text, seconds):
    assert Text(text).time == seconds
    assert Text(text, open_end=True).time is None
