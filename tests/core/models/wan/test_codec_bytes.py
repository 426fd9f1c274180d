"""What the codec is said to take, against what its tensors take."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from core.errors import InputError
from core.models.wan.codec import StreamingDecoder, StreamingEncoder
from core.models.wan.codec_bytes import codec_bytes
from core.models.wan.vae import WanVae, empty_network
from core.models.wan.vae_cache import FeatureCache
from core.models.wan.vae_config import WAN_VAE, VaeConfig
from tests.tiny_vae import TINY, tiny_vae

META = torch.device("meta")


class LiveTensors(TorchDispatchMode):
    """Peak bytes of the tensors alive, from those given on."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak_bytes = 0
        self._note(given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._note([leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)])
        return out

    def _note(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._live.values()))


def shapes_alone(config: VaeConfig, dtype: torch.dtype) -> WanVae:
    """A VAE without data: at full size it costs nothing."""
    network = empty_network(config).to(dtype).eval()
    return WanVae.of(config, network.requires_grad_(requires_grad=False))


def third_step(vae: WanVae, h: int, w: int, part: str) -> tuple[int, int]:
    """Bytes of the cache, and of what else is alive at the peak of a step once all is remembered."""
    cache = FeatureCache()
    element = {"device": vae.device, "dtype": vae.dtype}

    def step() -> None:
        if part == "decoder":
            vae.decode_step(torch.zeros(1, 16, 1, h, w, **element), cache)
        else:
            vae.encode_step(torch.zeros(1, 3, 4 if cache.steps else 1, 8 * h, 8 * w, **element), cache)

    with torch.inference_mode():
        for _ in range(2):
            step()
        with LiveTensors([entry for entry in cache._entries if isinstance(entry, Tensor)]) as live:
            step()
    return cache.nbytes, live.peak_bytes - cache.nbytes


@pytest.mark.parametrize(("h", "w"), [(3, 4), (5, 2)])
def test_parameters_and_caches_are_exact(h: int, w: int) -> None:
    said = codec_bytes(TINY, 8 * h, 8 * w, torch.float32)
    assert said.parameters == tiny_vae().parameter_bytes
    encoder, decoder = StreamingEncoder(tiny_vae()), StreamingDecoder(tiny_vae())
    encoder.push(torch.zeros(1, 3, 9, 8 * h, 8 * w))
    decoder.push(torch.zeros(1, 16, 3, h, w))
    assert said.encoder_cache == encoder.cache.nbytes
    assert said.decoder_cache == said.largest_tile_cache == decoder.cache_bytes


def test_caches_of_tiles_are_exact() -> None:
    tile = {"tile": (5, 6), "tile_overlap": 2}
    said = codec_bytes(TINY, 64, 80, torch.bfloat16, **tile)
    decoder = StreamingDecoder(tiny_vae(torch.bfloat16), **tile)
    decoder.push(torch.zeros(1, 16, 3, 8, 10))
    assert said.decoder_cache == decoder.cache_bytes
    assert said.largest_tile_cache == codec_bytes(TINY, 40, 48, torch.bfloat16).decoder_cache
    assert said.largest_tile_cache < said.decoder_cache
    assert said.decode_step == codec_bytes(TINY, 40, 48, torch.bfloat16).decode_step < said.encode_step


def test_released_size() -> None:
    said = codec_bytes(WAN_VAE, 480, 832, torch.float32)
    assert said.decoder_cache == 4 * 944_286_720  # the golden data says about 0.95 G elements
    assert said.parameters == 4 * 126_892_531


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("config", "h", "w"), [(WAN_VAE, 60, 104), (WAN_VAE, 8, 8), (WAN_VAE, 44, 80)], ids=["480", "64", "352"]
)
def test_peak_of_a_step(config: VaeConfig, h: int, w: int, dtype: torch.dtype) -> None:
    said, vae = codec_bytes(config, 8 * h, 8 * w, dtype), shapes_alone(config, dtype)
    cache, step = third_step(vae, h, w, "decoder")
    assert cache == said.decoder_cache
    assert step == pytest.approx(said.decode_step, rel=0.01)
    cache, step = third_step(vae, h, w, "encoder")
    assert cache == said.encoder_cache
    assert 0.8 * said.encode_step < step <= said.encode_step


def test_peak_of_a_step_on_real_tensors() -> None:
    """That tensors without data live as long as those with data."""
    said = codec_bytes(TINY, 48, 64, torch.float32)
    _, step = third_step(tiny_vae(), 6, 8, "decoder")
    assert step == third_step(shapes_alone(TINY, torch.float32), 6, 8, "decoder")[1]
    assert step == pytest.approx(
        said.decode_step, rel=0.05
    )  # three colours are not nothing beside four channels


@pytest.mark.parametrize(("height", "width"), [(484, 832), (480, 0), (8, 12)])
def test_sizes_that_are_no_cells_are_refused(height: int, width: int) -> None:
    with pytest.raises(InputError, match="do not divide into cells of 8 pixels"):
        codec_bytes(WAN_VAE, height, width, torch.float32)


def test_parameters_count_every_tensor() -> None:
    network: nn.Module = shapes_alone(WAN_VAE, torch.bfloat16).network
    counted = sum(tensor.nbytes for tensor in network.parameters())
    assert codec_bytes(WAN_VAE, 64, 64, torch.bfloat16).parameters == counted
