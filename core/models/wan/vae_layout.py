"""Every layer of a Wan VAE with its shapes and what streaming keeps of its input, in integers.

From this follow the names of the official checkpoint, the number of parameters and the bytes of the caches,
all without a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from core.models.wan.vae_config import VaeConfig

Shape = tuple[int, ...]

KEPT_FRAMES = 2
"""Frames of its input that a causal convolution over three frames remembers."""


@dataclass(frozen=True)
class VaeLayer:
    """A convolution or a gain.

    Attributes:
        name: Its name in the official checkpoint.
        shape: Of its weight: output channels, input channels, kernel.
        scale: Pixels that a cell of its input spans in both directions.
        kept_frames: Frames of its input that streaming keeps for the next step.
        is_gain: Whether it is the gain of a normalisation, which has no bias.
    """

    name: str
    shape: Shape
    scale: int = 1
    kept_frames: int = 0
    is_gain: bool = False

    @property
    def tensors(self) -> dict[str, Shape]:
        """Names and shapes of its tensors."""
        if self.is_gain:
            return {f"{self.name}.gamma": self.shape}
        return {f"{self.name}.weight": self.shape, f"{self.name}.bias": self.shape[:1]}


def tensor_shapes(config: VaeConfig) -> dict[str, Shape]:
    """Names and shapes of all tensors of the official checkpoint."""
    z = config.z_dim
    quant = _pointwise("conv1", 2 * z, 2 * z), _pointwise("conv2", z, z)
    layers = (*encoder_layers(config), *quant, *decoder_layers(config))
    return {name: shape for layer in layers for name, shape in layer.tensors.items()}


def num_parameters(config: VaeConfig) -> int:
    """Parameters of encoder and decoder."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def encoder_layers(config: VaeConfig) -> Iterator[VaeLayer]:
    """Layers of the encoder in the order in which they run."""
    name, scale, index = "encoder", 1, 0
    channels = config.base_dim
    yield _causal(f"{name}.conv1", 3, channels, scale)
    for stage, width in enumerate(config.widths):
        for _ in range(config.num_res_blocks):
            yield from _residual(f"{name}.downsamples.{index}", channels, width, scale)
            channels, index = width, index + 1
        if stage < len(config.temporal_downsample):
            down = f"{name}.downsamples.{index}"
            yield VaeLayer(f"{down}.resample.1", (width, width, 3, 3), scale)
            scale, index = 2 * scale, index + 1
            if config.temporal_downsample[stage]:  # it strides by two, so one frame is enough
                yield VaeLayer(f"{down}.time_conv", (width, width, 3, 1, 1), scale, kept_frames=1)
    yield from _middle(name, channels, scale)
    yield _gain(f"{name}.head.0", channels)
    yield _causal(f"{name}.head.2", channels, 2 * config.z_dim, scale)


def decoder_layers(config: VaeConfig) -> Iterator[VaeLayer]:
    """Layers of the decoder in the order in which they run."""
    name, scale, index = "decoder", config.spatial_stride, 0
    channels = config.widths[-1]
    yield _causal(f"{name}.conv1", config.z_dim, channels, scale)
    yield from _middle(name, channels, scale)
    steps = config.temporal_downsample[::-1]
    for stage, width in enumerate(config.widths[::-1]):
        for _ in range(config.num_res_blocks + 1):
            yield from _residual(f"{name}.upsamples.{index}", channels, width, scale)
            channels, index = width, index + 1
        if stage < len(steps):
            up = f"{name}.upsamples.{index}"
            if steps[stage]:
                kernel = (2 * width, width, 3, 1, 1)
                yield VaeLayer(f"{up}.time_conv", kernel, scale, kept_frames=KEPT_FRAMES)
            scale, index, channels = scale // 2, index + 1, width // 2
            yield VaeLayer(f"{up}.resample.1", (channels, width, 3, 3), scale)
    yield _gain(f"{name}.head.0", channels)
    yield _causal(f"{name}.head.2", channels, 3, scale)


def _middle(name: str, channels: int, scale: int) -> Iterator[VaeLayer]:
    yield from _residual(f"{name}.middle.0", channels, channels, scale)
    yield _gain(f"{name}.middle.1.norm", channels, axes=2)
    yield VaeLayer(f"{name}.middle.1.to_qkv", (3 * channels, channels, 1, 1), scale)
    yield VaeLayer(f"{name}.middle.1.proj", (channels, channels, 1, 1), scale)
    yield from _residual(f"{name}.middle.2", channels, channels, scale)


def _residual(name: str, channels: int, width: int, scale: int) -> Iterator[VaeLayer]:
    yield _gain(f"{name}.residual.0", channels)
    yield _causal(f"{name}.residual.2", channels, width, scale)
    yield _gain(f"{name}.residual.3", width)
    yield _causal(f"{name}.residual.6", width, width, scale)
    if channels != width:
        yield _pointwise(f"{name}.shortcut", channels, width)


def _causal(name: str, channels: int, width: int, scale: int) -> VaeLayer:
    return VaeLayer(name, (width, channels, 3, 3, 3), scale, kept_frames=KEPT_FRAMES)


def _pointwise(name: str, channels: int, width: int) -> VaeLayer:
    return VaeLayer(name, (width, channels, 1, 1, 1))


def _gain(name: str, channels: int, axes: int = 3) -> VaeLayer:
    return VaeLayer(name, (channels, *[1] * axes), is_gain=True)
