"""The bank: keys before RoPE and values of what will be asked for again, in one pool allocated once.

Which token lies in which pool slot, and when the slot is free again, is decided in the plan; here are only
copies.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from core.memory.footprint import Footprint
from core.memory.pinned import pin_in_place

Tier = Literal["device", "host"]


class BankTokens(NamedTuple):
    """Tokens read from the bank."""

    keys: Float[Tensor, "batch tokens heads head_dim"]
    values: Float[Tensor, "batch tokens heads head_dim"]
    ids: Int64[Tensor, "id_batch tokens"]


class Bank:
    """A pool of tokens for every layer.

    Args:
        footprint: Layers, heads and head width.
        tokens: Pool slots of a layer: the most tokens that ever live at once.
        batch: Rollouts that run side by side with one plan.
        device: Where the tokens are used.
        dtype: Of keys and values.
        tier: Where they are kept: on the device, or in (pinned) host memory.
        ids_per_layer: Whether each layer keeps other tokens (pruning by keys).
    """

    def __init__(
        self,
        footprint: Footprint,
        tokens: int,
        *,
        batch: int = 1,
        device: torch.device,
        dtype: torch.dtype,
        tier: Tier = "device",
        ids_per_layer: bool = False,
    ) -> None:
        self.device = device
        self.tier: Tier = tier
        home = torch.device("cpu") if tier == "host" else device
        shape = (footprint.num_layers, batch, tokens, footprint.num_heads, footprint.head_dim)
        self.keys = torch.zeros(shape, device=home, dtype=dtype)
        self.values = torch.zeros(shape, device=home, dtype=dtype)
        if tier == "host":
            hint = "retrieve less, or store less: --keep-ratio"
            pin_in_place(self.keys, device, purpose="--bank host", hint=hint)
            pin_in_place(self.values, device, purpose="--bank host", hint=hint)
        id_shape = (footprint.num_layers, batch, tokens) if ids_per_layer else (1, 1, tokens)
        self.ids = torch.zeros(id_shape, device=device, dtype=torch.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of the pool."""
        return self.keys.nbytes + self.values.nbytes + self.ids.nbytes

    def store(
        self,
        layer: int,
        slots: Int64[Tensor, " tokens"],
        keys: Float[Tensor, "batch tokens heads head_dim"],
        values: Float[Tensor, "batch tokens heads head_dim"],
        ids: Int64[Tensor, "id_batch tokens"],
    ) -> None:
        """Put tokens of one layer into pool slots.

        Args:
            layer: The layer.
            slots: Pool slots, on the pool's device.
            keys: Keys before RoPE.
            values: Values.
            ids: Where each token came from: latent frame * tokens_per_frame + token of the frame.
        """
        self.keys[layer].index_copy_(1, slots, keys.to(self.keys))
        self.values[layer].index_copy_(1, slots, values.to(self.values))
        if layer < len(self.ids):
            self.ids[layer].index_copy_(1, slots.to(self.device), ids)

    def read(self, layer: int, slots: Int64[Tensor, " tokens"]) -> BankTokens:
        """Tokens of one layer, brought to the device."""
        ids = self.ids[min(layer, len(self.ids) - 1)][:, slots.to(self.device)]
        keys, values = self.keys[layer][:, slots], self.values[layer][:, slots]
        if self.tier == "host" and self.device.type == "cuda":
            keys, values = (t.pin_memory().to(self.device, non_blocking=True) for t in (keys, values))
        return BankTokens(keys, values, ids)

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs."""
        return {"keys": self.keys, "values": self.values, "ids": self.ids}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape."""
        self.keys.copy_(state["keys"])
        self.values.copy_(state["values"])
        self.ids.copy_(state["ids"])
