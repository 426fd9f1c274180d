"""Names, shapes and counts of the text encoder, against the manifest of the real one."""

import re

import pytest

from core.errors import ModelFilesError
from core.models.wan.text import text_bytes
from core.models.wan.text_config import UMT5_XXL
from core.models.wan.text_keys import TIED_KEY, infer_config, official_key, transformers_key
from tests.golden_lingbot import MANIFEST
from tests.tiny_text import TINY

REAL = MANIFEST["checkpoint"]["text_encoder"]


def manifest_map() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Official key -> transformers' key and full-size shape, for all 242 tensors."""
    table = dict(REAL["top_level"])
    ours, theirs = REAL["per_block_prefix"]
    for block in range(REAL["num_blocks"]):
        for key, (name, shape) in REAL["per_block"].items():
            table[ours.format(N=block) + key] = (theirs.format(N=block) + name, shape)
    return {key: (name, tuple(shape)) for key, (name, shape) in table.items()}


def test_the_rules_are_the_manifests_map() -> None:
    table = manifest_map()
    assert len(table) == REAL["tensors"] == 242
    assert {key: transformers_key(key) for key in table} == {key: name for key, (name, _) in table.items()}
    assert [official_key(transformers_key(key)) for key in table] == list(table)
    assert official_key(TIED_KEY) == "token_embedding.weight"


@pytest.mark.parametrize("key", ["blocks.0.attn.x.weight", "norm.bias", "shared", "blocks.0.norm1.bias"])
def test_other_names_stay(key: str) -> None:
    assert transformers_key(key) == key
    assert official_key(key) == key


def test_shapes_of_the_real_encoder() -> None:
    shapes = {key: shape for key, (_, shape) in manifest_map().items()}
    assert UMT5_XXL.shapes() == shapes
    assert infer_config(shapes, where="here") == UMT5_XXL
    assert UMT5_XXL.num_parameters == REAL["parameters"] == 5_680_910_336


def test_bytes_of_the_real_encoder() -> None:
    cost = text_bytes(element_bytes=2)
    assert cost.parameters == 2 * 5_680_910_336
    assert 0.1e9 < cost.working < 0.3e9
    assert cost.total == cost.parameters + cost.working
    assert text_bytes(element_bytes=4).parameters == 2 * cost.parameters


def test_tiny_sizes_are_inferred_too() -> None:
    assert infer_config(TINY.shapes(), where="here") == TINY


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"token_embedding.weight": None}, r"token_embedding\.weight .*shared\.weight\) is missing"),
        ({"token_embedding.weight": (7,)}, r"token_embedding\.weight .*is \[7\], not a matrix"),
        ({"blocks.0.attn.q.weight": (33, 32)}, "width 33 does not split into 4 heads"),
    ],
)
def test_what_is_no_encoder_is_named(change: dict, problem: str) -> None:
    shapes = {key: shape for key, shape in (TINY.shapes() | change).items() if shape is not None}
    with pytest.raises(ModelFilesError) as error:
        infer_config(shapes, where="weights.pth")
    assert re.search(problem, error.value.problem)
    assert error.value.where == "weights.pth"
