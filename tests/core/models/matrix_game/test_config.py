"""Variants and sizes of the released networks, from the shapes of their tensors."""

import math
from pathlib import Path

import pytest

from core.errors import InputError, ModelFilesError
from core.models.checkpoint.sizes import Recorded
from core.models.matrix_game.actions import KEYS, WINDOW_ROWS
from core.models.matrix_game.config import (
    ACTION_WINDOW_FRAMES,
    DEFAULT_VARIANT,
    VARIANTS,
    find_variant,
    infer_config,
    infer_variant,
)
from core.models.wan.config import ActionConfig, WanConfig
from tests.golden_matrix_game import MANIFEST, network_config
from tests.tiny_matrix_game import PREFIX, released_shapes, shapes_of, unused_names

Shapes = dict[str, tuple[int, ...]]
NAMES = [variant.name for variant in VARIANTS]
ACTION = "blocks.0.action_model"


def released(variant: str) -> Shapes:
    """Every tensor of the released checkpoint by the network's names, unused ones included."""
    return {name.removeprefix(PREFIX): shape for name, shape in released_shapes(variant).items()}


def tiny(variant: str = "universal") -> Shapes:
    return shapes_of(network_config(variant))


def changed(shapes: Shapes | None = None, **changes: tuple[int, ...] | None) -> Shapes:
    """The tiny network with some shapes replaced; None removes. Dots are written as __."""
    renamed = {name.replace("__", "."): shape for name, shape in changes.items()}
    shapes = (tiny() if shapes is None else shapes) | renamed
    return {name: shape for name, shape in shapes.items() if shape is not None}


def refusal(shapes: Shapes, variant: str = "universal", recorded: Recorded | None = None) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as caught:
        infer_config(shapes, find_variant(variant), recorded or Recorded(num_heads=4), where="a.safetensors")
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_variants_are_the_released_ones(name: str) -> None:
    variant, told = find_variant(name), MANIFEST["checkpoint"]["variants"][name]
    first, last = told["action_blocks"]
    assert (variant.file, variant.keyboard_dim, variant.mouse) == (
        told["file"],
        told["keyboard_dim"],
        told["mouse"],
    )
    assert variant.window_frames == told["local_attn_size"]
    assert list(variant.denoising_steps) == told["denoising_steps"]
    assert variant.action_layers == tuple(range(first, last + 1))
    assert len(KEYS[name]) == variant.keyboard_dim


def test_actions_are_windowed_as_the_networks_are_built() -> None:
    assert list(KEYS) == NAMES
    assert ACTION_WINDOW_FRAMES == WINDOW_ROWS
    assert DEFAULT_VARIANT == "universal"


def test_unknown_variants() -> None:
    with pytest.raises(InputError) as caught:
        find_variant("gta-drive")
    told = caught.value
    assert (told.problem, told.where) == ("matrix-game has no variant 'gta-drive'", "--variant")
    assert told.hint == "did you mean gta_drive? known: universal, gta_drive, templerun"


@pytest.mark.parametrize(
    ("name", "num_tensors", "num_parameters"),
    [
        ("universal", 1114, 1_619_242_304),
        ("gta_drive", 1114, 1_619_238_464),
        ("templerun", 964, 1_508_715_584),
    ],
)
def test_the_released_checkpoints(name: str, num_tensors: int, num_parameters: int) -> None:
    shapes, variant = released(name), find_variant(name)
    assert len(shapes) == num_tensors
    assert sum(map(math.prod, shapes.values())) == num_parameters
    assert infer_variant(shapes) == variant
    config = infer_config(shapes, variant)
    assert config == WanConfig(
        dim=1536,
        ffn_dim=8960,
        num_heads=12,
        num_layers=30,
        in_channels=36,
        out_channels=16,
        freq_dim=256,
        image_dim=1280,
        actions=ActionConfig(
            layers=tuple(range(15)),
            num_heads=16,
            head_dim=64,
            keyboard_dim=variant.keyboard_dim,
            keyboard_embedding=128,
            mouse=variant.mouse,
            window_frames=12,
        ),
    )
    unused = unused_names(config)
    assert all(shapes[each] == (64,) for each in unused)
    assert config.num_parameters == num_parameters - 64 * len(unused)
    assert shapes_of(config) == {each: s for each, s in shapes.items() if each not in set(unused)}


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_networks(name: str) -> None:
    variant = find_variant(name)
    assert infer_config(tiny(name), variant, Recorded(num_heads=4)) == network_config(name)
    assert infer_config(tiny(name), variant).num_heads == 1, "128 is the width of a released head"


