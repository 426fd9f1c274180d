"""The few-step sampler and the rollout's noise."""

import pytest
import torch

from core.noise import seeded_noise
from core.sampler import NoiseLevels, clean_latents, denoise

CPU = torch.device("cpu")
SHAPE = (1, 2, 3, 4, 5)


def test_shifted_levels():
    levels = NoiseLevels.shifted((1.0, 0.75, 0.5, 0.25), shift=5.0)
    assert levels.timesteps == pytest.approx((1000, 937.5, 2500 / 3, 625))
    assert levels.x0_sigmas == pytest.approx((1, 0.9375, 5 / 6, 0.625))
    assert levels.renoise_sigmas == levels.x0_sigmas[1:]
    assert levels.num_steps == 4
    assert NoiseLevels.shifted((1.0, 0.5), shift=1.0).x0_sigmas == (1.0, 0.5)


def test_a_perfect_network_is_believed_at_every_level():
    """Its input is the clean latents at the announced noise level, with the noise that was drawn for it."""
    truth = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    noise = seeded_noise(3, SHAPE, CPU)
    levels = NoiseLevels.shifted((1.0, 0.75, 0.5, 0.25), shift=5.0)
    inputs = []

    def predict(x, step):
        inputs.append((x, levels.timesteps[step]))
        return noise(0, len(inputs) - 1) - truth

    out = denoise(predict, noise(0, 0), levels, lambda i: noise(0, i + 1))
    torch.testing.assert_close(out, truth, atol=1e-5, rtol=0)
    assert [t for _, t in inputs] == list(levels.timesteps)
    for i, (x, timestep) in enumerate(inputs):
        s = timestep / 1000
        torch.testing.assert_close(x, (1 - s) * truth + s * noise(0, i), atol=1e-5, rtol=0)


def test_clean_latents_are_float32():
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    out = clean_latents(x.bfloat16(), x.bfloat16(), 0.5)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, 0.5 * x.bfloat16().float())


def test_noise_belongs_to_seed_chunk_and_draw():
    draws = {(s, c, i): seeded_noise(s, SHAPE, CPU)(c, i) for s in (0, 1) for c in (0, 1, 7) for i in (0, 1)}
    every = list(draws.items())
    for place, (key, value) in enumerate(every):
        assert torch.equal(seeded_noise(key[0], SHAPE, CPU)(*key[1:]), value)
        assert all(not torch.equal(value, other) for _, other in every[:place])
    assert abs(float(torch.stack(list(draws.values())).mean())) < 0.1
    assert float(torch.stack(list(draws.values())).std()) == pytest.approx(1, abs=0.1)
