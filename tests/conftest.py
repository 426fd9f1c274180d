"""Checks array shapes in signatures while the tests run, and keeps torch on two threads."""

from jaxtyping import install_import_hook

# Must come before the first import of the packages; tests/test_shape_types.py proves that it works.
install_import_hook(["core", "trajectories"], "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)  # two xdist workers share two cores
