"""A sink that follows the rollout in time: its keys are turned anew, near enough to be found.

A model has seen keys only so far back. Frame 0 of a long rollout lies further back than that; where retrieved
keys get positions within the trained range, the sink does too.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from core.memory.footprint import Footprint
from core.memory.window import Window
from core.models.wan.rope import RotaryTable


class FollowingSink:
    """Keys of the sink before RoPE; the window holds them turned to where they are wanted.

    Args:
        footprint: Layers, heads and head width.
        frames: Latent frames of the sink.
        batch: Rollouts that run side by side.
        device: Where the keys lie.
        dtype: Of the keys.
    """

    def __init__(
        self, footprint: Footprint, frames: int, *, batch: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._footprint, self._frames = footprint, frames
        tokens = frames * footprint.tokens_per_frame
        shape = (footprint.num_layers, batch, tokens, footprint.num_heads, footprint.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self._first_frame = 0  # at which latent frame the window's sink stands

    @property
    def nbytes(self) -> int:
        """Bytes of the keys."""
        return self.keys.nbytes

    def keep(self, layer: int, first_frame: int, keys: Float[Tensor, "batch tokens heads head_dim"]) -> None:
        """Take the part of a chunk's keys that belongs to the sink.

        Args:
            layer: The layer.
            first_frame: First latent frame of the chunk.
            keys: Keys of the chunk before RoPE.
        """
        start = first_frame * self._footprint.tokens_per_frame
        room = self.keys.shape[2] - start
        if room > 0:
            self.keys[layer, :, start : start + keys.shape[1]] = keys[:, :room].to(self.keys)

    def move(self, window: Window, rotary: RotaryTable, first_frame: int) -> None:
        """Let the window's sink stand at `first_frame` and after."""
        if first_frame == self._first_frame:
            return
        rotation = rotary.grid_rotation(range(first_frame, first_frame + self._frames), self._footprint.grid)
        for layer, keys in enumerate(self.keys):
            window.keys[layer, :, : keys.shape[1]] = rotation.apply(keys)
        self._first_frame = first_frame

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs; where it stands follows from the plan."""
        return {"keys": self.keys}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape."""
        self.keys.copy_(state["keys"])
        self._first_frame = -1  # whatever the window holds is turned again
