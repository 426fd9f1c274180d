"""Where a run's memory is placed, and what is said when it does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
import torch

from core.choose_placement import choose_placement, with_bank, with_window
from core.errors import BudgetError
from core.memory.plan import MemoryPlan
from core.memory.tiers import Room
from core.models.lingbot.needs import TILE, Needs
from core.models.wan.text_config import UMT5_XXL
from core.models.wan.vae_config import WAN_VAE
from core.models.wan.weights_layout import block_layout
from core.models.wan.weights_placement import WeightPlacement, WeightRequest
from core.placement import GIB, BankRequest, Budgets, Parts, Placement, Turns
from tests.benchmarks.lingbot_parts import LINGBOT, Case
from tests.core.memory.tiny import make_plan, there_and_back

BF16 = torch.bfloat16
CASE = Case(LINGBOT, WAN_VAE, (832, 480), 40, BF16, None)
NEEDS = Needs(
    network=LINGBOT,
    vae=WAN_VAE,
    size=(832, 480),
    decode_dtype=torch.float32,
    text=UMT5_XXL,
    encodes=False,
)
SMALL = make_plan(there_and_back(4), mode="sink", sink=3, recent=3)
BESIDE = with_window(Parts(device={}), SMALL).device_bytes
WAYS = ("--weights int8 (costs some fidelity)",)


@cache
def plan_of(mode: str) -> MemoryPlan:
    return CASE.plan(mode)


def placed(
    mode: str,
    device_gib: float | None,
    host_gib: float | None = None,
    disk_gib: float | None = None,
    *,
    weights: WeightRequest = "auto",
    **bank,
) -> Placement:
    sizes = [None if gib is None else int(gib * GIB) for gib in (device_gib, host_gib, disk_gib)]
    options = NEEDS.options(plan_of(mode), BF16, weights=weights)
    return choose_placement(options, Budgets(*sizes), plan_of(mode), bank=BankRequest(**bank), ways_out=WAYS)


def turned(placement: Placement) -> tuple[str, bool, bool, int | None]:
    """Tiers of the bank, whether decoding is tiled, whether the camera is ready, resident blocks."""
    turns = placement.turns
    return (
        tiers_of(placement),
        turns.decode_tile is not None,
        turns.camera_ready,
        turns.weights.resident_blocks,
    )


def tiers_of(placement: Placement) -> str:
    """The tiers in which something lies, the fastest first."""
    return "+".join(tier for tier, size in placement.plan.tier_bytes.items() if size) or "none"


def refusal(mode: str, *budgets_gib: float | None, **fixed) -> tuple[str, str, str]:
    with pytest.raises(BudgetError) as caught:
        placed(mode, *budgets_gib, **fixed)
    return caught.value.problem, caught.value.where, caught.value.hint


def simple(*sizes: tuple[int, int]) -> Iterator[tuple[Turns, Parts]]:
    """Options of so many bytes on the device and on the host."""
    for device, host in sizes:
        yield Turns(), Parts(device={"weights": device}, host={"weights": host})


def test_peak_is_what_stays_and_the_largest_of_what_comes_and_goes():
    parts = Parts(
        device={"a": 10, "b": 20},
        transient={"c": 5, "d": 7},
        host={"e": 3},
        loading_device={"f": 36},
        loading_host={"g": 2},
    )
    assert parts.device_bytes == 37
    assert parts.host_bytes == 3
    loading = Parts(device={"a": 1}, loading_device={"f": 36}, loading_host={"g": 2})
    assert (loading.device_bytes, loading.host_bytes) == (36, 2)
    assert (Parts(device={}).device_bytes, Parts(device={}).host_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("device", "host", "taken"),
    [(None, None, 0), (100, None, 0), (99, None, 1), (99, 15, 2), (40, None, 3), (40, 60, 3), (100, 5, 0)],
)
def test_the_first_option_that_fits_is_taken(device, host, taken):
    """In MiB beside what the window takes."""
    options = list(simple(*((d << 20, h << 20) for d, h in ((100, 0), (60, 20), (50, 10), (40, 60)))))
    limits = device and (device << 20) + BESIDE, host and host << 20
    chosen = choose_placement(iter(options), Budgets(*limits), SMALL, ways_out=())
    assert chosen.parts.device["weights"] == options[taken][1].device["weights"]


@pytest.mark.parametrize(("reserve", "taken"), [(0, 8), (1, 8), (2, 6), (4, 6)])
def test_the_reserve_stays_free(reserve, taken):
    options = simple((8 * GIB, 0), (6 * GIB, 0), (4 * GIB, 0))
    budgets = Budgets(device=int(9.5 * GIB) if reserve < 4 else int(10.5 * GIB), reserve=reserve * GIB)
    placement = choose_placement(options, budgets, SMALL, ways_out=WAYS)
    assert placement.parts.device_bytes == taken * GIB + BESIDE
    assert placement.summary()["device_reserve_bytes"] == reserve * GIB


def test_nothing_to_choose_from():
    with pytest.raises(BudgetError, match="offers no way"):
        choose_placement(iter(()), Budgets(), plan_of("sink"), ways_out=())


def test_memory_lies_where_the_bank_is_kept():
    plan, parts = plan_of("worldkv"), Parts(device={"weights": 1}, host={"weights": 2})
    on_host = plan.within(Room.only("host"))
    base = with_window(parts, plan)
    assert base.host == parts.host
    assert base.device["window"] == plan.window_bytes
    assert base.device["retrieval"] > 9 * 1560 * 20480  # a layer of retrieved tokens on its way
    assert "scales of the bank" not in base.device
    assert with_bank(base, plan).device == {**base.device, "bank": plan.bank_bytes}
    assert with_bank(base, on_host).host == {"weights": 2, "bank": plan.bank_bytes}
    assert with_bank(base, on_host).device == {**base.device, "bank": 0}
    on_disk = with_bank(base, plan.within(Room.only("disk")))
    assert on_disk.device["bank"] == on_disk.host["bank"] == 0
    assert 0 < on_disk.host["read ahead from disk"] <= 9 * 1560 * plan.bank_token_bytes
    following = with_window(parts, plan, sink_follows=True)
    assert following.device["sink keys"] == 3 * 1560 * 40 * 5120 * 2
    scaled = with_window(parts, plan.within(Room(), "int8")).device
    assert 0 < scaled["scales of the bank"] == plan.within(Room(), "int8").scale_bytes


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (Turns(), ()),
        (Turns(decode_tile=TILE), ("frames are decoded in tiles of 36x56 cells",)),
        (Turns(camera_ready=False), ("the camera's part is computed in every pass",)),
        (
            Turns(weights=WeightPlacement(quantisation="int8", resident_blocks=7)),
            ("the network's weights are int8", "weights are streamed from the host, but for 7 blocks"),
        ),
    ],
)
def test_turns_in_words(turns, words):
    assert turns.words == words


def test_order_of_the_turns():
    """From what costs no time to what costs most, one after another; the memory shrinks all the way."""
    options = list(NEEDS.options(plan_of("worldkv"), BF16, weights="auto"))
    seen = [(t.decode_tile is not None, t.camera_ready, t.weights.resident_blocks) for t, _ in options]
    assert seen[:3] == [(False, True, None), (True, True, None), (True, False, None)]
    assert seen[3:] == [(True, False, resident) for resident in range(37, -1, -1)]
    sizes = [parts.device_bytes for _, parts in options]
    assert sizes == sorted(sizes, reverse=True)


def test_order_where_all_is_fixed():
    options = list(NEEDS.options(plan_of("worldkv"), BF16, weights="resident"))
    assert [(t.decode_tile, t.camera_ready) for t, _ in options] == [
        (None, True),
        (TILE, True),
        (TILE, False),
    ]
    streamed = NEEDS.options(plan_of("worldkv"), BF16, weights="streamed")
    assert {t.weights.resident_blocks is None for t, _ in streamed} == {False}


def test_the_bank_fills_one_tier_after_another():
    """What is read soonest lies nearest; the tiers together hold at least what the bank does at once."""
    whole = placed("worldkv", 200)
    assert tiers_of(whole) == "device"
    split = placed("worldkv", 100, 40, 500)
    assert tiers_of(split) == "device+host+disk"
    sizes = split.plan.tier_bytes
    assert split.fits
    assert sizes["device"] + split.plan.bank_token_bytes > 100 * GIB - (split.device_bytes - sizes["device"])
    assert sum(sizes.values()) >= whole.plan.bank_bytes
    assert split.turns == whole.turns  # the bank goes before anything that costs more
    assert split.words[0].startswith("the bank is split: ")
    read = {tier: int(split.plan.residency.read_tokens(tier).sum()) for tier in sizes}
    assert sum(read.values()) == whole.plan.inserted_tokens


def test_precisions_come_before_slower_turns_where_they_are_allowed():
    problem, where, _ = refusal("worldkv", 80, 40)
    assert (where, "bank" in problem) == ("--ram-budget", True)
    taken = placed("worldkv", 80, 40, allowed=("int8", "int4"))
    assert (taken.plan.precision, taken.turns) == ("int8", Turns())
    assert taken.words[-1] == "the bank keeps keys and values in int8"
    assert placed("worldkv", 80, 25, allowed=("int8", "int4")).plan.precision == "int4"
    assert placed("worldkv", 200, allowed=("int8",)).plan.precision == "native"
    assert placed("worldkv", 200, precision="int4").plan.precision == "int4"


# 40 chunks at 832x480: what is taken at 80, 72, 48, 40, 24 and 16 GiB. Full attention would need 148.
RESIDENT = ("none", False, True, None)
BANK_SPLIT = ("device+host", False, True, None)


def streamed(resident: int, bank: str = "device+host") -> tuple[str, bool, bool, int]:
    return bank, True, False, resident


@pytest.mark.parametrize(
    ("mode", "by_budget"),
    [
        ("worldkv", [BANK_SPLIT, BANK_SPLIT, streamed(24), streamed(15), None, None]),
        ("worldkv-rays", [BANK_SPLIT, BANK_SPLIT, streamed(24), streamed(15), None, None]),
        ("sliding", [RESIDENT, RESIDENT, streamed(25, "none"), streamed(15, "none"), None, None]),
        ("sink", [RESIDENT, RESIDENT, *(streamed(n, "none") for n in (37, 28, 9)), None]),
        ("full", [None] * 6),
    ],
)
def test_lingbot_by_budget(mode, by_budget):
    for budget_gib, expected in zip((80, 72, 48, 40, 24, 16), by_budget, strict=True):
        if expected is None:
            refusal(mode, budget_gib)
            continue
        chosen = placed(mode, budget_gib)
        assert turned(chosen) == expected, f"{budget_gib} GiB"
        assert chosen.parts.device_bytes <= budget_gib * GIB


@pytest.mark.parametrize("budget_gib", [48, 40, 30])
def test_as_many_blocks_stay_as_fit(budget_gib):
    taken = placed("worldkv", budget_gib).parts.device_bytes
    assert taken <= budget_gib * GIB < taken + block_layout(LINGBOT, BF16, None).tensor_bytes


def test_a_prompt_is_encoded_where_there_is_room():
    """The text encoder is larger than all that a streamed rollout with a small window holds."""
    assert placed("sink", 72).turns.text_on_device
    short = CASE.plan("sliding", 1)
    options = NEEDS.options(short, BF16, weights="streamed")
    *_, (turns, parts) = options
    assert not turns.text_on_device
    assert "text encoder" not in parts.loading_device
    assert parts.loading_host["text encoder"] > parts.device_bytes


def test_the_user_keeps_bank_and_weights():
    assert tiers_of(placed("worldkv", 72, tier="host")) == "host"
    assert tiers_of(placed("worldkv", 200, tier="host")) == "host"
    assert tiers_of(placed("worldkv", 200, tier="disk")) == "disk"
    assert tiers_of(placed("worldkv", 200)) == "device"
    assert placed("worldkv", 200, weights="streamed").turns.weights.resident_blocks == 37
    problem, _, hint = refusal("worldkv", 72, tier="device", weights="resident")
    assert problem == (
        "40 chunks need 145.1 GiB of device memory even at the least, 73.1 GiB more than the budget of "
        "72.0 GiB (bank 85.7 GiB, weights 34.5 GiB, window 21.4 GiB, codec 1.4 GiB)"
    )
    assert hint == (
        "give 145.1 GiB; --keep-ratio 0.25, which stores half of every chunk; "
        "--weights int8 (costs some fidelity)"
    )


def test_refused_for_the_device():
    assert refusal("worldkv", 24) == (
        "40 chunks need 27.1 GiB of device memory even at the least, 3.1 GiB more than the budget of "
        "24.0 GiB (window 21.4 GiB, weights 2.2 GiB, codec 1.4 GiB, decode 1.1 GiB)",
        "--vram-budget",
        "give 27.2 GiB; a smaller --retrieve; --weights int8 (costs some fidelity)",
    )
    assert refusal("full", 80) == (
        "40 chunks need 148.1 GiB of device memory even at the least, 68.1 GiB more than the budget of "
        "80.0 GiB (window 142.8 GiB, weights 2.2 GiB, codec 1.4 GiB, decode 1.1 GiB)",
        "--vram-budget",
        "give 148.2 GiB; --memory worldkv, which does not grow with the video; "
        "--weights int8 (costs some fidelity)",
    )
    assert refusal("sliding", 16)[2].startswith("give 26.8 GiB; a smaller --recent; ")


def test_refused_for_the_host():
    problem, where, hint = refusal("worldkv", 72, 64)
    assert re.fullmatch(
        r"40 chunks need (\S+) GiB of host memory even at the least, (\S+) GiB more than the "
        r"budget of 64.0 GiB \(bank .* GiB, weights .* GiB, codec 3.9 GiB\)",
        problem,
    )
    needed = float(problem.split()[3])
    assert where == "--ram-budget"
    assert hint.split("; ")[1:] == [
        "--keep-ratio 0.25, which stores half of every chunk",
        "--weights int8 (costs some fidelity)",
    ]
    assert placed("worldkv", 72, needed + 0.1).over_host is False
    assert needed < 85.7  # where all of the bank would have to lie on the host


def test_what_set_the_budget_is_named():
    options = simple((GIB, 0))
    with pytest.raises(BudgetError) as caught:
        choose_placement(
            options, Budgets(GIB // 2, device_source="what is free on cuda:0"), SMALL, ways_out=()
        )
    assert caught.value.where == "what is free on cuda:0"
    assert caught.value.problem == (
        "4 chunks need 1.0 GiB of device memory even at the least, 0.5 GiB more than the budget of 0.5 GiB "
        "(weights 1.0 GiB, window 0.1 MiB, retrieval 0.0 MiB)"
    )
    assert caught.value.hint == "give 1.1 GiB"
