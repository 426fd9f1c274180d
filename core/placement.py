"""Where a run's memory lies, and whether it fits: decided before weights load, in integers.

A model says which turns it has, from the fastest to the smallest, and what each costs; here the first one
that fits the budgets is taken. What costs fidelity (`--weights int8`, `--decode-dtype bfloat16`,
fewer retrieved tokens) is the user's to ask for; tiled decoding changes pictures slightly, where tiles meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from core.errors import BudgetError
from core.memory.bank import Tier
from core.memory.plan import MemoryPlan
from core.models.wan.weights_placement import WeightPlacement

GIB = 1 << 30
ID_BYTES = 8
"""Of where a stored token came from."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What can be turned when memory is short.

    Attributes:
        bank: Where stored tokens are kept.
        weights: How the network's weights are held.
        camera_ready: Whether what the camera does in every layer is computed once a chunk and kept, or anew
            in every pass.
        decode_tile: Latent rows and columns that are decoded together; None for all.
        text_on_device: Whether the prompt is encoded on the device.
    """

    bank: Tier = "device"
    weights: WeightPlacement = WeightPlacement()  # noqa: RUF009 - frozen
    camera_ready: bool = True
    decode_tile: tuple[int, int] | None = None
    text_on_device: bool = True

    @property
    def words(self) -> tuple[str, ...]:
        """What is turned, for people."""
        said = []
        if self.bank == "host":
            said.append("the bank lies in host memory")
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
        return max(self._running_bytes, *self.loading_device.values(), 0)

    @property
    def device_pieces(self) -> Mapping[str, int]:
        """What makes the peak on the device: of the rollout, or of what comes before it."""
        if max(self.loading_device.values(), default=0) > self._running_bytes:
            return self.loading_device
        return {**self.device, **self.transient}

    @property
    def host_pieces(self) -> Mapping[str, int]:
        """What makes the peak in host memory."""
        if max(self.loading_host.values(), default=0) > sum(self.host.values()):
            return self.loading_host
        return self.host

    @property
    def _running_bytes(self) -> int:
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
        reserve: Of the device's budget, what is kept free for the driver, workspaces of kernels and gaps
            between tensors.
        device_source: What set the device's budget, for errors.
        host_source: What set the host's.
    """

    device: int | None = None
    host: int | None = None
    reserve: int = 0
    device_source: str = "--vram-budget"
    host_source: str = "--ram-budget"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A choice of turns and what it is predicted to take."""

    turns: Turns
    parts: Parts
    budgets: Budgets

    @property
    def device_bytes(self) -> int:
        """Peak on the device, with what is kept free."""
        return self.parts.device_bytes + self.budgets.reserve

    @property
    def over_device(self) -> bool:
        """Whether the device's budget does not suffice."""
        return self.budgets.device is not None and self.device_bytes > self.budgets.device

    @property
    def over_host(self) -> bool:
        """Whether the host's budget does not suffice."""
        return self.budgets.host is not None and self.parts.host_bytes > self.budgets.host

    def summary(self) -> dict[str, object]:
        """For the log."""
        return {
            "bank": self.turns.bank,
            "quantisation": self.turns.weights.quantisation,
            "resident_blocks": self.turns.weights.resident_blocks,
            "camera_ready": self.turns.camera_ready,
            "decode_tile": self.turns.decode_tile,
            "device_budget_bytes": self.budgets.device,
            "device_reserve_bytes": self.budgets.reserve,
            "host_budget_bytes": self.budgets.host,
            "predicted_device_bytes": self.parts.device_bytes,
            "predicted_host_bytes": self.parts.host_bytes,
            "device_parts": dict(self.parts.device),
            "transient_parts": dict(self.parts.transient),
            "host_parts": dict(self.parts.host),
            "loading_device_parts": dict(self.parts.loading_device),
            "loading_host_parts": dict(self.parts.loading_host),
        }


def bank_tiers(asked: Tier | None) -> tuple[Tier, ...]:
    """Where the bank may lie, the fastest first; None leaves it open."""
    return ("device", "host") if asked is None else (asked,)


def with_memory(parts: Parts, plan: MemoryPlan, bank: Tier, *, sink_follows: bool = False) -> Parts:
    """Window and bank beside what else there is, and the keys of a sink that follows the rollout."""
    tokens = {"bank": plan.bank_bytes}
    sink = plan.layout.sink_frames * plan.layout.tokens_per_frame * plan.footprint.kv_bytes_per_token // 2
    window = {"window": plan.window_bytes, **({"sink keys": sink} if sink_follows else {})}
    layers = plan.footprint.num_layers if plan.pruning.keys_on_store else 1
    window["origins of the bank"] = layers * plan.pool_tokens * ID_BYTES  # on the device in every tier
    return replace(
        parts,
        device={**parts.device, **window, **(tokens if bank == "device" else {})},
        host={**parts.host, **(tokens if bank == "host" else {})},
    )


def choose_placement(
    options: Iterator[tuple[Turns, Parts]], budgets: Budgets, plan: MemoryPlan, *, ways_out: tuple[str, ...]
) -> Placement:
    """Take the first option that fits.

    Args:
        options: Turns from the fastest to the smallest, and what each takes.
        budgets: What there is.
        plan: The rollout's memory, for the error.
        ways_out: Flags that would take less, for the error.

    Raises:
        BudgetError: None fits.
    """
    refused: list[Placement] = []
    for turns, parts in options:
        placement = Placement(turns=turns, parts=parts, budgets=budgets)
        if not placement.over_device and not placement.over_host:
            return placement
        refused.append(placement)
    if not refused:
        raise BudgetError("the model offers no way to place its memory", where="placement")
    least = min(refused, key=lambda placement: placement.parts.device_bytes)
    if not least.over_device:  # then host memory is what is short, wherever the device would do
        least = min(
            (placement for placement in refused if not placement.over_device),
            key=lambda placement: placement.parts.host_bytes,
        )
    raise _too_little(least, plan, ways_out)


def _too_little(least: Placement, plan: MemoryPlan, ways_out: tuple[str, ...]) -> BudgetError:
    parts, budgets = least.parts, least.budgets
    needed = least.device_bytes if least.over_device else parts.host_bytes
    budget = (budgets.device if least.over_device else budgets.host) or 0
    kind, flag = ("device", budgets.device_source) if least.over_device else ("host", budgets.host_source)
    pieces = parts.device_pieces if least.over_device else parts.host_pieces
    largest = sorted(pieces.items(), key=lambda piece: -piece[1])[:4]
    told = ", ".join(f"{name} {gib(size)}" for name, size in largest)
    problem = (
        f"{plan.layout.num_chunks} chunks need {gib(needed)} of {kind} memory even at the least, "
        f"{gib(needed - budget)} more than the budget of {gib(budget)} ({told})"
    )
    hint = "; ".join((f"give {gib(needed, up=True)}", *_smaller_memory(plan, largest[0][0]), *ways_out))
    return BudgetError(problem, where=flag, hint=hint)


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
    tenths = -(-size_bytes * 10 // GIB) if up else round(size_bytes * 10 / GIB)
    return f"{tenths / 10:.1f} GiB" if size_bytes >= GIB // 10 else f"{size_bytes / (1 << 20):.1f} MiB"
