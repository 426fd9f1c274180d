"""Where a run's memory lies and what it takes there: budgets, turns, parts, and a choice of them.

How the choice is made: `core.choose_placement`. What costs fidelity (`--weights int8`,
`--decode-dtype bfloat16`, fewer retrieved tokens) is the user's to ask for; tiled decoding changes pictures
slightly, where tiles meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from core.errors import BudgetError
from core.memory.plan import MemoryPlan
from core.memory.row_bytes import Precision
from core.memory.tiers import TIERS, Tier
from core.models.wan.weights_placement import WeightPlacement

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What can be turned when memory is short.

    Attributes:
        weights: How the network's weights are held.
        camera_ready: Whether what the camera does in every layer is computed once a chunk and kept, or anew
            in every pass.
        decode_tile: Latent rows and columns that are decoded together; None for all.
        text_on_device: Whether the prompt is encoded on the device.
    """

    weights: WeightPlacement = WeightPlacement()  # noqa: RUF009 - frozen
    camera_ready: bool = True
    decode_tile: tuple[int, int] | None = None
    text_on_device: bool = True

    @property
    def words(self) -> tuple[str, ...]:
        """What is turned, for people."""
        said = []
        if self.decode_tile is not None:
            said.append(f"frames are decoded in tiles of {self.decode_tile[0]}x{self.decode_tile[1]} cells")
        if not self.camera_ready:
            said.append("the camera's part is computed in every pass")
        if self.weights.quantisation is not None:
            said.append(f"the network's weights are {self.weights.quantisation}")
        if self.weights.resident_blocks is not None:
            said.append(f"weights are streamed from the host, but for {self.weights.resident_blocks} blocks")
        return tuple(said)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Predicted bytes by purpose.

    Attributes:
        device: What stays on the device while the rollout runs.
        transient: What comes and goes on the device; never two of them at once.
        host: What stays in host memory.
        loading_device: Peak on the device before the rollout, when none of the others is there yet.
        loading_host: The same in host memory.
    """

    device: Mapping[str, int]
    transient: Mapping[str, int] = field(default_factory=dict)
    host: Mapping[str, int] = field(default_factory=dict)
    loading_device: Mapping[str, int] = field(default_factory=dict)
    loading_host: Mapping[str, int] = field(default_factory=dict)

    @property
    def device_bytes(self) -> int:
        """Peak on the device."""
        return max(self.running_bytes, *self.loading_device.values(), 0)

    @property
    def device_pieces(self) -> Mapping[str, int]:
        """What makes the peak on the device: of the rollout, or of what comes before it."""
        if max(self.loading_device.values(), default=0) > self.running_bytes:
            return self.loading_device
        return {**self.device, **self.transient}

    @property
    def host_pieces(self) -> Mapping[str, int]:
        """What makes the peak in host memory."""
        if max(self.loading_host.values(), default=0) > sum(self.host.values()):
            return self.loading_host
        return self.host

    @property
    def running_bytes(self) -> int:
        """Peak on the device while the rollout runs."""
        return sum(self.device.values()) + max(self.transient.values(), default=0)

    @property
    def host_bytes(self) -> int:
        """Peak in host memory."""
        return max(sum(self.host.values()), *self.loading_host.values(), 0)


@dataclass(frozen=True)
class Budgets:
    """What a run may take, in bytes; None for no limit.

    Attributes:
        device: On the device.
        host: In host memory.
        disk: On disk; there, None means that nothing may lie there unless it is asked for (`--bank disk`).
        reserve: Of the device's budget, what is kept free for the driver, workspaces of kernels and gaps
            between tensors.
        device_source: What set the device's budget, for errors.
        host_source: What set the host's.
    """

    device: int | None = None
    host: int | None = None
    disk: int | None = None
    reserve: int = 0
    device_source: str = "--vram-budget"
    host_source: str = "--ram-budget"


@dataclass(frozen=True)
class BankRequest:
    """What the user says of the bank.

    Attributes:
        tier: Where all of it shall lie; None for wherever there is room.
        precision: How keys and values are kept; None for native, or what may be taken if room is short.
        allowed: Precisions that may be taken where native finds no room, the first one first.
        sink_follows: Whether the sink's keys are kept before RoPE, too.
    """

    tier: Tier | None = None
    precision: Precision | None = None
    allowed: tuple[Precision, ...] = ()
    sink_follows: bool = False

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What may be tried, the most faithful first."""
        return (self.precision,) if self.precision is not None else ("native", *self.allowed)


