"""Colours are told apart by eyes that see no colour, or fewer of them."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from core import palette
from core.palette import MODES, RECALLS, SERIES, STAGES, STRATEGIES, TIERS

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
# Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
ALL = {
    "modes": MODES,
    "tiers": TIERS,
    "stages": STAGES,
    "recalls": RECALLS,
    "strategies": STRATEGIES,
    "series": {str(number): look for number, look in enumerate(SERIES)},
}
CLEARLY = 20.0  # of CIELAB; 2 can just be told apart


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = (np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in TO_XYZ @ rgb / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("looks", ALL.values(), ids=list(ALL))
def test_colours_are_far_apart(looks: dict[str, palette.Look], eyes: str) -> None:
    seen = {k: lab(np.clip(np.array(EYES[eyes]) @ linear(v.colour), 0, 1)) for k, v in looks.items()}
    for a, b in combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > CLEARLY, (a, b)


@pytest.mark.parametrize("looks", ALL.values(), ids=list(ALL))
def test_greys_are_steps(looks: dict[str, palette.Look]) -> None:
    light = sorted(lab(linear(look.colour))[0] for look in looks.values())
    assert all(b - a > 10 for a, b in pairwise(light))


def test_lines_differ_without_colour() -> None:
    for looks in (MODES, TIERS, STRATEGIES, ALL["series"]):
        assert len({look.marker for look in looks.values()}) == len(looks)
        assert len({look.dashes for look in looks.values()}) == len(looks)


def test_every_memory_mode_has_a_look() -> None:
    from core.memory.layout import MemoryMode

    assert set(MODES) == {str(mode) for mode in MemoryMode}


def test_every_strategy_has_a_look() -> None:
    from core.memory.strategies import STRATEGIES as KNOWN

    assert set(STRATEGIES) == set(KNOWN)
