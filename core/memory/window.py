"""The window: one slab of keys and values a layer, allocated once.

| sink | ring of recent and current frames | retrieved tokens |

Attention needs no order among keys, so nothing is concatenated or shifted: the current chunk is written in
place in every pass, recent frames stay where they were written, a retrieved token stays in its slot while it
is wanted.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from core.memory.footprint import Footprint


class Window:
    """Keys (after RoPE) and values that the current chunk attends to.

    Args:
        footprint: Layers, heads and head width.
        tokens: Token slots of a layer's slab.
        batch: Rollouts that run side by side with one plan.
        device: Where the slab lies.
        dtype: Of keys and values.
    """

    def __init__(
        self,
        footprint: Footprint,
        tokens: int,
        *,
        batch: int = 1,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (footprint.num_layers, batch, tokens, footprint.num_heads, footprint.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes of the slab."""
        return self.keys.nbytes + self.values.nbytes

    def write(
        self,
        layer: int,
        at: slice | Int64[Tensor, " tokens"],
        keys: Float[Tensor, "batch tokens heads head_dim"],
        values: Float[Tensor, "batch tokens heads head_dim"],
    ) -> None:
        """Put tokens into slots of one layer."""
        self.keys[layer, :, at] = keys.to(self.keys.dtype)
        self.values[layer, :, at] = values.to(self.values.dtype)

    def move(self, source: Int64[Tensor, " tokens"], target: slice) -> None:
        """Copy slots to other slots in every layer; the two may overlap."""
        self.keys[:, :, target] = self.keys[:, :, source]
        self.values[:, :, target] = self.values[:, :, source]

    def read(
        self, layer: int, filled: int
    ) -> tuple[Float[Tensor, "batch tokens heads head_dim"], Float[Tensor, "batch tokens heads head_dim"]]:
        """The first `filled` slots of a layer, as views."""
        return self.keys[layer, :, :filled], self.values[layer, :, :filled]

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs."""
        return {"keys": self.keys, "values": self.values}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape."""
        self.keys.copy_(state["keys"])
        self.values.copy_(state["values"])
