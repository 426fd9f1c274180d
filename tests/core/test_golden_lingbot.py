"""Our engine against numbers of the reference implementation: whole rollouts and their parts, in float32."""

import numpy as np
import pytest
import torch

from core.memory.prune import kept_by_key
from core.models.wan.layers import RmsNorm, sinusoid
from core.models.wan.rope import RotaryTable
from core.sampler import NoiseLevels, clean_latents
from tests.golden_lingbot import MANIFEST, frozen, golden, run_golden, watch_stores

ATOL = MANIFEST["tolerance"]["x0"]
RUNS = list(MANIFEST["runs"])
STORED = [n for n in RUNS if (MANIFEST["runs"][n]["compression"] or {}).get("when") == "store"]


@pytest.mark.parametrize("name", RUNS)
def test_rollout_matches_the_reference(name):
    run = MANIFEST["runs"][name]
    latents, plan, memory = run_golden(name)
    expected = golden("runs")[f"{name}.x0"]
    for chunk, (ours, theirs) in enumerate(zip(latents, expected, strict=True)):
        torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=0, msg=lambda m, c=chunk: f"chunk {c}: {m}")
    for step, theirs in zip(plan.steps, run["chunks"], strict=True):
        assert [s.chunk for s in step.selections] == (theirs["retrieved"] or [])
        assert sum(len(plan.steps[s.chunk].store_pool) for s in step.selections) == theirs["retrieved_tokens"]
        assert memory.begin(step).filled == theirs["keys"]


def test_modes_differ():
    """A tolerance means something only where the modes lie further apart than it."""
    runs = golden("runs")
    for other in ("sliding7", "sink_recent", "retrieval6_store"):
        assert (runs["full_kv.x0"] - runs[f"{other}.x0"]).square().mean().sqrt() > 1e-2


@pytest.mark.parametrize("name", STORED)
def test_stored_tokens_match_the_reference(name, monkeypatch):
    """The bank holds exactly the tokens that the reference kept, chunk by chunk and layer by layer."""
    stored = watch_stores(monkeypatch)
    _, plan, _ = run_golden(name)
    expected = golden("runs")
    for layer in range(MANIFEST["config"]["num_layers"]):
        for step in plan.steps:
            kept = expected[f"{name}.kept.layer{layer}"][step.chunk]
            if len(step.store_pool):
                assert torch.equal(stored[layer, step.chunk], kept.sort().values.long())


def test_host_bank_gives_the_same_bits():
    device, _, _ = run_golden("retrieval6_store", tier="device")
    host, _, _ = run_golden("retrieval6_store", tier="host")
    assert all(torch.equal(a, b) for a, b in zip(device, host, strict=True))


@pytest.mark.parametrize("shift", ["10", "5", "3"])
def test_noise_levels(shift):
    levels = NoiseLevels.from_table(float(shift))
    entries = MANIFEST["schedule"][shift]
    assert levels.timesteps == tuple(e["timestep"] for e in entries)
    assert levels.x0_sigmas == tuple(e["x0_sigma"] for e in entries)
    assert levels.renoise_sigmas == tuple(e["add_noise_sigma"] for e in entries[1:])


def test_clean_latents():
    levels = NoiseLevels.from_table(10.0)
    for timestep, sigma in zip(levels.timesteps, levels.x0_sigmas, strict=True):
        expected = golden("units")[f"schedule.shift10.to_x0.{int(timestep)}"]
        ours = clean_latents(frozen("unit.schedule.x0"), frozen("unit.schedule.noise"), sigma)
        torch.testing.assert_close(ours, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "grid", "start"),
    [(32, (2, 3), 0), (32, (2, 3), 3), (32, (2, 3), 33), (32, (2, 3), 500), (128, (2, 3), 9)],
)
def test_rope(size, grid, start):
    x = frozen(f"unit.rope.x{size}")
    frames = range(start, start + len(x) // (grid[0] * grid[1]))
    ours = RotaryTable(size).grid_rotation(frames, grid).apply(x)
    torch.testing.assert_close(ours, golden("units")[f"rope.out{size}.start{start}"], atol=5e-6, rtol=0)


@pytest.mark.parametrize("width", [32, 256])
def test_time_sinusoid(width):
    ours = sinusoid(golden("units")["time.t"].double(), width)
    torch.testing.assert_close(ours, golden("units")[f"time.sinusoid{width}"].float(), atol=5e-6, rtol=0)


def test_rms_norm():
    norm = RmsNorm(16)
    norm.load_state_dict({"weight": frozen("unit.rms.weight")})
    torch.testing.assert_close(norm(frozen("unit.rms.x")), golden("units")["rms.out"], atol=5e-6, rtol=0)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.99, 1.0])
@pytest.mark.parametrize("budget", ["frame", "pooled"])
def test_pruning_by_key(ratio, budget):
    keys = frozen("unit.compress.a.k")[None].unflatten(1, (3, -1))
    keep = max(1, int(np.ceil(ratio * keys.shape[2])))
    ours = kept_by_key(keys, keep=keep, pooled=budget == "pooled")[0]
    assert torch.equal(ours, golden("units")[f"compress.a.r{ratio}.{budget}"].long().sort().values)


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_pruning_of_a_turned_anchor(ratio):
    chunks = frozen("unit.compress.b.k").unflatten(0, (4, 3, -1))
    keep = max(1, int(np.ceil(ratio * chunks.shape[2])))
    kept = [
        kept_by_key(chunk[None], keep=keep, pooled=False, anchor=i % 3)[0] + i * 36
        for i, chunk in enumerate(chunks)
    ]
    expected = golden("units")[f"compress.b.r{ratio}.frame.rotate"].long()
    assert torch.equal(torch.cat(kept).sort().values, expected.sort().values)
