"""Loading."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import ModelFilesError
from core.models.wan.codec import StreamingDecoder, StreamingEncoder
from core.models.wan.vae import load_vae
from tests.golden_lingbot import frozen
from tests.tiny_vae import CPU, diffusers_config, golden_video, write_vae


@pytest.mark.parametrize("layout", ["diffusers", "sharded"])
def test_both_layouts_are_the_same_vae(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("nothing may be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    official = load_vae(write_vae(tmp_path / "Wan2.1_VAE.pth"), device=CPU)
    folder = load_vae(write_vae(tmp_path / "vae", layout), device=CPU)
    assert folder.config == official.config
    video, latents = golden_video(), frozen("unit.vae.z")
    assert torch.equal(StreamingEncoder(folder).push(video), StreamingEncoder(official).push(video))
    ours, theirs = (StreamingDecoder(vae).push(latents) for vae in (folder, official))
    assert (ours == theirs).all()


def test_facts_of_a_loaded_vae(tmp_path: Path) -> None:
    vae = load_vae(write_vae(tmp_path / "vae.pth"), device=CPU, dtype=torch.bfloat16)
    assert (vae.latent_channels, vae.temporal_stride, vae.spatial_stride) == (16, 4, 8)
    assert (vae.device, vae.dtype, vae.mean.dtype) == (CPU, torch.bfloat16, torch.float32)
    tensors = list(vae.network.parameters())
    assert vae.parameter_bytes == 2 * sum(tensor.numel() for tensor in tensors)
    assert not any(tensor.requires_grad for tensor in tensors)
    assert not vae.network.training


def test_weights_do_not_depend_on_the_file_afterwards(tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vae.pth")
    vae = load_vae(path, device=CPU)
    before = StreamingEncoder(vae).push(golden_video())
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(StreamingEncoder(vae).push(golden_video()), before)


def test_statistics_of_a_folder_normalise(tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vae", "diffusers")
    plain = {"latents_mean": [0.0] * 16, "latents_std": [1.0] * 16}
    usual = load_vae(path, device=CPU)
    (path / "config.json").write_text(json.dumps(diffusers_config(**plain)))
    raw = StreamingEncoder(load_vae(path, device=CPU)).push(golden_video())
    assert torch.equal((raw - usual.mean) / usual.std, StreamingEncoder(usual).push(golden_video()))


def test_diffusers_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_vae(tmp_path / "vae.pth")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ModelFilesError) as error:
        load_vae(path, device=CPU)
    assert error.value.hint == 'pip install "worldkv[wan]"'


@pytest.mark.slow  # imports diffusers afresh
def test_loading_is_quiet_and_importing_is_light(tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vae.pth")
    code = (
        "import logging, sys, torch; from pathlib import Path\n"
        "import core.models.wan.codec_condition, core.models.wan.codec_bytes, core.models.wan.vae as vae\n"
        "assert 'diffusers' not in sys.modules\n"
        f"vae.load_vae(Path({str(path)!r}), device=torch.device('cpu'))\n"
        "assert logging.root.manager.disable == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
