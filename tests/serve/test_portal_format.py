"""How values read on the pages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from robotrace.serve.portal_format import ago, length_s, number, pretty, utc

NOW = datetime(2026, 7, 30, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 d ago"),
        (29 * 86_400, "29 d ago"),
        (30 * 86_400, "2026-06-30"),
    ],
)
def test_ages_are_told_in_their_largest_unit(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "0.00 s"), (9.98, "9.98 s"), (59.999, "1:00 min"), (185.4, "3:05 min"), (3725, "1:02:05 h")],
)
def test_lengths_carry_their_unit(seconds: float | None, text: str) -> None:
    assert length_s(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(500.0, "500"), (-3, "-3"), (0.123456, "0.12346"), (1e300, "1e+300"), (123456.7, "1.2346e+05"), (1e7, "1e+07")],
)
def test_figures_keep_five_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_times_name_their_zone() -> None:
    assert utc(NOW.astimezone(timezone(timedelta(hours=2)))) == "2026-07-30 12:00:00 UTC"


def test_json_keeps_its_order_and_its_letters() -> None:
    assert pretty({"b": "Größe", "a": 1}) == '{\n  "b": "Größe",\n  "a": 1\n}'
