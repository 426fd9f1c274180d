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


class Run(NamedTuple):
    """Tokens side by side in the pool: the first of them among those asked for, its slot, how many."""

    start: int
    slot: int
    num_tokens: int


MOST_RUNS = 256
"""Pieces in which tokens are copied between pool and device; scattered ones are gathered first."""


def _runs(slots: Int64[Tensor, " tokens"]) -> list[Run] | None:
    """Neighbouring slots in one piece; None if there are too many pieces."""
    if not len(slots):
        return []
    breaks = (slots.diff() != 1).nonzero().flatten() + 1
    if len(breaks) >= MOST_RUNS:
        return None
    starts = [0, *breaks.tolist()]
    ends = [*starts[1:], len(slots)]
    first = slots[starts].tolist()
    return [Run(start, slot, end - start) for start, slot, end in zip(starts, first, ends, strict=True)]


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
        runs = _runs(slots) if self.tier == "host" else None
        for pool, tokens in ((self.keys[layer], keys), (self.values[layer], values)):
            if runs is None:
                pool.index_copy_(1, slots, tokens.to(pool))
                continue
            narrow = tokens.to(pool.dtype)
            for start, at, count in runs:
                pool[:, at : at + count].copy_(narrow[:, start : start + count], non_blocking=True)
        if layer < len(self.ids):
            self.ids[layer].index_copy_(1, slots.to(self.device), ids)

    def read(self, layer: int, slots: Int64[Tensor, " tokens"]) -> BankTokens:
        """Tokens of one layer, brought to the device."""
        ids = self.ids[min(layer, len(self.ids) - 1)][:, slots.to(self.device)]
        runs = _runs(slots) if self.tier == "host" else None
        if runs is None:
            if self.tier == "host" and self.device.type == "cuda":  # what is being stored must have arrived
                torch.cuda.current_stream(self.device).synchronize()
            keys, values = self.keys[layer][:, slots], self.values[layer][:, slots]
            return BankTokens(keys.to(self.device), values.to(self.device), ids)
        return BankTokens(self._brought(self.keys[layer], runs), self._brought(self.values[layer], runs), ids)

    def _brought(
        self, pool: Float[Tensor, "batch pool heads head_dim"], runs: list[Run]
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Runs of a pool in host memory on the device, each in one copy that nobody waits for."""
        total = sum(run.num_tokens for run in runs)
        found = torch.empty((pool.shape[0], total, *pool.shape[2:]), dtype=pool.dtype, device=self.device)
        for start, at, count in runs:
            found[:, start : start + count].copy_(pool[:, at : at + count], non_blocking=True)
        return found

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs."""
        return {"keys": self.keys, "values": self.values, "ids": self.ids}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape."""
        self.keys.copy_(state["keys"])
        self.values.copy_(state["values"])
        self.ids.copy_(state["ids"])
