"""What the files of a Wan VAE hold: its sizes, and whether all tensors are there, without reading one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights, open_weights
from core.models.tensors import check_shapes
from core.models.wan.vae_config import WAN_LATENT_MEAN, WAN_VAE, VaeConfig
from core.models.wan.vae_keys import diffusers_key
from core.models.wan.vae_layout import Shape, tensor_shapes

CONFIG_FILE = "config.json"
_HINT = "needed: Wan2.1_VAE.pth, or the vae folder of a Wan 2.1 model in diffusers' layout"
_DOWNSAMPLE = re.compile(r"^encoder\.downsamples\.(\d+)\.(\w+)\.")
_ARCHITECTURE: Mapping[str, Any] = {
    "_class_name": "AutoencoderKLWan",
    "decoder_base_dim": None,
    "in_channels": 3,
    "out_channels": 3,
    "attn_scales": [],
    "is_residual": False,
    "patch_size": None,
}
"""Settings of diffusers' class that make it the Wan 2.1 VAE; a configuration may leave them out."""


@dataclass(frozen=True)
class VaeFiles:
    """A Wan VAE on disk, complete and of the right shapes.

    Attributes:
        layout: `official` is the original authors' one file, `diffusers` a folder with a configuration.
        config: Its sizes.
        weights: Where its tensors lie, under the names of the layout.
    """

    layout: Literal["official", "diffusers"]
    config: VaeConfig
    weights: Weights

    @property
    def num_tensors(self) -> int:
        """Tensors in the files."""
        return len(self.weights.tensors)

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors."""
        return self.weights.num_parameters

    @property
    def dtype(self) -> str:
        """Element types on disk, the one with the most bytes first."""
        return ", ".join(self.weights.dtypes)

    def network_key(self, name: str) -> str:
        """The network's name for a tensor of the files."""
        if self.layout == "diffusers":
            return name
        return diffusers_key(name, num_res_blocks=self.config.num_res_blocks)


def check_vae_files(path: Path) -> VaeFiles:
    """Look whether a VAE is all there, from headers alone.

    Args:
        path: The official `.pth`, or a folder with config.json and safetensors.

    Raises:
        ModelFilesError: Something is missing, unreadable, mis-shaped or of another kind of codec.
    """
    weights = open_weights(path)
    if path.is_dir():
        config = _read_config(path / CONFIG_FILE)
        expected = {
            diffusers_key(name, num_res_blocks=config.num_res_blocks): shape
            for name, shape in tensor_shapes(config).items()
        }
        files = VaeFiles("diffusers", config, weights)
    else:
        config = infer_config(weights.shapes, where=str(path))
        expected, files = tensor_shapes(config), VaeFiles("official", config, weights)
    check_shapes(expected, weights.shapes, where=str(weights.source), hint=_HINT)
    return files


def infer_config(shapes: Mapping[str, Shape], *, where: str) -> VaeConfig:
    """Sizes of the VAE from the tensors of the official layout.

    Args:
        shapes: Of all tensors.
        where: The file.

    Raises:
        ModelFilesError: Tensors that the sizes are read from are missing, or their sizes make no VAE.
    """
    base_dim = _size(shapes, "encoder.conv1.weight", where)
    z_dim = _size(shapes, "conv2.weight", where)
    if z_dim != len(WAN_LATENT_MEAN):
        raise _not_wan(f"it has {z_dim} latent channels, not {len(WAN_LATENT_MEAN)}", where)
    widths, blocks, temporal = _encoder_stages(shapes, where)
    if any(width % base_dim for width in widths):
        raise _not_wan(f"its stages have {widths} channels, no multiples of {base_dim}", where)
    return VaeConfig(
        base_dim=base_dim,
        z_dim=z_dim,
        dim_mult=tuple(width // base_dim for width in widths),
        num_res_blocks=blocks,
        temporal_downsample=tuple(temporal),
    )


def _encoder_stages(shapes: Mapping[str, Shape], where: str) -> tuple[list[int], int, list[bool]]:
    """Channels of every stage, residual blocks of the first, and which steps halve the frame rate."""
    parts: dict[int, set[str]] = {}
    for name in shapes:
        if found := _DOWNSAMPLE.match(name):
            parts.setdefault(int(found[1]), set()).add(found[2])
    steps = [index for index in sorted(parts) if "resample" in parts[index]]
    if not steps or max(parts) != len(parts) - 1 or len(parts) - 1 in steps or 0 in steps:
        raise _not_wan("encoder.downsamples is not a row of stages", where)
    last_blocks = [*(step - 1 for step in steps), max(parts)]
    widths = [_size(shapes, f"encoder.downsamples.{last}.residual.6.weight", where) for last in last_blocks]
    return widths, steps[0], ["time_conv" in parts[step] for step in steps]


def _size(shapes: Mapping[str, Shape], name: str, where: str) -> int:
    """Output channels of a layer."""
    if not shapes.get(name):
        raise _not_wan(f"missing {name}", where)
    return shapes[name][0]


def _read_config(path: Path) -> VaeConfig:
    try:
        settings: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelFilesError("the codec's configuration is missing", where=str(path), hint=_HINT) from None
    except (OSError, ValueError) as error:
        problem = f"the codec's configuration cannot be read: {error}"
        raise ModelFilesError(problem, where=str(path), hint=_HINT) from None
    if not isinstance(settings, dict):
        raise _not_wan("its configuration is no table of settings", str(path))
    if settings.get("decoder_base_dim") == settings.get("base_dim", WAN_VAE.base_dim):
        settings.pop("decoder_base_dim")
    for name, value in _ARCHITECTURE.items():
        if settings.get(name, value) != value:
            raise _not_wan(f"{name} is {settings[name]!r}, not {value!r}", str(path))
    return _config_of(settings, str(path))


def _config_of(settings: Mapping[str, Any], where: str) -> VaeConfig:
    default = WAN_VAE
    try:
        return VaeConfig(
            base_dim=int(settings.get("base_dim", default.base_dim)),
            z_dim=int(settings.get("z_dim", default.z_dim)),
            dim_mult=tuple(int(mult) for mult in settings.get("dim_mult", default.dim_mult)),
            num_res_blocks=int(settings.get("num_res_blocks", default.num_res_blocks)),
            # diffusers' spelling
            temporal_downsample=tuple(
                bool(step) for step in settings.get("temperal_downsample", default.temporal_downsample)
            ),
            latent_mean=tuple(float(mean) for mean in settings.get("latents_mean", default.latent_mean)),
            latent_std=tuple(float(std) for std in settings.get("latents_std", default.latent_std)),
        )
    except (TypeError, ValueError) as error:
        raise _not_wan(f"its configuration does not fit: {error}", where) from None
    except ModelFilesError as error:
        raise _not_wan(error.problem, where) from None


def _not_wan(reason: str, where: str) -> ModelFilesError:
    return ModelFilesError(f"this is no Wan 2.1 VAE: {reason}", where=where, hint=_HINT)
