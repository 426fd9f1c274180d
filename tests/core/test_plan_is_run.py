"""What a run of the embedded model does to its memory is what its plan said, to the token and the byte.

The run is watched from outside: which raw keys and values every chunk made, what the window then holds, how
many rows went between the tiers, what the engine's tensors take.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from core.config import resolve
from core.generate import Job, prepare
from core.memory.bank import Bank
from core.memory.step import ChunkStep
from core.memory.tiers import TIERS
from core.memory.world_memory import ChunkCache, WorldMemory
from core.models.session import LoadedModel
from core.noise import seeded_noise
from core.rollout import rollout
from core.sampler import NoiseLevels
from tests.core.models.wan.live_bytes import LiveBytes
from trajectories import library_names

CPU = torch.device("cpu")
ONE_STEP = NoiseLevels.shifted((1.0,), 1.0)
"""Pictures do not matter here: one pass that denoises, one that commits."""


class Watch:
    """What really happens: values made, rows read and written by tier, bytes at the peak."""

    def __init__(self, job: Job) -> None:
        self.job, self.live = job, LiveBytes()
        self.values: dict[int, torch.Tensor] = {}
        self.read = dict.fromkeys(TIERS, 0)
        self.written = dict.fromkeys(TIERS, 0)
        self._read_now = dict.fromkeys(TIERS, 0)

    @contextmanager
    def watching(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        read, put, attend = Bank.read, Bank._put, ChunkCache.attend

        def watched_read(bank, layer, routes, count):
            for route in routes if layer == 0 else ():
                self._read_now[route.tier] += len(route.slots)
            return read(bank, layer, routes, count)

        def watched_put(bank, layer, route, rows):
            self.written[route.tier] += len(route.slots) if layer == 0 else 0
            return put(bank, layer, route, rows)

        def watched_attend(cache, layer, q, k, v):
            if layer == 0 and cache.commits:
                self.values[cache.step.chunk] = v.clone()
            return attend(cache, layer, q, k, v)

        patch.setattr(Bank, "read", watched_read)
        patch.setattr(Bank, "_put", watched_put)
        patch.setattr(ChunkCache, "attend", watched_attend)
        yield
        patch.undo()

    def begun(self, memory: WorldMemory, step: ChunkStep) -> None:
        """The window holds what the plan retrieves, and it came from where the plan said."""
        plan = self.job.plan
        tiers = plan.residency.steps[step.chunk]
        planned = {t: sum(p.slots.count for p in tiers.reads if p.tier == t) for t in TIERS}
        assert self._read_now == planned
        for tier in TIERS:
            self.read[tier] += self._read_now[tier]
            self._read_now[tier] = 0
        first = memory.native_tokens
        held = memory.window.values[0, 0, first : first + step.num_retrieved]
        if not plan.sources_are_ranks:
            per_chunk = plan.layout.tokens_per_chunk
            for chunk in {s.chunk for s in step.selections}:
                at = step.retrieved_sources // per_chunk == chunk
                tokens = step.retrieved_sources[at] - chunk * per_chunk
                assert torch.equal(held[torch.from_numpy(at)], self.values[chunk][0, tokens])
        else:
            made = torch.cat([self.values[s.chunk][0] for s in step.selections] or [held])
            known = {row.numpy().tobytes() for row in made}
            assert all(row.numpy().tobytes() in known for row in held)


def execute(job: Job, folder: Path, patch: pytest.MonkeyPatch, *, ahead: bool) -> None:
    """Run the job with one denoising pass a chunk, and compare it with its plan."""
    watch, plan = Watch(job), job.plan
    with watch.watching(patch):
        with watch.live:
            model = job.session.load(CPU, job.dtype, job.placement.turns)
        gc.collect()
        watch.live.peak = 0  # loading is over before there is a window
        with watch.live:
            memory = WorldMemory(
                plan,
                positions=job.positions,
                trained_frames=job.session.trained_frames,
                device=CPU,
                dtype=job.dtype,
                folder=folder,
                ahead=ahead,
            )
        begin = memory.begin

        def begun(step: ChunkStep) -> ChunkCache:
            with watch.live:
                cache = begin(step)
            watch.begun(memory, step)
            return cache

        patch.setattr(memory, "begin", begun)
        run(job, model, memory)
        memory.close()
    count = plan.bank_token_bytes
    assert {t: n * count for t, n in watch.read.items()} == dict(plan.read_bytes)
    assert {t: n * count for t, n in watch.written.items()} == dict(plan.written_bytes)
    assert memory.tier_bytes == plan.tier_bytes
    assert list(folder.iterdir()) == []
    said = job.placement.parts.device_bytes + sum(job.placement.parts.host.values())
    assert 0.9 * said < watch.live.peak <= said


def run(job: Job, model: LoadedModel, memory: WorldMemory) -> None:
    shape = (1, model.latent_shape[0], job.plan.layout.chunk_frames, *model.latent_shape[1:])
    noise = seeded_noise(0, shape, CPU)
    for _ in rollout(model.controls, job.plan, memory, levels=ONE_STEP, noise=noise, given=model.given):
        pass


def prepared(**settings: object) -> Job:
    return prepare(resolve({"model": "mini", "device": "cpu", **settings}, {}))


def within(part: float, **settings: object) -> Job:
    """The same, with so much of the bank on the device, and a third of the rest in host memory.

    Beside it, host memory has room for what goes to disk and comes back.
    """
    whole = prepared(**settings)
    bank = whole.plan.tier_bytes["device"]
    if not bank or "bank" in settings:
        return whole
    device = whole.placement.parts.device_bytes - int((1 - part) * bank)
    budgets = {"vram_budget": device, "ram_budget": (4 << 20) + int((1 - part) * bank / 3)}
    return prepared(**settings, **budgets, disk_budget=1 << 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", library_names())
def test_every_bundled_trajectory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(within(0.4, traj=name), tmp_path, monkeypatch, ahead=False)


TURNS = (5.0, 7.5, -10.0, 12.0, -6.0, 20.0)


def script(pick: random.Random, folder: Path) -> Path:
    """A walk of 15 to 45 frames that comes back."""
    steps = []
    for _ in range(pick.randint(1, 4)):
        kind, frames = pick.choice(["turn", "move", "hold"]), pick.randint(4, 9)
        if kind == "turn":
            steps.append(f"{{turn: {{yaw_deg: {pick.choice(TURNS) * frames}, frames: {frames}}}}}")
        elif kind == "move":
            units = round(pick.uniform(-0.05, 0.08) * frames, 3) or 0.1
            steps.append(f"{{move: {{forward_units: {units}, frames: {frames}}}}}")
        else:
            steps.append(f"{{hold: {{frames: {frames}}}}}")
    text = ", ".join(["{mark: home}", *steps, "{return_to: {mark: home, path: retrace}}"])
    path = folder / "walk.yaml"
    path.write_text(f"version: 1\nsteps: [{text}, {{hold: {{frames: 6}}}}]\n")
    return path


def settings(seed: int) -> dict[str, object]:
    """Some way to remember."""
    pick = random.Random(seed)
    found: dict[str, object] = {"memory": pick.choice(["worldkv"] * 6 + ["full", "sliding", "sink"])}
    if pick.random() < 0.3:
        found["keep_all"] = True
    if found["memory"] != "worldkv":
        return found
    found["strategy"] = pick.choice(["rays", "rays", "pose", "coverage"])
    found["positions"] = pick.choice(["absolute", "slot", "contiguous", "listed"])
    found["sink"], found["recent"] = pick.choice([0, 3]), pick.choice([0, 3, 6])
    found["retrieve"] = pick.choice([1, 2, 3])
    if found["strategy"] != "rays" and pick.random() < 0.6:
        found["prune"] = pick.choice(["key", "view", "random", "stride"])
        found["keep_ratio"], found["pooled"] = pick.choice([0.1, 0.25, 0.5]), pick.random() < 0.5
    if pick.random() < 0.25:
        found["bank"] = pick.choice(["host", "disk"])
    return found


def random_run(seed: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    pick = random.Random(seed + 1000)
    (folder / "bank").mkdir()
    job = within(pick.random(), traj=str(script(pick, folder)), **settings(seed))
    execute(job, folder / "bank", patch, ahead=pick.random() < 0.5)


@pytest.mark.parametrize("seed", range(12))
def test_random_trajectories(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_run(seed, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(2, 21))
def test_two_hundred_random_trajectories(tens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        (tmp_path / str(seed)).mkdir()
        random_run(seed, tmp_path / str(seed), monkeypatch)