def test_heads_that_contradict_the_tensors() -> None:
    told = refusal(tiny(), recorded=Recorded(Path("config.json"), num_heads=3))
    assert (told.problem, told.where) == ("3 heads do not make the width 128 of the tensors", "config.json")


@pytest.mark.parametrize("asked", NAMES)
@pytest.mark.parametrize("there", NAMES)
def test_another_variant_is_refused_with_the_flag_that_takes_it(asked: str, there: str) -> None:
    if asked == there:
        assert infer_config(released(there), find_variant(asked)).num_layers == 30
        return
    told = refusal(released(there), asked)
    assert told.hint == f"--variant {there}"
    if (asked, there) == ("universal", "templerun"):
        assert told.problem == (
            "these are weights of matrix-game's variant templerun (7 keys and no mouse), "
            "not of universal (4 keys and a mouse)"
        )


@pytest.mark.parametrize("keys", [4, 6])
def test_base_model_is_refused_whatever_its_keyboard(keys: int) -> None:
    shapes = released("foundation")
    assert len(shapes) == 1399
    shapes |= {each: (128, keys) for each in shapes if each.endswith("keyboard_embed.0.weight")}
    told = refusal(shapes)
    assert "action modules are in all 30 blocks, as in base_model, which is not distilled" in told.problem
    assert told.hint == "give the folder that holds base_distilled_model/base_distill.safetensors"


def lingbot() -> Shapes:
    return {
        "patch_embedding.weight": (5120, 36, 1, 2, 2),
        "text_embedding.0.weight": (5120, 4096),
        "patch_embedding_wancamctrl.weight": (5120, 1536),
        "blocks.0.ffn.0.weight": (13824, 5120),
    }


def no_actions() -> Shapes:
    return {name: shape for name, shape in tiny().items() if "action_model" not in name}


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (lingbot(), "steered by cameras, such as LingBot's"),
        (changed(lingbot(), patch_embedding_wancamctrl__weight=None), "steered by text, such as Wan's own"),
        (changed(condition_embedder__time_embedder__linear_1__weight=(8, 8)), "names of diffusers"),
        (changed(transformer_blocks__0__a=(8,)), "some other diffusion transformer"),
        (no_actions(), "no action modules"),
        (changed(**{f"{ACTION}.keyboard_embed.0.weight": (16, 6)}), "6 keys and a mouse, as no variant is"),
        (changed(**{f"{ACTION}.keyboard_embed.0.weight": (16,)}), "keyboard_embed.0.weight is [16]"),
        (changed(**{f"{ACTION}.keyboard_attn_kv.weight": (256, 160)}), "160 features of keys"),
        (changed(**{f"{ACTION}.mouse_attn_q.weight": (96, 128)}), "96 wide"),
        (changed(patch_embedding__weight=(128, 16, 1, 2, 2)), "its input has 16 channels, not the 36"),
        (changed(patch_embedding__weight=(128, 36, 1, 4, 4)), "patch_embedding.weight is [128, 36, 1, 4, 4]"),
        (changed(head__head__weight=(64,)), "head.head.weight is [64]"),
        ({"a": (1,)}, "none of its tensors is there"),
        ({}, "none of its tensors is there"),
    ],
)
def test_checkpoints_of_something_else_are_refused_with_the_reason(shapes: Shapes, reason: str) -> None:
    told = refusal(shapes)
    assert told.problem.startswith("these are no weights of Matrix-Game-2.0: ")
    assert reason in told.problem
    assert told.where == "a.safetensors"


def test_lingbot_is_told_by_its_flag() -> None:
    assert refusal(lingbot()).hint == "try --model lingbot"


def without(shapes: Shapes, *beginnings: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(beginnings)}


def test_incomplete_checkpoints_are_no_other_model() -> None:
    told = refusal(changed(head__head__weight=None))
    assert told.problem == "tensors that tell the network's size are missing: head.head.weight"
    told = refusal(without(released("universal"), "blocks.7."))
    assert told.problem == "29 blocks are there, but none is blocks.7"
    told = refusal(without(released("universal"), "blocks.14.action_model."))
    assert told.problem == "action modules are not in the first 15 of 30 blocks: blocks.14 has none"
    more = released("universal") | {"blocks.20.action_model.t_qkv.weight": (3072, 1024)}
    assert refusal(more).problem.endswith("blocks.20 has one")
    gap = {each: s for each, s in tiny().items() if not each.startswith("blocks.1.action")}
    gap |= {"blocks.2.action_model.t_qkv.weight": (384, 128)}
    assert refusal(gap).problem == "action modules are not in the first 2 of 3 blocks: blocks.1 has none"
