"""Distances in a model's own latent space, and codecs that are loaded only where they are asked for."""

from pathlib import Path

import pytest

from core.config import GenerateConfig
from core.errors import ModelFilesError
from core.evaluation.codecs import latent_distance, open_codec
from tests.core.fidelity.scenes import noise
from tests.tiny_vae import write_vae


def test_the_embedded_models_codec_is_at_hand() -> None:
    encode = open_codec(GenerateConfig(), wanted=False)
    a, b = noise(0, 48, 80), noise(1, 48, 80)
    assert latent_distance(encode(a), encode(a)) == 0.0
    near = (a.astype(int) * 0.9 + b * 0.1).astype("uint8")
    assert 0 < latent_distance(encode(a), encode(near)) < latent_distance(encode(a), encode(b))


@pytest.mark.parametrize("model", ["lingbot", "matrix-game"])
def test_a_large_models_codec_is_asked_for(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    config = GenerateConfig(model=model, checkpoint=tmp_path)
    with pytest.raises(ModelFilesError, match=f"latents need {model}'s codec") as unasked:
        open_codec(config, wanted=False)
    assert unasked.value.hint == "--latents loads it"
    with pytest.raises(ModelFilesError, match=f"the codec of {model} was not found") as missing:
        open_codec(config, wanted=True)
    assert missing.value.hint == f"worldkv models pull {model} --part vae"


@pytest.mark.parametrize("model", ["lingbot", "matrix-game"])
def test_a_large_models_codec_encodes_a_first_picture(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    write_vae(tmp_path / "Wan2.1_VAE.pth")
    encode = open_codec(GenerateConfig(model=model, checkpoint=tmp_path), wanted=True)
    a, b = noise(0, 36, 48), noise(1, 36, 48)  # cut to whole cells of eight pixels
    assert encode(a).shape == (1, 16, 1, 4, 6)
    assert latent_distance(encode(a), encode(a)) == 0.0
    assert latent_distance(encode(a), encode(b)) > 0.01
