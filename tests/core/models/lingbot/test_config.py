"""The released network's sizes, from the shapes of its tensors."""

import json
from pathlib import Path

import pytest
import torch

from core.errors import ModelFilesError
from core.models.checkpoint.sizes import Recorded
from core.models.lingbot.config import infer_config, read_recorded
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from tests.golden_lingbot import MANIFEST, network

Shapes = dict[str, tuple[int, ...]]
RELEASED = WanConfig(
    dim=5120,
    ffn_dim=13824,
    num_heads=40,
    num_layers=40,
    in_channels=36,
    out_channels=16,
    freq_dim=256,
    text_dim=4096,
    text_tokens=512,
    camera_features=1536,
    camera_injection="after_attention",
)


def released() -> Shapes:
    """Every tensor of the released checkpoint."""
    told = MANIFEST["checkpoint"]["transformer"]
    shapes = {name: tuple(shape) for name, shape in told["top_level"].items()}
    for block in range(told["num_blocks"]):
        prefix = told["per_block_prefix"].format(N=block)
        shapes |= {prefix + name: tuple(shape) for name, shape in told["per_block"].items()}
    return shapes


def tiny() -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in network().state_dict().items()}


def refusal(shapes: Shapes, recorded: Recorded | None = None) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as caught:
        infer_config(shapes, recorded, where="index.json")
    assert caught.value.hint
    return caught.value


def test_the_released_checkpoint() -> None:
    shapes = released()
    config = infer_config(shapes)
    assert config == RELEASED
    assert len(shapes) == 1421
    assert config.num_parameters == 18_544_332_864
    with torch.device("meta"):
        ours = WanNetwork(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == shapes


def test_heads_that_shapes_do_not_tell() -> None:
    golden = network().config
    assert infer_config(tiny(), Recorded(num_heads=4, text_tokens=8)) == golden
    assert infer_config(tiny(), Recorded(head_dim=32)).num_heads == 4
    assert infer_config(tiny()).num_heads == 1, "128 is the width of a released head"
    assert infer_config(tiny()).text_tokens == 512


@pytest.mark.parametrize(
    ("recorded", "problem"),
    [
        (Recorded(Path("config.json"), num_heads=3), "3 heads do not make the width 128"),
        (Recorded(Path("config.json"), num_heads=128), "128 heads do not make the width 128"),
        (Recorded(Path("config.json"), num_heads=256), "256 heads do not make the width 128"),
        (
            Recorded(Path("config.json"), num_heads=4, head_dim=128),
            "4 heads of 128 do not make the width 128",
        ),
        (Recorded(Path("config.json"), head_dim=48), "2 heads of 48 do not make the width 128"),
        (Recorded(Path("config.json"), head_dim=256), "0 heads of 256 do not make the width 128"),
    ],
)
def test_heads_that_contradict_the_tensors(recorded: Recorded, problem: str) -> None:
    told = refusal(tiny(), recorded)
    assert problem in told.problem
    assert told.where == "config.json"


def test_a_narrow_network_must_say_its_heads() -> None:
    with torch.device("meta"):
        narrow = WanNetwork(WanConfig(**{**RELEASED.__dict__, "dim": 96, "num_heads": 4, "num_layers": 1}))
    shapes = {name: tuple(tensor.shape) for name, tensor in narrow.state_dict().items()}
    assert "width 96 is no multiple of 128" in refusal(shapes).problem
    assert infer_config(shapes, Recorded(num_heads=4)) == narrow.config


def test_another_prefix_of_the_same_tensors_is_nothing_known() -> None:
    assert "none of LingBot's tensors" in refusal({f"net.{name}": s for name, s in tiny().items()}).problem


def changed(**shapes: tuple[int, ...] | None) -> Shapes:
    """The tiny network with some shapes replaced; None removes. Dots are written as __."""
    renamed = {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in (tiny() | renamed).items() if shape is not None}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (changed(patch_embedding_wancamctrl__weight=None), "high_noise_model"),
        (changed(patch_embedding_wancamctrl__weight=(128, 7 * 64 * 4)), "steered by actions"),
        (changed(patch_embedding_wancamctrl__weight=(128, 100)), "takes 100 features"),
        (changed(patch_embedding_wancamctrl__weight=(128,)), "no weights of LingBot"),
        (changed(blocks__0__action_model__mouse_mlp__0__weight=(8, 8)), "keys and mouse"),
        (changed(img_emb__proj__0__bias=(8,)), "CLIP"),
        (changed(condition_embedder__time_embedder__linear_1__weight=(8, 8)), "names of diffusers"),
        (changed(patch_embedding__weight=(128, 16, 1, 2, 2)), "its input has 16 channels, not the 36"),
        (changed(patch_embedding__weight=(128, 36, 1, 4, 4)), "patch_embedding.weight is [128, 36, 1, 4, 4]"),
        (changed(head__head__weight=(64,)), "head.head.weight [64]"),
        ({"a": (1,)}, "none of LingBot's tensors"),
        ({}, "none of LingBot's tensors"),
    ],
)
def test_checkpoints_of_something_else_are_refused_with_the_reason(shapes: Shapes, reason: str) -> None:
    told = refusal(shapes)
    assert told.problem.startswith("these are no weights of LingBot-World-Fast: ")
    assert reason in told.problem
    assert told.where == "index.json"


def test_an_incomplete_checkpoint_is_no_other_model() -> None:
    told = refusal(changed(head__head__weight=None, patch_embedding_wancamctrl__weight=None))
    told_missing = "head.head.weight, patch_embedding_wancamctrl.weight"
    assert told.problem == f"tensors that tell the network's size are missing: {told_missing}"
    gap = {name: shape for name, shape in released().items() if not name.startswith("blocks.7.")}
    assert refusal(gap).problem == "39 blocks are there, but none is blocks.7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Recorded()),
        ("", Recorded()),
        ("{}", Recorded()),
        ('{"dim": 5120, "num_heads": null}', Recorded()),
        ('{"num_heads": 40, "text_len": 256, "eps": 1e-6}', Recorded(num_heads=40, text_tokens=256)),
        ('{"num_attention_heads": 40, "attention_head_dim": 128}', Recorded(num_heads=40, head_dim=128)),
    ],
)
def test_what_config_json_may_say(tmp_path: Path, text: str | None, expected: Recorded) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    told = read_recorded(tmp_path)
    assert (told.num_heads, told.head_dim, told.text_tokens) == (
        expected.num_heads,
        expected.head_dim,
        expected.text_tokens,
    )
    assert told.path == (None if text is None else tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "config.json cannot be read"),
        (b"[]", "config.json cannot be read"),
        (b"\xff\xfe", "config.json cannot be read"),
        (json.dumps({"num_heads": 0}).encode(), "num_heads must be a number from 1, got 0"),
        (json.dumps({"text_len": "512"}).encode(), "text_len must be a number from 1, got '512'"),
        (json.dumps({"num_heads": True}).encode(), "num_heads must be a number from 1, got True"),
        (json.dumps({"eps": 1e-5}).encode(), "eps is 1e-05, but LingBot's norms have 1e-06"),
    ],
)
def test_what_config_json_may_not_say(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelFilesError) as caught:
        read_recorded(tmp_path)
    assert caught.value.problem == problem
    assert caught.value.where == str(tmp_path / "config.json")
