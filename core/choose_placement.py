"""The choice of a placement: before weights load, in integers.

A model says which turns it has, from the fastest to the smallest, and what each takes; the first one that
fits the budgets with window and bank is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from core.errors import BudgetError
from core.memory.bank_bytes import (
    insertion_bytes,
    read_ahead_bytes,
    read_now_bytes,
    staging_bytes,
    tally_bytes,
    write_behind_bytes,
)
from core.memory.plan import MemoryPlan
from core.memory.tiers import Room, Tier
from core.placement import BankRequest, Budgets, NoRoomError, Parts, Placement, Turns, gib
from core.thinning import Thinning


def with_window(parts: Parts, plan: MemoryPlan, *, sink_follows: bool = False) -> Parts:
    """The window beside what else there is, with what retrieval takes beside the bank's pools."""
    sink = plan.layout.sink_frames * plan.layout.tokens_per_frame * plan.footprint.kv_bytes_per_token // 2
    # On a GPU, tokens are put back while the last pass ends and frames are decoded: it is no transient.
    retrieval = staging_bytes(plan) + tally_bytes(plan) + insertion_bytes(plan, sink_follows=sink_follows)
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
