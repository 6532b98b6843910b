from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.dataset import DAY, duration
from shortlist.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("90s", 90_000_000),
        ("15m", DAY // 96),
        ("12h", DAY // 2),
        ("30d", 30 * DAY),
        ("2w", 14 * DAY),
        (" 1.5 h", DAY // 16),
    ],
)
def test_a_length_of_time_is_a_number_and_a_unit(text, microseconds):
    assert duration(text) == microseconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1e3d", "0d", "30 days", "inf d", "9" * 30 + "w", "9" * 400 + "w", "٣d"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError, match="is not a length of time") as caught:
        duration(text)
    assert repr(text) in str(caught.value)
    assert caught.value.hint == "write a number and a unit, s, m, h, d or w, such as 90s, 12h, 30d"


@given(st.text())
def test_no_text_does_anything_else(text):
    with suppress(ConfigError):
        assert duration(text) > 0
