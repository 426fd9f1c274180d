import pytest
import torch

from core.errors import InputError
from core.models.wan.network import WanNetwork
from core.profiling.sizes import LINGBOT, MATRIX_GAME, model_sizes


def test_released_sizes() -> None:
    """Of the model cards: 18.5 and 1.6 billion parameters."""
    assert LINGBOT.num_parameters == pytest.approx(18.5e9, rel=0.01)
    assert MATRIX_GAME.num_parameters == pytest.approx(1.6e9, rel=0.15)
    full = model_sizes("lingbot")
    assert (full.network, full.frame_size) == (LINGBOT, (832, 480))
    assert model_sizes("lingbot-v2") == full


@pytest.mark.parametrize("model", ["lingbot", "matrix-game"])
@pytest.mark.parametrize("scale", [0.01, 0.1, 0.5])
def test_share_of_a_model_can_be_built(model: str, scale: float) -> None:
    sizes, full = model_sizes(model, scale), model_sizes(model)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in WanNetwork(sizes.network).parameters())
    assert parameters == sizes.network.num_parameters < full.network.num_parameters
    assert sizes.network.head_dim == 128
    area, whole = (size[0] * size[1] for size in (sizes.frame_size, full.frame_size))
    assert all(side % 16 == 0 and side >= 64 for side in sizes.frame_size)
    if scale >= 0.1:
        assert area / whole == pytest.approx(scale, rel=0.15)


def test_what_cannot_be_scaled() -> None:
    with pytest.raises(InputError, match="mini has its weights in the package"):
        model_sizes("mini")
    with pytest.raises(InputError, match=r"scale must lie in \(0, 1\], got 1.5"):
        model_sizes("lingbot", 1.5)
