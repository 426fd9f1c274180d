"""Networks of a few kilobytes with random weights, and one pass through them."""

import torch

from core.models.wan.config import WanConfig
from core.models.wan.layers import attention
from core.models.wan.network import WanNetwork

CPU = torch.device("cpu")
TINY = WanConfig(
    dim=32,
    ffn_dim=48,
    num_heads=2,
    num_layers=4,
    in_channels=4,
    out_channels=4,
    freq_dim=16,
    text_dim=12,
    text_tokens=5,
    camera_features=8,
    camera_injection="after_attention",
)


class Alone:
    """A cache without a past: tokens attend to each other, and layers are noted in turn."""

    def __init__(self) -> None:
        self.layers: list[int] = []

    def attend(self, layer, q, k, v):
        self.layers.append(layer)
        return attention(q, k, v)


def random_tensors(config: WanConfig, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a network, by name."""
    torch.manual_seed(seed)
    return {name: tensor.detach().clone() for name, tensor in WanNetwork(config).state_dict().items()}


def one_pass(network: WanNetwork, *, device: torch.device = CPU, tokens: int = 6) -> torch.Tensor:
    """Flow of fixed latents, with text and camera where the network takes them; every layer runs in turn."""
    config, generator = network.config, torch.Generator().manual_seed(1)
    dtype = network.patch_embedding.weight.dtype

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    cache = Alone()
    with torch.inference_mode():
        text = network.embed_text(draw(1, 3, config.text_dim)) if config.text_dim else None
        camera = (
            network.embed_camera(draw(1, 3, tokens, config.camera_features))
            if config.camera_features
            else None
        )
        latents = draw(1, config.in_channels, 3, 2, 2 * tokens)
        time = torch.full((1, 1), 500.0, device=device)
        flow: torch.Tensor = network(latents, time, cache=cache, camera=camera, context=text)
    assert cache.layers == list(range(config.num_layers))
    return flow.clone()
