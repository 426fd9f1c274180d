"""Distances in a model's own latent space, and codecs that are loaded only where they are asked for."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from core.config import GenerateConfig
from core.errors import ModelFilesError
from core.evaluation.codecs import latent_distance, open_codec
from core.models.wan import vae
from core.models.wan.vae import WanVae
from core.models.wan.vae_config import VaeConfig
from tests.core.fidelity.scenes import noise


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


CONFIG = VaeConfig(base_dim=4)


class Averages(nn.Module):
    """An encoder without anything learnt, in place of diffusers', whose import alone takes seconds."""

    def forward(
        self, pictures: torch.Tensor, *, feat_cache: list[object], feat_idx: list[int]
    ) -> torch.Tensor:
        assert (len(feat_cache), feat_idx) == (0, [0])
        cells = functional.avg_pool3d(pictures, (1, 8, 8))
        return cells.repeat(1, 11, 1, 1, 1)[:, :32]


class Network(nn.Module):
    """The parts that encode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.quant_conv = Averages(), nn.Identity()
        self.place = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize("model", ["lingbot", "matrix-game"])
def test_a_large_models_codec_encodes_a_first_picture(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[Path, torch.device]] = []

    def load_vae(path: Path, *, device: torch.device) -> WanVae:
        loaded.append((path, device))
        return WanVae.of(CONFIG, Network().to(device))

    monkeypatch.setattr(vae, "load_vae", load_vae)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    (tmp_path / "Wan2.1_VAE.pth").touch()
    encode = open_codec(GenerateConfig(model=model, checkpoint=tmp_path), wanted=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert loaded == [(tmp_path / "Wan2.1_VAE.pth", device)]
    a, b = noise(0, 36, 48), noise(1, 36, 48)  # cut to whole cells of eight pixels
    assert encode(a).shape == (1, 16, 1, 4, 6)
    mean = torch.tensor(CONFIG.latent_mean)[:3]
    std = torch.tensor(CONFIG.latent_std)[:3]
    first = torch.from_numpy(a[:8, :8].mean((0, 1))).float() / 127.5 - 1
    assert torch.allclose(encode(a)[0, :3, 0, 0, 0], (first - mean) / std, atol=1e-5)
    assert latent_distance(encode(a), encode(a)) == 0.0
    assert latent_distance(encode(a), encode(b)) > 0.01
