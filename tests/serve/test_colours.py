"""The colours, from the tokens themselves: text that can be read, lines that any colour vision tells apart."""

from __future__ import annotations

import itertools
import re
from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray

STATIC = resources.files("robotrace.serve") / "static"
TOKENS = (STATIC / "tokens.css").read_text()
SCHEMES = ("light", "dark")

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as somebody without one of the cones has it.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TEXTS = ("ink", "ink-2", "ink-3", "accent", "good", "bad", "warn")
GROUNDS = ("page", "surface", "sunken", "bad-tint")
LINES = tuple(f"line-{number}" for number in range(8))


def tokens() -> dict[str, dict[str, str]]:
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", TOKENS)
    return {scheme: {name: pair[place] for name, *pair in found} for place, scheme in enumerate(SCHEMES)}


def linear(colour: str) -> NDArray[np.float64]:
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it."""
    darker, lighter = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def lab(colour: str, vision: NDArray[np.float64]) -> NDArray[np.float64]:
    xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    x, y, z = xyz @ np.clip(vision @ linear(colour), 0, 1) / (0.95047, 1.0, 1.08883)
    x, y, z = (np.cbrt(part) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one: str, other: str, vision: str) -> float:
    """CIE76: from 2.3 on one sees a difference side by side, from 10 on at a glance."""
    return float(np.linalg.norm(lab(one, VISIONS[vision]) - lab(other, VISIONS[vision])))


def test_black_and_white_are_21_to_1_and_100_apart() -> None:
    """The formulas."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert apart("#000000", "#ffffff", "normal") == pytest.approx(100, abs=0.1)
    # Red and green that only the normal eye tells apart.
    assert apart("#a05000", "#5a7000", "normal") > 40 > apart("#a05000", "#5a7000", "deuteranopia")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_can_be_read_on_every_ground(scheme: str) -> None:
    colours = tokens()[scheme]
    weak = {
        (text, ground): contrast(colours[text], colours[ground])
        for text in TEXTS
        for ground in GROUNDS
        if contrast(colours[text], colours[ground]) < 4.5
    }
    assert weak == {}
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_stand_out_from_their_ground(scheme: str) -> None:
    colours = tokens()[scheme]
    assert {line for line in LINES if contrast(colours[line], colours["surface"]) < 3} == set()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_lines_are_told_apart(scheme: str, vision: str) -> None:
    colours = tokens()[scheme]
    pairs = {pair: apart(colours[pair[0]], colours[pair[1]], vision) for pair in itertools.combinations(LINES, 2)}
    assert min(pairs.values()) > 11, min(pairs, key=lambda pair: pairs[pair])
    # What comes first is there most.
    assert min(pairs[pair] for pair in itertools.combinations(LINES[:4], 2)) > 14


def test_a_colour_has_its_one_place() -> None:
    """Every token of a colour is registered, and no other sheet names one."""
    named = set(tokens()["light"])
    assert set(re.findall(r"@property --([\w-]+) \{ syntax: \"<color>\"", TOKENS)) == named
    for sheet in STATIC.iterdir():
        if sheet.name.endswith(".css") and sheet.name != "tokens.css":
            text = sheet.read_text()
            assert re.findall(r"(?<![\w&-])#[0-9a-fA-F]{3,8}\b(?=[;\s,)])", text) == [], sheet.name
            assert set(re.findall(r"var\(--([\w-]+)", text)) <= named | defined(text), sheet.name


def defined(text: str) -> set[str]:
    """Tokens that are no colours, and those that a sheet or script sets for itself."""
    scripts = "".join(script.read_text() for script in STATIC.iterdir() if script.name.endswith(".js"))
    return set(re.findall(r"--([\w-]+):", TOKENS + text)) | set(re.findall(r'"--([\w-]+)"', scripts))
