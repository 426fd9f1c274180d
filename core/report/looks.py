"""Colours of a report as CSS variables: the palette's in light, the same hues made to stand out in dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.palette import MODES, RECALLS, STAGES, TIERS

DARK_PAPER: Final = "#14171c"
LEAST_CONTRAST: Final = 3.2
"""Of a line to its paper; WCAG asks 3 of graphics."""

SAME_MODE: Final = (0.0, 0.45, 0.25, 0.6)
"""How far the colours of runs with one and the same mode are drawn towards white."""

SAME_MODE_DASHES: Final = ("", "7 4", "2 3", "9 3 2 3")
"""Of the first, second ... run, where runs share a mode."""


def css_variables() -> str:
    """Rules that define every colour, for light and dark."""
    light = {
        f"--{kind}-{name}": look.colour
        for kind, looks in (("mode", MODES), ("tier", TIERS), ("stage", STAGES), ("recall", RECALLS))
        for name, look in looks.items()
    }
    return _rules(light)


def run_variables(modes: Sequence[str]) -> str:
    """Rules for the colours `--run-0` ... of runs: their mode's; the second of a mode a lighter one."""
    colours: dict[str, str] = {}
    seen: dict[str, int] = {}
    for index, mode in enumerate(modes):
        look = MODES.get(mode)
        base = look.colour if look is not None else "#6b7280"
        colours[f"--run-{index}"] = mixed(base, "#ffffff", SAME_MODE[seen.get(mode, 0) % len(SAME_MODE)])
        seen[mode] = seen.get(mode, 0) + 1
    return _rules(colours)


def run_dashes(modes: Sequence[str]) -> list[str]:
    """Dashes of the runs' lines: their mode's, or, where runs share a mode, one after another."""
    if len(set(modes)) < len(modes):
        return [SAME_MODE_DASHES[i % len(SAME_MODE_DASHES)] for i in range(len(modes))]
    looks = [MODES.get(mode) for mode in modes]
    return [" ".join(f"{d:g}" for d in look.dashes) if look is not None else "2 3" for look in looks]


def on_dark(colour: str) -> str:
    """A colour on dark paper: drawn towards white until it stands out."""
    for share in range(0, 100, 4):
        lighter = mixed(colour, "#ffffff", share / 100)
        if contrast(lighter, DARK_PAPER) >= LEAST_CONTRAST:
            return lighter
    return "#ffffff"


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, 1 to 21. Source: WCAG 2.2, contrast ratio."""
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mixed(colour: str, other: str, share: float) -> str:
    """`colour` with a share of `other`."""
    parts = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)


def _rules(light: dict[str, str]) -> str:
    day = "".join(f"{name}:{colour};" for name, colour in light.items())
    night = "".join(f"{name}:{on_dark(colour)};" for name, colour in light.items())
    return f":root{{{day}}}@media (prefers-color-scheme: dark){{:root{{{night}}}}}"


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def _luminance(colour: str) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in _shares(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _shares(colour: str) -> list[float]:
    return [value / 255 for value in _channels(colour)]
