"""One colour for each memory mode, tier and stage, the same in every plot and report.

Chosen so that neighbours differ in lightness, too: they stay apart in grey and for colour-blind eyes, which
`tests/core/test_palette.py` measures. Lines also differ in dashes and markers, bars in hatching.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

INK: Final = "#1f2328"
"""Text and axes."""

MUTED: Final = "#6b7280"
"""What explains: footnotes, secondary axes."""

GRID: Final = "#e3e6ea"
PAPER: Final = "#ffffff"


@dataclass(frozen=True)
class Look:
    """How one kind of thing is drawn.

    Attributes:
        colour: As #rrggbb.
        marker: Shape of its points, in the letters of matplotlib.
        dashes: Lengths of dashes and gaps of its line, in points; none for a solid one.
        hatch: Pattern of its bars, in the letters of matplotlib.
    """

    colour: str
    marker: str = "o"
    dashes: tuple[float, ...] = ()
    hatch: str = ""


MODES: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "full": Look("#2b2d42", "s", (6.0, 2.0), ""),
        "worldkv": Look("#c8390f", "o", (), "//"),
        "sink": Look("#2a9d8f", "^", (1.5, 1.5), ".."),
        "sliding": Look("#f2b632", "D", (5.0, 1.5, 1.5, 1.5), "xx"),
    }
)
"""Memory modes, from dark to light."""

TIERS: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "device": Look("#3b1f6b", "o", (), ""),
        "host": Look("#8f6bb8", "s", (5.0, 2.0), "//"),
        "disk": Look("#cdb9e3", "^", (1.5, 1.5), ".."),
    }
)
"""Where stored keys and values lie, from dark to light."""

STAGES: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "encode": Look("#2b2b2b", hatch=""),
        "retrieve": Look("#d1495b", hatch="//"),
        "denoise": Look("#30638e", hatch=""),
        "commit": Look("#4fa3c7", hatch=".."),
        "decode": Look("#edae49", hatch=""),
        "write": Look("#e6dccb", hatch="xx"),
    }
)
"""Stages of a chunk."""

RECALLS: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "hit": Look("#14532d", hatch=""),
        "miss": Look("#d9742b", hatch="//"),
        "idle": Look("#d5d8dd", hatch=".."),
    }
)
"""What retrieval found of what overlaps the view: see design, hit/miss."""

STRATEGIES: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "pose": Look("#1d3a5f", "s", (6.0, 2.0), ""),
        "rays": Look("#c8390f", "o", (), "//"),
        "coverage": Look("#e0a526", "^", (1.5, 1.5), ".."),
    }
)
"""Retrieval strategies, from dark to light; `rays`, ours, in the colour of worldkv."""

SERIES: Final[tuple[Look, ...]] = (
    Look("#17172e", "s", (6.0, 2.0), ""),
    Look("#a13a5c", "o", (), "//"),
    Look("#3f7cc4", "^", (1.5, 1.5), ".."),
    Look("#86c08a", "D", (5.0, 1.5, 1.5, 1.5), "xx"),
    Look("#f7dc83", "v", (8.0, 2.0, 2.0, 2.0), "++"),
)
"""Whatever else is told apart, in order, from dark to light."""
