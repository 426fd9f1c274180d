"""LPIPS, where its weights lie on the disk already: nothing is ever fetched.

The network's convolutions come from torchvision's file of AlexNet, the calibration from the small file that
torchmetrics ships; neither package is imported.

Source: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, AlexNet,
version 0.1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from core.errors import ModelFilesError

if TYPE_CHECKING:
    from torch import Tensor

EXTRA_HINT = 'pip install "worldkv[lpips]"'
BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
_CALIBRATION = ("functional", "image", "lpips_models", "alex.pth")  # inside torchmetrics
_LEAST_SIDE_PX = 64
"""Smaller frames are enlarged: the metric was fitted on patches of 64 pixels."""

# Convolutions of AlexNet: index in torchvision's file, stride, padding, whether pooling comes before.
_LAYERS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of colours in -1..1
_TINY = 1e-8


@dataclass(frozen=True)
class LpipsFiles:
    """What LPIPS is made of.

    Attributes:
        backbone: torchvision's AlexNet.
        calibration: Weights of its channels.
    """

    backbone: Path
    calibration: Path


def weights_folder() -> Path:
    """Where torchvision keeps what it has fetched."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return home / "hub" / "checkpoints"


def find_lpips() -> LpipsFiles:
    """The files, if they are there.

    Raises:
        ModelFilesError: A package is missing, or the network's weights are not on the disk.
    """
    spec = find_spec("torchmetrics")
    if spec is None or not spec.submodule_search_locations:
        raise ModelFilesError("LPIPS needs the package torchmetrics", where="torchmetrics", hint=EXTRA_HINT)
    calibration = Path(spec.submodule_search_locations[0]).joinpath(*_CALIBRATION)
    if not calibration.is_file():
        raise ModelFilesError(
            "torchmetrics has no calibration of LPIPS", where=str(calibration), hint=EXTRA_HINT
        )
    backbone = weights_folder() / BACKBONE_FILE
    if not backbone.is_file():
        raise ModelFilesError(
            "LPIPS needs the weights of AlexNet, which are not on the disk",
            where=str(backbone),
            hint="put torchvision's file there; nothing is fetched",
        )
    return LpipsFiles(backbone, calibration)


class Lpips:
    """Perceptual distance of two frames; 0 is equal.

    Args:
        files: Its weights.

    Raises:
        ModelFilesError: They are damaged or of another network.
    """

    def __init__(self, files: LpipsFiles) -> None:
        network, calibration = _read(files.backbone), _read(files.calibration)
        indices = [layer[0] for layer in _LAYERS]
        names = [(f"features.{i}.weight", f"features.{i}.bias") for i in indices]
        self._convolutions = [
            (_taken(network, weight, files.backbone), _taken(network, bias, files.backbone))
            for weight, bias in names
        ]
        self._channels = [
            _taken(calibration, f"lin{i}.model.1.weight", files.calibration) for i in range(len(_LAYERS))
        ]

    def distance(
        self, a: UInt8[np.ndarray, "height width 3"], b: UInt8[np.ndarray, "height width 3"]
    ) -> float:
        """Distance of two frames; small ones are enlarged to at least 64 pixels."""
        import torch
        from torch.nn import functional

        pictures = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 127.5 - 1
        factor = -(-_LEAST_SIDE_PX // min(a.shape[:2]))
        with torch.inference_mode():
            if factor > 1:
                pictures = functional.interpolate(pictures, scale_factor=factor, mode="bilinear")
            mean, spread = (torch.tensor(v)[:, None, None] for v in (_MEAN, _SPREAD))
            features = (pictures - mean) / spread
            total = 0.0
            for (_, stride, padding, pooled), (weight, bias), channels in zip(
                _LAYERS, self._convolutions, self._channels, strict=True
            ):
                if pooled:
                    features = functional.max_pool2d(features, 3, 2)
                features = functional.conv2d(features, weight, bias, stride=stride, padding=padding).relu()
                unit = features / (features.square().sum(1, keepdim=True) + _TINY).sqrt()
                apart = (unit[:1] - unit[1:]).square()
                total += float(functional.conv2d(apart, channels).mean())
        return total


def _read(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelFilesError(f"LPIPS cannot read its weights: {first_line}", where=str(path)) from None
    return tensors


def _taken(tensors: dict[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise ModelFilesError(f"the weights of LPIPS have no {name}", where=str(path))
    return tensors[name].float()