class NoRoomError(BudgetError):
    """No placement fits.

    Args:
        problem: What is short.
        least: The placement that comes nearest.
        where: What sets the budget.
        hint: What would fit.
    """

    def __init__(self, problem: str, least: Placement, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem, where=where, hint=hint)
        self.least = least


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A choice of turns, a plan whose bank is split over tiers, and what they are predicted to take."""

    turns: Turns
    plan: MemoryPlan
    parts: Parts
    budgets: Budgets

    @property
    def device_bytes(self) -> int:
        """Peak on the device, with what is kept free."""
        return self.parts.device_bytes + self.budgets.reserve

    @property
    def disk_bytes(self) -> int:
        """On disk."""
        return self.plan.tier_bytes["disk"]

    @property
    def over_device(self) -> bool:
        """Whether the device's budget does not suffice."""
        return self.budgets.device is not None and self.device_bytes > self.budgets.device

    @property
    def over_host(self) -> bool:
        """Whether the host's budget does not suffice."""
        return self.budgets.host is not None and self.parts.host_bytes > self.budgets.host

    @property
    def over_disk(self) -> bool:
        """Whether the disk's budget does not suffice."""
        return self.budgets.disk is not None and self.disk_bytes > self.budgets.disk

    @property
    def fits(self) -> bool:
        """Whether all budgets suffice."""
        return not (self.over_device or self.over_host or self.over_disk)

    @property
    def words(self) -> tuple[str, ...]:
        """What was turned, for people."""
        tiers, said = self.plan.tier_bytes, tuple[str, ...]()
        used = [tier for tier in TIERS if tiers[tier]]
        if len(used) > 1:
            apart = ", ".join(f"{gib(tiers[tier])} {_WHERE[tier]}" for tier in used)
            said += (f"the bank is split: {apart}",)
        elif used and used != ["device"]:
            said += (f"the bank lies {_WHERE[used[0]]}",)
        if self.plan.precision != "native" and self.plan.bank_bytes:
            said += (f"the bank keeps keys and values in {self.plan.precision}",)
        only = self.plan.pruning.only
        if only:
            rule = self.plan.pruning.rule
            said += (f"{len(only)} stored chunks, seen again least, are pruned by {rule}",)
        return said + self.turns.words

    def summary(self) -> dict[str, object]:
        """For the log."""
        return {
            "quantisation": self.turns.weights.quantisation,
            "resident_blocks": self.turns.weights.resident_blocks,
            "camera_ready": self.turns.camera_ready,
            "decode_tile": self.turns.decode_tile,
            "device_budget_bytes": self.budgets.device,
            "device_reserve_bytes": self.budgets.reserve,
            "host_budget_bytes": self.budgets.host,
            "disk_budget_bytes": self.budgets.disk,
            "predicted_device_bytes": self.parts.device_bytes,
            "predicted_host_bytes": self.parts.host_bytes,
            "predicted_disk_bytes": self.disk_bytes,
            "device_parts": dict(self.parts.device),
            "transient_parts": dict(self.parts.transient),
            "host_parts": dict(self.parts.host),
            "loading_device_parts": dict(self.parts.loading_device),
            "loading_host_parts": dict(self.parts.loading_host),
        }


_WHERE: Mapping[Tier, str] = MappingProxyType(
    {"device": "on the device", "host": "in host memory", "disk": "on disk"}
)


def gib(size_bytes: int, *, up: bool = False) -> str:
    """A size for people, rounded to a tenth; never down if `up`."""
    unit, name = (GIB, "GiB") if size_bytes >= GIB // 10 else (1 << 20, "MiB")
    tenths = -(-size_bytes * 10 // unit) if up else round(size_bytes * 10 / unit)
    return f"{tenths / 10:.1f} {name}"
