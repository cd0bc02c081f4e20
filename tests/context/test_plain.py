"""Hyperparameters and configurations as plain values: short, finite, without secrets."""

from __future__ import annotations

import enum
import json
from collections import namedtuple
from typing import Any

from robotrace.context.plain import REDACTED, is_secret, plain_values

Frequency = namedtuple("Frequency", ["frequency", "unit"])


class Unit(enum.Enum):
    STEP = "step"


def test_what_looks_like_a_secret_by_its_name_is_left_out_at_every_depth() -> None:
    told = plain_values({"api_key": "k", "logger": {"Password": "p", "run": 3}, "tokens": [1], "lr": 0.1})
    assert told == {"api_key": REDACTED, "logger": {"Password": REDACTED, "run": 3}, "tokens": REDACTED, "lr": 0.1}
    assert is_secret("WANDB_API_KEY")
    assert not is_secret("learning_rate")


def test_any_value_is_one_that_json_can_say() -> None:
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    told = plain_values(
        {
            "infinite": float("inf"),
            "long": "x" * 1000,
            "many": list(range(1000)),
            "deep": deep,
            "function": test_any_value_is_one_that_json_can_say,
            "object": object(),
            "named": Frequency(4, Unit.STEP),
            5: None,
        }
    )
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["infinite"] == "inf"
    assert len(told["long"]) == 200
    assert len(told["many"]) == 64
    assert told["function"].endswith("test_any_value_is_one_that_json_can_say")
    assert told["object"] == "builtins.object"
    assert told["named"] == {"frequency": 4, "unit": "step"}
    assert told["5"] is None


def test_a_framework_says_what_its_own_kinds_of_values_mean() -> None:
    class Schedule:
        value_schedule = 0.5

    told = plain_values([Schedule(), 1], lambda value: getattr(value, "value_schedule", value))
    assert told == [0.5, 1]
