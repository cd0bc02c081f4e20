"""What of an environment's state an episode starts from, beside its arguments and its seed.

Its random generators, read without making or advancing one, and what it is known to carry over from earlier episodes.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from robotrace.capture.attributes import layers, own_attribute, own_values
from robotrace.capture.clock import read_attribute

__all__ = [
    "carries_statistics",
    "fresh_state",
    "main_generator",
    "other_generators",
    "seeds_in_place",
    "state_of",
    "used_world",
]

_STATISTICS = ("obs_rms", "return_rms")
_MAIN = "_np_random"
"""The private name: the public property makes a generator where there is none yet."""


def main_generator(env: Any) -> Any:
    """The generator behind ``np_random``; None as long as nobody asked for one, and where it is of another kind."""
    generator = read_attribute(read_attribute(env, "unwrapped"), _MAIN)
    return generator if isinstance(generator, np.random.Generator) else None


def fresh_state(generator: np.random.Generator) -> tuple[Any, Any]:
    """The seed a generator was made from, and its state at that time.

    Returns:
        (seed, state) after ``numpy.random.SeedSequence(seed)``; (None, None) where it was made in another way.
    """
    bits = generator.bit_generator
    sequence = getattr(bits, "seed_seq", None) or getattr(bits, "_seed_seq", None)  # its name before NumPy 1.25
    entropy = getattr(sequence, "entropy", None)
    if not isinstance(entropy, int) or getattr(sequence, "spawn_key", None) != ():
        return None, None
    return entropy, type(bits)(np.random.SeedSequence(entropy)).state


def other_generators(env: Any) -> dict[str, Any]:
    """The generators that the env and its wrappers keep beside ``np_random``, by ``Class.attribute``."""
    found: dict[str, Any] = {}
    main = main_generator(env)
    for layer in layers(env):
        if any(_is_generator(value) and value is not main for value in own_values(layer)):
            for name, value in list(getattr(layer, "__dict__", {}).items()):
                if _is_generator(value) and value is not main:
                    found[f"{type(layer).__name__}.{name}"] = value
    return found


def state_of(generator: Any) -> Any:
    """A generator's state, to be compared."""
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if isinstance(generator, random.Random):
        return generator.getstate()
    state = generator.get_state()
    return repr(state) if isinstance(state, tuple) else state.numpy().tobytes()  # NumPy's old one; torch's


def seeds_in_place(generator: Any) -> bool:
    """Whether it has a ``seed`` method of a kind; NumPy's new ones are made anew instead."""
    return not isinstance(generator, np.random.Generator)


def carries_statistics(env: Any) -> str | None:
    """The wrapper whose running statistics hold something of earlier steps (``NormalizeObservation``)."""
    for layer in layers(env):
        for name in _STATISTICS:
            count = read_attribute(own_attribute(layer, name), "count")
            if isinstance(count, (int, float)) and count >= 1:
                return type(layer).__name__
    return None


def used_world(env: Any) -> Any:
    """The Box2D world, where there is something in it; None where there is none.

    An env that empties its world instead of making another (BipedalWalker, CarRacing) steps a little differently then:
    the solver's order depends on what was in it before.
    """
    world = read_attribute(read_attribute(env, "unwrapped"), "world")
    is_one = type(world).__module__.partition(".")[0] == "Box2D"
    return world if is_one and read_attribute(world, "bodyCount") else None


def _is_generator(value: Any) -> bool:
    return isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)) or (
        type(value).__name__ == "Generator" and type(value).__module__.partition(".")[0] == "torch"
    )
