"""The camera scripts on which the embedded model is judged: each leaves a place and comes back."""

from __future__ import annotations

from dataclasses import dataclass

import trajectories
from trajectories import Trajectory

_HEADER = """\
version: 1
name: {name}
fps: 10
camera: {{fov_deg: 90, image_size_px: [80, 48]}}
rates: {{turn_deg_per_frame: 10, move_units_per_frame: 0.12}}
steps:
"""


@dataclass(frozen=True)
class Script:
    """A script and how much of it can be given as truth.

    Attributes:
        name: For tables.
        steps: Steps of the trajectory language, one a line.
        given_chunks: Chunks of the first leg, before the camera turns back.
    """

    name: str
    steps: tuple[str, ...]
    given_chunks: int

    def trajectory(self) -> Trajectory:
        """The script, cut to whole chunks."""
        text = _HEADER.format(name=self.name.replace(" ", "-").replace(",", "").lower())
        text += "".join(f"  - {step}\n" for step in self.steps)
        whole, _ = trajectories.parse(text, source=self.name).fit_chunks(
            first_frames=3, later_frames=3, how="cut"
        )
        return whole


def _turn(degrees: float) -> str:
    return f"turn: {{yaw_deg: {degrees:g}}}"


def _walk(units: float) -> str:
    return f"move: {{forward_units: {units:g}}}"


SCRIPTS = (
    Script("R90 L90 twice", (_turn(90.0), _turn(-90.0)) * 2 + ("hold: {frames: 2}",), 4),
    Script("R180 L180", (_turn(180.0), _turn(-180.0), "hold: {frames: 2}"), 6),
    Script("360 twice", (_turn(720.0),), 12),
    Script(
        "R90 walk and back L90",
        (_turn(90.0), _walk(0.96), _walk(-0.96), _turn(-90.0), "hold: {frames: 2}"),
        6,
    ),
    Script(
        "walk R120 L120 back",
        (_walk(1.2), _turn(120.0), _turn(-120.0), _walk(-1.2), "hold: {frames: 3}"),
        8,
    ),
)
SIX_RETURNS = Script("six returns", (_turn(90.0), _turn(-90.0)) * 6 + ("hold: {frames: 2}",), 4)
MANY_RETURNS = Script("24 returns", (_turn(90.0), _turn(-90.0)) * 24 + ("hold: {frames: 2}",), 4)
