"""Operations are told apart by name and by who asked for them."""

import pytest
import torch

from core.models.wan import rope
from core.profiling.kinds import Place, kind_of, place_of


def test_lines_of_the_engine() -> None:
    assert place_of(rope.__file__, "apply") == Place("models/wan/rope", "apply")
    assert place_of(torch.__file__, "mm") is None
    assert place_of("core/models/wan/rope.py", "apply") is None  # of another project


@pytest.mark.parametrize(
    ("operation", "place", "kind"),
    [
        ("aten::addmm", ("models/wan/block", "forward"), "products"),
        ("aten::bmm", ("models/wan/layers", "attention"), "products"),
        ("aten::linear", ("models/wan/layers", "query"), "products"),
        ("aten::_softmax", ("models/wan/layers", "attention"), "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", None, "attention"),
        ("aten::linalg_vector_norm", ("models/wan/layers", "forward"), "norms"),
        ("aten::native_layer_norm", ("models/wan/layers", "modulated_norm"), "norms"),
        ("aten::mul", ("models/wan/layers", "forward"), "norms"),
        ("aten::gelu", ("models/wan/block", "forward"), "activations"),
        ("aten::addcmul", ("models/wan/block", "forward"), "residuals and modulation"),
        ("aten::copy_", ("models/wan/layers", "output"), "heads of attention"),
        ("aten::mul", ("models/wan/rope", "apply"), "RoPE"),
        ("aten::copy_", ("memory/window", "write"), "writing the window"),
        ("aten::index_put_", ("memory/bank", "store"), "bank"),
        ("aten::copy_", ("models/lingbot/camera", "path_features"), "conditioning"),
        ("aten::copy_", ("rollout", "rollout"), "rollout"),
        ("aten::copy_", None, "elsewhere"),
    ],
)
def test_kinds(operation: str, place: tuple[str, str] | None, kind: str) -> None:
    assert kind_of(operation, place and Place(*place)) == kind
