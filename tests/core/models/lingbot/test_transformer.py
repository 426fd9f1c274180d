from pathlib import Path

import pytest
import torch

from core.errors import ModelFilesError
from core.models.lingbot.transformer import load_transformer, open_transformer
from tests.golden_lingbot import network
from tests.tiny_lingbot import GOLDEN, TRANSFORMER, Layout, write_checkpoint

CPU = torch.device("cpu")


def write_golden(folder: Path, layout: Layout = "raw") -> Path:
    tensors = network().state_dict()
    write_checkpoint(folder, layout, config=GOLDEN, tensors=tensors, parts=("transformer",))
    return folder / TRANSFORMER[layout]


@pytest.mark.parametrize("layout", ["raw", "diffusers", "v2"])
def test_the_golden_network_comes_back(tmp_path: Path, layout: Layout) -> None:
    files = open_transformer(write_golden(tmp_path, layout))
    assert files.config == GOLDEN
    assert len(files.weights.files) == 16
    loaded = load_transformer(files, device=CPU, dtype=torch.float32)
    assert not loaded.training
    golden = network().state_dict()
    assert loaded.state_dict().keys() == golden.keys()
    assert all(torch.equal(tensor, golden[name]) for name, tensor in loaded.state_dict().items())


def test_precision_on_the_way_in(tmp_path: Path) -> None:
    files = open_transformer(write_golden(tmp_path))
    loaded = load_transformer(files, device=CPU, dtype=torch.bfloat16)
    golden = network().state_dict()
    assert all(torch.equal(tensor, golden[name].bfloat16()) for name, tensor in loaded.state_dict().items())


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = dict(network().state_dict())
    del tensors["blocks.1.cam_shift_layer.bias"]
    tensors["blocks.0.self_attn.q.weight"] = torch.zeros(128, 64)
    tensors["blocks.0.self_attn.extra"] = torch.zeros(1)
    write_checkpoint(tmp_path, config=GOLDEN, tensors=tensors, parts=("transformer",))
    with pytest.raises(ModelFilesError) as caught:
        open_transformer(tmp_path / "lingbot_world_fast")
    assert caught.value.problem == (
        "tensors do not fit the model: missing blocks.1.cam_shift_layer.bias; "
        "of wrong shape blocks.0.self_attn.q.weight is [128, 64], not [128, 128]; "
        "unknown blocks.0.self_attn.extra"
    )


def test_the_number_of_heads_is_needed(tmp_path: Path) -> None:
    folder = write_golden(tmp_path)
    (folder / "config.json").unlink()
    assert open_transformer(folder).config.num_heads == 1
    (folder / "config.json").write_text('{"num_heads": 3}')
    with pytest.raises(ModelFilesError, match="3 heads do not make the width 128"):
        open_transformer(folder)
