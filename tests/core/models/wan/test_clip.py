"""A picture from pixels to what the world model gets."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import ModelFilesError
from core.models.wan import clip as module
from core.models.wan.clip import encode_image
from core.models.wan.clip_encoder import load_encoder
from tests.golden_matrix_game import MANIFEST, frozen, golden
from tests.tiny_clip import TINY, frozen_tensors, random_tensors, tower_of_width, write_clip

PICTURE = frozen("unit.clip.image")[None]
F32 = {"device": "cpu", "dtype": torch.float32}


@pytest.fixture
def loads(monkeypatch) -> list[weakref.ref[nn.Module]]:
    """Towers that were loaded, and their weights."""
    seen: list[weakref.ref[nn.Module]] = []

    def load(*args, **kwargs) -> nn.Module:
        encoder = load_encoder(*args, **kwargs)
        seen.extend(weakref.ref(each) for each in (encoder, *encoder.parameters()))
        return encoder

    monkeypatch.setattr(module, "load_encoder", load)
    return seen


@pytest.mark.parametrize("layout", ["official", "diffusers", "nested"])
def test_golden_output(tmp_path: Path, layout: str) -> None:
    path = write_clip(tmp_path, layout, tensors=frozen_tensors())
    num_heads = TINY.num_heads if layout == "official" else None
    tokens = encode_image(PICTURE, path, **F32, num_heads=num_heads)
    tolerance = MANIFEST["tolerance"]["unit"]
    torch.testing.assert_close(tokens[0], golden("units")["clip.out"], atol=tolerance, rtol=0)


def test_a_tower_for_the_real_width(tmp_path: Path) -> None:
    path = write_clip(tmp_path, config=tower_of_width(1280, side_patches=16))
    assert encode_image(PICTURE, path, **F32).shape == (1, 257, 1280)


def test_nothing_keeps_the_tower(tmp_path: Path, loads: list) -> None:
    path = write_clip(tmp_path, "diffusers")
    gc.disable()
    try:
        tokens = encode_image(PICTURE, path, **F32)
        assert len(loads) > 1
        assert all(ref() is None for ref in loads)
    finally:
        gc.enable()
    assert not tokens.requires_grad
    assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_the_picture_stays_as_it_was(tmp_path: Path) -> None:
    picture = PICTURE.clone()
    encode_image(picture, write_clip(tmp_path, "diffusers"), **F32)
    assert torch.equal(picture, PICTURE)


def test_numbers_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    damaged = random_tensors(TINY)
    damaged["visual.transformer.1.attn.proj.weight"][3, 4] = torch.nan
    path = write_clip(tmp_path, tensors=damaged)
    with pytest.raises(ModelFilesError, match="not finite in float32") as error:
        encode_image(PICTURE, path, **F32, num_heads=4)
    assert error.value.where == str(path)


def test_float16_that_overflows_says_what_to_take(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    tensors["visual.transformer.1.mlp.2.weight"] *= 1e5
    path = write_clip(tmp_path, tensors=tensors)
    with pytest.raises(ModelFilesError, match="not finite in float16") as error:
        encode_image(PICTURE, path, device="cpu", dtype=torch.float16, num_heads=4)
    assert "bfloat16 or float32" in error.value.hint


def test_in_a_fresh_process_it_is_quiet(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from core.models.wan.clip import encode_image\n"
        "assert 'transformers' not in sys.modules\n"
        f"got = encode_image(torch.zeros(1, 3, 9, 12), Path({str(write_clip(tmp_path, 'diffusers'))!r}),"
        " device='cpu', dtype=torch.float32)\n"
        "print(tuple(got.shape))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("(1, 5, 64)\n", "")
