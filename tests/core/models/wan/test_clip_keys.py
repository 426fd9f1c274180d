"""Names, shapes and counts of the image tower, against the manifest of the real one."""

import pytest

from core.errors import ModelFilesError
from core.models.wan.clip import CLIP_VIT_H, ClipConfig, clip_bytes
from core.models.wan.clip_keys import infer_config, transformers_keys, transformers_shapes
from tests.golden_matrix_game import MANIFEST
from tests.tiny_clip import TINY

REAL = MANIFEST["checkpoint"]["clip"]
HEAD = 1280 * 1024  # `visual.head` of the released file, which the manifest counts and nobody needs


def manifest_map() -> dict[str, tuple[list[str], tuple[int, ...]]]:
    """Official key -> transformers' keys and the official full-size shape, for all blocks."""
    prefix = REAL["key_prefix"]
    table = {prefix + key: entry for key, entry in REAL["top_level"].items()}
    ours, theirs = REAL["per_block_prefix"]
    for block in range(REAL["num_blocks"]):
        for key, (names, shape) in REAL["per_block"].items():
            names = names if isinstance(names, list) else [names]
            table[prefix + ours.format(N=block) + key] = ([theirs.format(N=block) + n for n in names], shape)
    return {
        key: (names if isinstance(names, list) else [names], tuple(shape))
        for key, (names, shape) in table.items()
    }


def test_the_rules_are_the_manifests_map() -> None:
    table = manifest_map()
    assert len(table) == 7 + 32 * 12
    assert {key: list(transformers_keys(key)) for key in table} == {key: n for key, (n, _) in table.items()}


@pytest.mark.parametrize(
    "key", ["visual.head", "log_scale", "visual.pre_norm", "visual.transformer.0.x.weight"]
)
def test_other_names_stay(key: str) -> None:
    assert transformers_keys(key) == (key,)


def test_shapes_of_the_real_tower() -> None:
    shapes = {key: shape for key, (_, shape) in manifest_map().items()}
    assert CLIP_VIT_H.shapes() == shapes
    assert infer_config(shapes, where="here") == CLIP_VIT_H
    assert CLIP_VIT_H.num_parameters + HEAD == REAL["parameters"] == 632_076_800
    assert CLIP_VIT_H.used_layers == REAL["blocks_used"]
    assert CLIP_VIT_H.num_tokens == 257


def test_shapes_are_those_of_the_library() -> None:
    from core.models.wan.clip_encoder import empty_encoder

    config = ClipConfig(dim=12, num_heads=3, mlp_dim=7, num_layers=4, image_px=10, patch_px=5)
    network = empty_encoder(config).state_dict()
    theirs = {name.removeprefix("vision_model."): tuple(t.shape) for name, t in network.items()}
    ours = transformers_shapes(config.shapes())
    assert theirs == {name: shape for name, shape in ours.items() if not name.startswith("encoder.layers.3.")}


def test_bytes_of_the_real_tower() -> None:
    cost = clip_bytes()
    block = 2 * (4 * 1280**2 + 2 * 1280 * 5120 + 9 * 1280 + 5120)
    assert cost.parameters == 2 * 630_766_080 - block
    assert cost.total == cost.parameters + cost.working
    assert 5e6 < cost.working < 20e6
    assert clip_bytes(element_bytes=4).parameters == 2 * cost.parameters


def test_tiny_sizes_are_inferred_too() -> None:
    assert infer_config(TINY.shapes(), where="here", num_heads=TINY.num_heads) == TINY


PATCHES, POSITIONS = "visual.patch_embedding.weight", "visual.pos_embedding"


@pytest.mark.parametrize(
    ("change", "num_heads", "problem"),
    [
        ({PATCHES: None}, 4, f"{PATCHES} is missing"),
        ({PATCHES: (64, 588)}, 4, f"{PATCHES} has shape [64, 588], not 4 axes"),
        ({POSITIONS: (1, 7, 64)}, 4, f"{POSITIONS} has 7 rows, which is not one more than a square"),
        ({"visual.transformer.0.mlp.0.weight": None}, 4, "visual.transformer.0.mlp.0.weight is missing"),
        ({}, None, "its width 64 does not split into heads of 80"),
        ({}, 5, "width 64 does not split into 5 heads"),
        ({PATCHES: (64, 3, 0, 0)}, 4, "sizes must be positive"),
    ],
)
def test_what_is_no_tower_is_named(change: dict, num_heads: int | None, problem: str) -> None:
    shapes = {key: shape for key, shape in (TINY.shapes() | change).items() if shape is not None}
    with pytest.raises(ModelFilesError) as error:
        infer_config(shapes, where="weights.pth", num_heads=num_heads)
    assert problem in error.value.problem
    assert error.value.problem.startswith("this is no CLIP image tower")
    assert error.value.where == "weights.pth"


def test_one_block_has_none_before_the_last() -> None:
    shapes = {key: shape for key, shape in TINY.shapes().items() if ".1." not in key and ".2." not in key}
    with pytest.raises(ModelFilesError, match="last but one block is wanted, but there are 1"):
        infer_config(shapes, where="here", num_heads=4)
