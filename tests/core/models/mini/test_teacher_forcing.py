"""What is trained is what is run: the training pass over a whole clip equals the rollout engine."""

from typing import ClassVar

import numpy as np
import pytest
import torch

from core.memory.selection import Selection
from core.models.mini import train
from core.models.mini.clips import ClipBatch
from core.models.mini.conditioning import image_condition, ray_features
from core.models.mini.config import LATENT_CHANNELS
from core.models.mini.model import bind
from core.models.mini.teacher_forcing import TeacherForcing, visible_clean_tokens
from core.models.mini.train import TrainConfig, TrainStep
from core.models.wan.denoiser import TimeTable
from core.models.wan.network import WanNetwork
from tests.core.memory.policy.cameras import random_walk
from tests.core.memory.tiny import CPU, make_plan, new_memory, randomise
from tests.core.models.mini.sizes import TINY

ATOL = 2e-5  # flows have a standard deviation of 1; see the last line of the test
RECIPE = TrainConfig(chunks=5, batch=2, context_noise=0.0, drop=0.0)


class Recorder(WanNetwork):
    """The network in float32, whatever autocast says, with its last input and output kept."""

    def camera_modulations(self, features):
        with torch.autocast("cpu", enabled=False):
            return super().camera_modulations(features)

    def forward(self, latents_BCFhw, time, **given):
        with torch.autocast("cpu", enabled=False):
            flow = super().forward(latents_BCFhw, time, **given)
        self.seen = latents_BCFhw, time, flow
        return flow


class EveryChunkOf:
    """Retrieves all earlier chunks of a list."""

    name: ClassVar[str] = "every"
    whole_chunks: ClassVar[bool] = True
    max_chunks = None

    def __init__(self, chunks):
        self.chunks = chunks

    def select(self, viewpoints, chunk, candidates, budget_tokens):
        return [Selection(c, None, 0.0) for c in self.chunks if c in candidates and chunk in self.chunks]


def clip_of(views, chunks, seed=3):
    """Two clips of random latents at the given chunks of a rollout."""
    frames = np.array([3 * c + f for c in chunks for f in range(3)])
    c2w = torch.from_numpy(np.linalg.inv(views.c2w[0]) @ views.c2w).float()[None, frames]
    rays = ray_features(c2w, torch.from_numpy(views.intrinsics).float()[None, frames], views.image_size)
    generator = torch.Generator().manual_seed(seed)
    return ClipBatch(
        latents=torch.randn(2, LATENT_CHANNELS, len(frames), 6, 8, generator=generator),
        rays=rays.expand(2, -1, -1, -1),
        times=torch.from_numpy(frames)[None].expand(2, -1),
    )


def through_the_engine(net, batch, chunks, memory, plan, recorded, sample):
    """The flow of every noisy chunk, from the cache that clean passes wrote."""
    inputs, timesteps, _ = (t[sample : sample + 1] for t in recorded)
    clean_frames = batch.latents.shape[2] - 3
    flows = []
    for place, chunk in enumerate(chunks):
        step, span = plan.steps[chunk], slice(3 * place, 3 * place + 3)
        condition = image_condition(
            batch.latents[sample : sample + 1, :, 0], range(step.frames, step.frames + 3), (1, 6, 8)
        )
        model = bind(net, TimeTable(net), batch.rays[sample : sample + 1, span], condition)
        at = clean_frames + span.start
        noisy = inputs[:, :LATENT_CHANNELS, at : at + 3]
        flows.append(model.flow(noisy, float(timesteps[0, at]), memory.begin(step)))
        clean = batch.latents[sample : sample + 1, :, span]
        model.flow(clean, 0.0, memory.commit_cache(step))
    return torch.cat(flows, 2)


@pytest.mark.parametrize("chunks", [[0, 1, 2, 3, 4], [0, 3, 4, 9, 11], [2, 3, 7, 8, 10]])
def test_training_pass_equals_the_rollout(monkeypatch, chunks):
    """Also with gaps in time (missing chunks), and for clips that do not hold the first picture.

    Without gaps the rollout runs in memory mode `full`; with gaps exactly the earlier chunks of the clip come
    back from the bank.
    """
    monkeypatch.setattr(train, "TeacherForcing", lambda r, v, dtype: TeacherForcing(r, v, torch.float32))
    net = Recorder(TINY.network)
    randomise(net)
    views = random_walk(chunks[-1] + 1, seed=1)
    batch = clip_of(views, chunks)
    TrainStep(net, RECIPE, device=CPU)(batch, step=7)
    recorded, expected = net.seen, net.seen[2][:, :, batch.latents.shape[2] - 3 :]
    if chunks == list(range(len(chunks))):
        plan = make_plan(views, mode="full")
    else:
        plan = make_plan(views, strategy=EveryChunkOf(chunks), chunks=len(chunks))
    for sample in range(2):
        memory = new_memory(plan)
        ours = through_the_engine(net, batch, chunks, memory, plan, recorded, sample)
        torch.testing.assert_close(ours, expected[sample : sample + 1], atol=ATOL, rtol=0)
    assert expected.std() > 0.3


def test_a_thinned_past_is_masked_out():
    """Tokens that a chunk may not see have no influence, however large they are."""
    chunks, tokens, heads, width = 5, 4, 2, 12
    visible = visible_clean_tokens(3, chunks, tokens, torch.Generator().manual_seed(0), drop=1.0)
    total = (2 * chunks - 1) * tokens
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(3, total, heads, width, generator=generator) for _ in range(3))
    identity = train.Rotation(torch.ones(1, total, width // 2), torch.zeros(1, total, width // 2))
    mask = TeacherForcing(identity, visible, torch.float32)
    before = mask.attend(0, q, k, v)
    hidden = (~visible[:, -1]).nonzero()
    assert len(hidden) > 5
    loud = v.clone()
    loud[hidden[:, 0], hidden[:, 1]] = 1e3
    newest = slice(total - tokens, total)
    assert torch.equal(mask.attend(0, q, k, loud)[:, newest], before[:, newest])


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_visible_clean_tokens(drop):
    chunks, tokens = 6, 12
    visible = visible_clean_tokens(40, chunks, tokens, torch.Generator().manual_seed(0), drop=drop)
    assert visible.shape == (40, chunks, (chunks - 1) * tokens)
    for chunk in range(chunks):
        assert not visible[:, chunk, (chunk + 1) * tokens :].any(), "nothing from the future"
        for always in {0, max(0, chunk - 2), max(0, chunk - 1), chunk} - {chunks - 1}:
            assert visible[:, chunk, always * tokens : (always + 1) * tokens].all()
    old = visible[:, 5, tokens : 3 * tokens].float().mean()
    assert old == 1 if drop == 0 else 0.3 < old < 0.7
