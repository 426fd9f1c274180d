"""Where a run's memory lies, and whether it fits: decided before weights load, in integers.

A model says which turns it has, from the fastest to the smallest, and what each costs; here the first one
that fits the budgets is taken. What costs fidelity (`--weights int8`, `--decode-dtype bfloat16`,
fewer retrieved tokens) is the user's to ask for; tiled decoding changes pictures slightly, where tiles meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from core.errors import BudgetError
from core.memory.bank_bytes import (
    insertion_bytes,
    read_ahead_bytes,
    read_now_bytes,
    staging_bytes,
    write_behind_bytes,
)
from core.memory.plan import MemoryPlan
from core.memory.row_bytes import Precision
from core.memory.tiers import TIERS, Room, Tier
from core.models.wan.weights_placement import WeightPlacement
from core.thinning import Thinning

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


def with_window(parts: Parts, plan: MemoryPlan, *, sink_follows: bool = False) -> Parts:
    """The window beside what else there is, with what retrieval takes beside the bank's pools."""
    sink = plan.layout.sink_frames * plan.layout.tokens_per_frame * plan.footprint.kv_bytes_per_token // 2
    # On a GPU, tokens are put back while the last pass ends and frames are decoded: it is no transient.
    retrieval = staging_bytes(plan) + insertion_bytes(plan, sink_follows=sink_follows)
    window = {"window": plan.window_bytes, "retrieval": retrieval, "scales of the bank": plan.scale_bytes}
    if sink_follows:
        window["sink keys"] = sink
    return replace(parts, device={**parts.device, **{k: size for k, size in window.items() if size}})


def with_bank(parts: Parts, plan: MemoryPlan) -> Parts:
    """The bank's pools in memory beside the rest."""
    tiers = plan.tier_bytes
    host = {"bank": tiers["host"], **disk_buffers(plan)}
    return replace(
        parts,
        device={**parts.device, "bank": tiers["device"]},
        host={**parts.host, **host},
    )


def disk_buffers(plan: MemoryPlan) -> Mapping[str, int]:
    """Host memory through which tokens go to disk and come back."""
    if not plan.tier_bytes["disk"]:
        return {}
    return {
        "read ahead from disk": read_ahead_bytes(plan),
        "read from disk at once": read_now_bytes(plan),
        "on its way to disk": write_behind_bytes(plan),
    }


def choose_placement(
    options: Iterator[tuple[Turns, Parts]],
    budgets: Budgets,
    plan: MemoryPlan,
    *,
    bank: BankRequest | None = None,
    thinning: Thinning | None = None,
    ways_out: tuple[str, ...],
) -> Placement:
    """Take the first option that fits.

    Of each option the bank takes what the device has left, then host memory, then disk, each tier what is
    read soonest; where that does not suffice, allowed precisions of the bank come before the next option,
    and pruning of as few chunks as possible after them.

    Args:
        options: Turns from the fastest to the smallest, and what each takes without window and bank.
        budgets: What there is.
        plan: The rollout's memory.
        bank: What the user says of the bank.
        thinning: How chunks can be pruned, if they may be.
        ways_out: Flags that would take less, for the error.

    Raises:
        NoRoomError: None fits.
    """
    bank = bank or BankRequest()
    refused: list[Placement] = []
    for turns, parts in options:
        for precision in bank.precisions:
            planned = plan.within(Room(), precision)
            placement = _place_bank(turns, parts, budgets, planned, bank)
            if placement.fits:
                return placement
            refused.append(placement)
        if thinning is not None and not refused[-1].over_device:
            thin = _thinned(turns, parts, budgets, thinning, bank)
            if thin is not None:
                return thin
    if not refused:
        raise BudgetError("the model offers no way to place its memory", where="placement")
    least = min(refused, key=lambda placement: placement.parts.device_bytes)
    if not least.over_device:  # then something else is short, wherever the device would do
        least = min(
            (placement for placement in refused if not placement.over_device),
            key=lambda placement: placement.parts.host_bytes + placement.disk_bytes,
        )
    raise _too_little(least, ways_out)


def _thinned(
    turns: Turns, parts: Parts, budgets: Budgets, thinning: Thinning, bank: BankRequest
) -> Placement | None:
    """The option with as few chunks pruned as it takes; None if it does not fit even then."""

    def placed(plan: MemoryPlan) -> Placement:
        return _place_bank(turns, parts, budgets, plan.within(Room(), bank.precisions[-1]), bank)

    plan = thinning.fewest(lambda pruned: placed(pruned).fits)
    return None if plan is None else placed(plan)


