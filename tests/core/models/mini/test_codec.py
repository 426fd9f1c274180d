"""The codec: exact within its subspace, close on pictures of rooms it has not seen."""

import math

import pytest
import torch

from core.models.mini.clips import render_clips
from core.models.mini.codec import PatchCodec
from core.models.mini.trips import sample_clip
from tests.core.models.mini.clips import rng_of

SIZE = (64, 48)
CPU = torch.device("cpu")


def pictures(seed: int, clips: int = 6) -> torch.Tensor:
    rng = rng_of(seed)
    return render_clips([sample_clip(rng, 4) for _ in range(clips)], seed, SIZE, CPU)[0].flatten(0, 1)


@pytest.fixture(scope="module")
def codec() -> PatchCodec:
    return PatchCodec.fit(pictures(0), 32)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10(float((a - b).square().mean()))


def test_components_are_orthonormal_and_latents_of_unit_size(codec):
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(32), atol=1e-5, rtol=0)
    latents = codec.encode(pictures(0))
    assert latents.shape == (72, 32, 6, 8)
    assert float(latents.square().mean()) == pytest.approx(1.0, abs=1e-3)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(32), atol=1e-4, rtol=0)
    spread = latents.square().mean((0, 2, 3))
    assert (spread[:-1] > spread[1:]).all(), "coarse before fine"


def test_latents_of_decoded_latents_are_the_same(codec):
    latents = torch.randn(2, 32, 6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.encode(codec.decode(latents)), latents, atol=1e-4, rtol=0)


def test_pictures_of_the_subspace_come_back(codec):
    inside = codec.decode(codec.encode(pictures(1)))
    torch.testing.assert_close(codec.decode(codec.encode(inside)), inside, atol=1e-5, rtol=0)


def test_all_components_are_lossless():
    codec = PatchCodec.fit(pictures(0, clips=1), 192)
    grey = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.decode(codec.encode(grey)), grey, atol=1e-3, rtol=0)


def test_rooms_it_has_not_seen(codec):
    unseen = pictures(9)
    with_32 = psnr(codec.decode(codec.encode(unseen)), unseen)
    few = PatchCodec.fit(pictures(0), 8)
    assert with_32 > 29  # fitted to 72 pictures only; 30.1 measured
    assert with_32 > psnr(few.decode(few.encode(unseen)), unseen) + 3
