"""Training: its data, its optimiser and its checkpoints, at tiny size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import InputError
from core.models.mini import train
from core.models.mini.clips import ClipPool, intrinsics_for_fov
from core.models.mini.codec import PatchCodec
from core.models.mini.config import LATENT_CHANNELS, MiniConfig
from core.models.mini.export import from_checkpoint
from core.models.mini.muon import Muon, orthogonalise
from core.models.mini.train import TrainConfig, fit_codec, run
from core.models.wan.config import WanConfig
from tests.core.memory.tiny import CPU
from tests.core.models.mini.sizes import TINY

RECIPE = TrainConfig(steps=4, batch=2, fresh=1, pool=3, chunks=3, warmup=2)


@pytest.fixture(scope="module")
def codec() -> PatchCodec:
    return fit_codec(TINY, seed=0, batches=1)


def pool(codec: PatchCodec, seed: int = 0) -> ClipPool:
    return ClipPool(TINY, codec, chunks=3, capacity=6, fresh=2, seed=seed, device=CPU)


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, f), getattr(b, f)) for f in ("latents", "rays", "times"))


def test_a_resumed_pool_gives_the_same_clips(codec):
    first = pool(codec)
    batches = [first.batch(step, 4) for step in range(4)]
    for start in (1, 3):
        resumed = pool(codec)
        for step in range(start, 4):
            assert same(resumed.batch(step, 4), batches[step])
    assert not same(batches[0], batches[1])
    assert not same(pool(codec, seed=1).batch(0, 4), batches[0])


def test_batches_have_the_network_s_shapes(codec):
    batch = pool(codec).batch(0, 4)
    assert batch.latents.shape == (4, LATENT_CHANNELS, 9, 6, 8)
    assert batch.rays.shape == (4, 9, 12, TINY.network.camera_features)
    assert batch.times.shape == (4, 9)
    assert not batch.latents.requires_grad
    assert float(batch.latents.square().mean()) == pytest.approx(1, abs=0.5)


def test_field_of_view():
    fx, fy, cx, cy = intrinsics_for_fov(90.0, (80, 48))
    assert fx == fy == pytest.approx(40)
    assert (cx, cy) == (40, 24)
    assert intrinsics_for_fov(60.0, (80, 48))[0] == pytest.approx(40 / np.tan(np.pi / 6))


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 24, 64), (2, 64, 24)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 7
    out = orthogonalise(matrices)
    assert out.shape == shape
    values = torch.linalg.svdvals(out)
    assert values.min() > 0.3
    assert values.max() < 1.35
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity(out.flatten(1), (u @ vt).flatten(1))
    assert cosine.min() > 0.95


def test_muon_moves_by_the_same_amount_whatever_the_gradient():
    """And finds the bottom of a bowl."""
    steps = []
    for scale in (1.0, 1024.0):
        p = nn.Parameter(torch.zeros(16, 24))
        p.grad = torch.randn(16, 24, generator=torch.Generator().manual_seed(0)) * scale
        Muon([p], lr=0.1, weight_decay=0.0).step()
        steps.append(p.detach().clone())
    torch.testing.assert_close(*steps, atol=1e-5, rtol=0)
    target = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
    p = nn.Parameter(torch.zeros(16, 24))
    optimiser = Muon([p], lr=0.05, weight_decay=0.0)
    for _ in range(150):
        p.grad = p.detach() - target
        optimiser.step()
    assert (p - target).square().mean() < 0.05 * target.square().mean()


def test_muon_leaves_parameters_without_gradient_alone():
    p = nn.Parameter(torch.ones(4, 4))
    Muon([p], lr=0.1).step()
    assert torch.equal(p, torch.ones(4, 4))


@pytest.fixture
def quick_codec(monkeypatch, codec):
    monkeypatch.setattr(train, "fit_codec", lambda config, seed: codec)


def test_a_resumed_training_gives_the_same_weights(tmp_path, quick_codec):
    whole = run(TINY, RECIPE, out=tmp_path / "whole", device=CPU)
    assert whole.step == 4
    part, save = tmp_path / "part", train.Trainer.save

    def save_and_stop(self, folder):
        save(self, folder)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Trainer, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, RECIPE, out=part, device=CPU, save_every=2)
    resumed = run(TINY, RECIPE, out=part, device=CPU)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(whole.average[name], resumed.average[name]), name
        assert value.isfinite().all()
    assert not (part / "checkpoint.pt.tmp").exists()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, quick_codec):
    run(TINY, replace(RECIPE, steps=1), out=tmp_path, device=CPU)
    with pytest.raises(InputError, match=r"trained otherwise.*seed"):
        run(TINY, replace(RECIPE, seed=7), out=tmp_path, device=CPU)


def test_a_pool_gives_no_clip_that_it_has_not(codec):
    odd = ClipPool(TINY, codec, chunks=2, capacity=5, fresh=2, seed=0, device=CPU)
    assert len(odd.batch(0, 4).latents) == 4
    with pytest.raises(InputError, match="cannot give 5"):
        odd.batch(1, 5)


def test_a_training_moves_every_parameter_and_exports(tmp_path, quick_codec):
    trainer = run(TINY, RECIPE, out=tmp_path, device=CPU)
    fresh = train.Trainer(TINY, RECIPE, CPU).network.state_dict()
    still = [n for n, v in trainer.network.state_dict().items() if torch.equal(v, fresh[n])]
    assert still == []
    model = from_checkpoint(tmp_path)
    assert model.config == TINY
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, trainer.average[name])


def test_loss_falls_on_one_batch(codec):
    """The same clips and noise again and again: the gradient points downhill."""
    recipe = replace(RECIPE, steps=1000, warmup=1, lr=3e-3, chunks=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit_codec", lambda config, seed: codec)
        trainer = train.Trainer(TINY, recipe, CPU)
    loss_of = train.TrainStep(trainer.network, recipe, device=CPU)
    batch = pool(codec).batch(0, 4)
    losses = []
    for _ in range(30):
        loss, stats = loss_of(batch, 0)
        assert np.isfinite(stats["x0_at_1"])
        losses.append(float(loss.detach()))
        trainer.update(loss)
    assert losses[-1] < 0.75 * losses[0]


def test_learning_rate_warms_up_and_decays(codec, quick_codec):
    trainer = train.Trainer(TINY, replace(RECIPE, steps=100, warmup=10, decay_share=0.5), CPU)
    factors = []
    for trainer.step in range(100):
        factors.append(trainer.lr_factor())
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)


def test_default_network_is_the_shared_one_by_configuration():
    assert isinstance(MiniConfig().network, WanConfig)
    assert MiniConfig().network.camera_injection == "before_attention"