def _place_bank(
    turns: Turns, parts: Parts, budgets: Budgets, plan: MemoryPlan, bank: BankRequest
) -> Placement:
    """Split the bank over the tiers; where there is too little room, the last one takes the rest."""
    base = with_window(parts, plan, sink_follows=bank.sink_follows)
    buffers, needed = -1, 0
    while needed > buffers:  # the less host memory is left, the more goes to disk, through buffers in it
        buffers = needed
        plan = plan.within(_room(base, budgets, plan, bank.tier, buffers=buffers))
        needed = sum(disk_buffers(plan).values()) if budgets.host is not None else 0
    return Placement(turns=turns, plan=plan, parts=with_bank(base, plan), budgets=budgets)


def _room(parts: Parts, budgets: Budgets, plan: MemoryPlan, tier: Tier | None, *, buffers: int) -> Room:
    """Tokens for which there is room beside everything else; the slowest tier has no limit if all do not."""

    def left(budget: int | None, taken: int) -> int | None:
        return None if budget is None else max(0, budget - taken) // plan.bank_token_bytes

    if tier is not None:
        return Room.only(tier)
    device = left(budgets.device, budgets.reserve + parts.running_bytes)
    if device is None or plan.use.peak_tokens <= device:
        return Room()
    if budgets.device is not None and parts.running_bytes + budgets.reserve > budgets.device:
        return Room.only("host")  # it does not fit anyway
    host = left(budgets.host, sum(parts.host.values()) + buffers)
    disk = None if budgets.disk is None else left(budgets.disk, 0)
    room = Room(device=device, host=host, disk=0 if disk is None else disk)
    if host is None or not plan.use.share_out(room).short_tokens:
        return room
    return replace(room, host=None) if disk is None else replace(room, disk=None)


def _too_little(least: Placement, ways_out: tuple[str, ...]) -> NoRoomError:
    parts, budgets, plan = least.parts, least.budgets, least.plan
    if least.over_device:
        kind, flag, needed, budget = "device", budgets.device_source, least.device_bytes, budgets.device
        pieces = parts.device_pieces
    elif least.over_host:
        kind, flag, needed, budget = "host", budgets.host_source, parts.host_bytes, budgets.host
        pieces = parts.host_pieces
    else:
        kind, flag, needed, budget = "disk", "--disk-budget", least.disk_bytes, budgets.disk
        pieces = {"bank": least.disk_bytes}
    largest = sorted(((n, size) for n, size in pieces.items() if size), key=lambda piece: -piece[1])[:4]
    told = ", ".join(f"{name} {gib(size)}" for name, size in largest)
    memory = "disk space" if kind == "disk" else f"{kind} memory"
    problem = (
        f"{plan.layout.num_chunks} chunks need {gib(needed)} of {memory} even at the least, "
        f"{gib(needed - (budget or 0))} more than the budget of {gib(budget or 0)} ({told})"
    )
    hint = "; ".join((f"give {gib(needed, up=True)}", *_smaller_memory(plan, largest[0][0]), *ways_out))
    return NoRoomError(problem, least, where=flag, hint=hint)


def _smaller_memory(plan: MemoryPlan, largest: str) -> tuple[str, ...]:
    """Memory settings that take less, where it is window or bank that takes most."""
    if plan.layout.mode == "full":
        return ("--memory worldkv, which does not grow with the video",)
    if largest == "bank" and plan.schedule.strategy != "rays" and plan.pruning.rule == "none":
        return ("--keep-ratio 0.25, which stores half of every chunk",)
    if largest in ("window", "bank"):
        return ("a smaller --retrieve" if plan.layout.mode == "worldkv" else "a smaller --recent",)
    return ()


def gib(size_bytes: int, *, up: bool = False) -> str:
    """A size for people, rounded to a tenth; never down if `up`."""
    unit, name = (GIB, "GiB") if size_bytes >= GIB // 10 else (1 << 20, "MiB")
    tenths = -(-size_bytes * 10 // unit) if up else round(size_bytes * 10 / unit)
    return f"{tenths / 10:.1f} {name}"
