"""The bank: keys before RoPE and values of what will be asked for again, in tiers.

Every tier is a pool of rows, allocated once. Which token lies in which tier and slot, and when the slot is
free again, is decided before the rollout (`residency`); here are only copies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from core.errors import InputError
from core.memory.copies import Run, blocks, bring_rows, find_runs, send_rows
from core.memory.disk_pool import DiskPool
from core.memory.pinned import pin_in_place
from core.memory.plan import MemoryPlan
from core.memory.read_ahead import ReadAhead
from core.memory.residency import TierTokens
from core.memory.rows import RowFormat
from core.memory.tiers import Tier

_PIN_HINT = "retrieve less, store less (--keep-ratio), or keep it on the device: --bank device"


class BankTokens(NamedTuple):
    """Tokens read from the bank."""

    keys: Float[Tensor, "batch tokens heads head_dim"]
    values: Float[Tensor, "batch tokens heads head_dim"]
    ids: Int64[Tensor, "batch tokens"] | None


@dataclass(frozen=True, eq=False)
class Route:
    """Tokens of a chunk between the device and one tier, the same in every layer.

    Attributes:
        tier: The tier.
        at: Which of the chunk's tokens they are, on the device.
        slots: Their slots, on the pool's device.
        wanted: The slots as numpy integers, for the disk.
        runs: The pieces in which they are copied to or from host memory.
        just_stored: Whether they cannot have been read ahead.
    """

    tier: Tier
    at: Int64[Tensor, " tokens"]
    slots: Int64[Tensor, " tokens"]
    wanted: Int64[np.ndarray, " tokens"]
    runs: list[Run] | None
    just_stored: bool


class Bank:
    """The tiers of a plan's bank.

    Args:
        plan: What is kept where.
        batch: Rollouts that run side by side with one plan.
        device: Where the tokens are used.
        dtype: Of keys and values outside the bank.
        folder: Where the disk tier's file is made; needed only if there is one.

    Raises:
        InputError: There is a disk tier and no folder.
        OutputError: The disk has not enough room.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        *,
        batch: int = 1,
        device: torch.device,
        dtype: torch.dtype,
        folder: Path | None = None,
    ) -> None:
        shape, residency = plan.footprint, plan.residency
        self.device, self._plan = device, plan
        self.format = RowFormat(plan.precision, shape.num_heads, shape.head_dim, dtype)
        self._id_words = int(plan.pruning.keys_on_store)
        words = self.format.row_words + self._id_words
        layers, tokens = shape.num_layers, residency.pool_tokens
        homes: dict[Tier, torch.device] = {"device": device, "host": torch.device("cpu")}
        self.pools = {
            tier: torch.zeros((layers, batch, tokens[tier], words), device=home, dtype=torch.int64)
            for tier, home in homes.items()
        }
        pin_in_place(self.pools["host"], device, purpose="--bank host", hint=_PIN_HINT)
        scales = (layers, batch, residency.chunk_slots, self.format.num_scales)
        self.scales = torch.zeros(scales, device=device, dtype=torch.bfloat16)
        most = max((sum(part.slots.count for part in step.reads) for step in residency.steps), default=0)
        self._staging = torch.zeros((batch, most, words), device=device, dtype=torch.int64)
        self.waited_s = 0.0  # for rows that are too scattered to be copied without waiting
        self.disk: ReadAhead | None = None
        if tokens["disk"]:
            self.disk = self._on_disk(folder, batch, tokens["disk"], words)

    def _on_disk(self, folder: Path | None, batch: int, tokens: int, words: int) -> ReadAhead:
        if folder is None:
            raise InputError("a bank on disk needs a folder for its file", where="--bank disk")
        shares, layers = self._plan.shares, self._plan.footprint.num_layers
        pool = DiskPool(folder, layers, batch, tokens, words)
        return ReadAhead(pool, shares.most_ahead_tokens, shares.most_to_disk_tokens, device=self.device)

    @property
    def tier_bytes(self) -> Mapping[Tier, int]:
        """Bytes of the pools."""
        disk = self.disk.pool.nbytes if self.disk is not None else 0
        return {"device": self.pools["device"].nbytes, "host": self.pools["host"].nbytes, "disk": disk}

    @property
    def staging_bytes(self) -> int:
        """Bytes on the device where what is read of a layer arrives."""
        return self._staging.nbytes

    @property
    def device_bytes(self) -> int:
        """Bytes on the device: pool, scales, and what is read of a layer."""
        return self.pools["device"].nbytes + self.scales.nbytes + self.staging_bytes

    @property
    def host_bytes(self) -> int:
        """Bytes in host memory: pool, and what was read ahead from disk."""
        return self.pools["host"].nbytes + (self.disk.nbytes if self.disk is not None else 0)

    def routes(self, parts: Sequence[TierTokens], count: int) -> tuple[Route, ...]:
        """Prepare the copies of a chunk, to be used in every layer.

        Args:
            parts: Which tokens are in which tier.
            count: Tokens of the chunk that are read, or stored.
        """
        return tuple(self._route(part, count) for part in parts)

    def _route(self, part: TierTokens, count: int) -> Route:
        at = np.arange(count, dtype=np.int64) if part.at is None else part.at.unpack()
        slots = part.slots.unpack()
        home = self.pools[part.tier].device if part.tier != "disk" else torch.device("cpu")
        return Route(
            tier=part.tier,
            at=torch.from_numpy(at).to(self.device),
            slots=torch.from_numpy(slots).to(home),
            wanted=slots,
            runs=find_runs(at, slots) if part.tier == "host" else None,
            just_stored=part.just_stored,
        )

    def read_ahead(self, parts: Sequence[TierTokens], after: torch.cuda.Event | None = None) -> None:
        """Begin to read from disk what a coming chunk will read, as far as it is there already."""
        if self.disk is not None:
            ahead = [p.slots.unpack() for p in parts if p.tier == "disk" and not p.just_stored]
            self.disk.start(ahead[0] if ahead else np.empty(0, dtype=np.int64), after)

    def read(self, layer: int, routes: Sequence[Route], count: int) -> Int64[Tensor, "batch tokens words"]:
        """Rows of one layer, brought to the device; they hold until the next layer's are read."""
        rows = self._staging[:, :count]
        for route in routes:
            if route.tier == "device":
                _gather(self.pools["device"][layer], route, rows)
            elif route.tier == "host":
                began = time.perf_counter()
                bring_rows(self.pools["host"][layer], route.runs, route.slots, route.at, rows)
                if route.runs is None and self.device.type == "cuda":
                    self.waited_s += time.perf_counter() - began
            elif self.disk is not None:
                came = self.disk.read_now(layer, route.wanted) if route.just_stored else self.disk.rows(layer)
                for block in blocks(len(route.at)):
                    rows.index_copy_(1, route.at[block], came[:, block].to(self.device, non_blocking=True))
        return rows

    def places(self, chunks: Int64[np.ndarray, " tokens"]) -> Int64[Tensor, " tokens"] | None:
        """Of each token's chunk, its place among the stored chunks; None at native precision."""
        if not self.format.num_scales:
            return None
        slots = self._plan.residency.chunk_slot[chunks].astype(np.int64)
        return torch.from_numpy(slots).to(self.device)

    def unpack(
        self,
        layer: int,
        rows: Int64[Tensor, "batch tokens words"],
        places: Int64[Tensor, " tokens"] | None,
    ) -> BankTokens:
        """Keys and values of rows.

        Args:
            layer: The layer they are of.
            rows: As they were read.
            places: What `places` says of the tokens' chunks.
        """
        words = self.format.row_words
        scales = self.scales[layer] if self.format.num_scales else None
        keys, values = self.format.unpack(rows[..., :words], scales, places)
        return BankTokens(keys, values, rows[..., words] if self._id_words else None)

    def move(self, layer: int, routes: Sequence[Route], rows: Int64[Tensor, "batch tokens words"]) -> None:
        """Put rows that were just read into other tiers."""
        for route in routes:
            self._put(layer, route, rows)

    def store(
        self,
        layer: int,
        routes: Sequence[Route],
        keys: Float[Tensor, "batch tokens heads head_dim"],
        values: Float[Tensor, "batch tokens heads head_dim"],
        *,
        ids: Int64[Tensor, "batch tokens"] | None = None,
        place: int = -1,
    ) -> None:
        """Put the chosen tokens of a chunk into the bank.

        Args:
            layer: The layer.
            routes: Where they go.
            keys: Keys before RoPE.
            values: Values.
            ids: Where each token came from (latent frame * tokens_per_frame + token of the frame), if only
                the keys could tell.
            place: The chunk's place among the stored chunks.
        """
        packed = self.format.pack(keys.to(self.format.dtype), values.to(self.format.dtype))
        rows = packed.rows
        if self._id_words and ids is not None:
            rows = torch.cat([rows, ids[..., None]], dim=-1)
        if packed.scales is not None:
            self.scales[layer, :, place] = packed.scales
        for route in routes:
            self._put(layer, route, rows)

    def _put(self, layer: int, route: Route, rows: Int64[Tensor, "batch tokens words"]) -> None:
        if route.tier == "host":
            send_rows(rows, route.runs, route.slots, route.at, self.pools["host"][layer])
            return
        if route.tier == "device" and len(route.at) == rows.shape[1]:
            self.pools["device"][layer].index_copy_(1, route.slots, rows)
            return
        for block in blocks(len(route.at)):
            chosen = rows.index_select(1, route.at[block])
            if route.tier == "device":
                self.pools["device"][layer].index_copy_(1, route.slots[block], chosen)
            elif self.disk is not None:
                self.disk.write(layer, route.wanted[block], chosen)

    def close(self) -> None:
        """Remove the disk tier's file."""
        if self.disk is not None:
            self.disk.close()

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs."""
        found = {"device": self.pools["device"], "host": self.pools["host"], "scales": self.scales}
        if self.disk is not None:
            self.disk.drain()
            found |= {f"disk.{name}": tensor for name, tensor in self.disk.pool.state().items()}
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same plan."""
        self.pools["device"].copy_(state["device"])
        self.pools["host"].copy_(state["host"])
        self.scales.copy_(state["scales"])
        if self.disk is not None:
            prefix = "disk."
            disk = {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
            self.disk.drain()
            self.disk.pool.restore(disk)


def _gather(
    pool: Int64[Tensor, "batch slots words"], route: Route, rows: Int64[Tensor, "batch tokens words"]
) -> None:
    """Copy slots of a pool on the device to their places among the rows; a block at a time if scattered."""
    if len(route.at) == rows.shape[1] and rows.is_contiguous():
        torch.index_select(pool, 1, route.slots, out=rows)
        return
    for block in blocks(len(route.at)):
        rows.index_copy_(1, route.at[block], pool.index_select(1, route.slots[block]))
