"""Scripted camera paths: a small YAML language that compiles to per-video-frame cameras and actions.

Axes are OpenCV's (+X right, +Y down, +Z forward), matrices are camera-to-world, lengths are world units,
angles degrees. Yaw grows to the right, pitch grows upwards. Frame 0 is the start pose, recorded before
anything moves.
"""

from trajectories.actions import Gains
from trajectories.errors import MotionError, SchemaError, SourceError, TrajectoryError, YamlError
from trajectories.loader import library_names, load, parse
from trajectories.trajectory import Trajectory

__all__ = [
    "Gains",
    "MotionError",
    "SchemaError",
    "SourceError",
    "Trajectory",
    "TrajectoryError",
    "YamlError",
    "library_names",
    "load",
    "parse",
]
