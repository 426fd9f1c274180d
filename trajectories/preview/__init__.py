"""A top-down picture of a trajectory, as SVG or PNG, without a display.

`plan_view` decides what to draw, `drawing` is the handful of shapes it uses, `svg` and `png` put them on
paper.
"""

from trajectories.preview.plan_view import plan_view
from trajectories.preview.write import PLOT_SUFFIXES, write_plot

__all__ = ["PLOT_SUFFIXES", "plan_view", "write_plot"]
