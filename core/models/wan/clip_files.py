"""What the files of a CLIP image tower hold: its sizes, and whether they are whole, from headers alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights, open_weights
from core.models.tensors import check_shapes
from core.models.wan.clip_config import ClipConfig
from core.models.wan.clip_keys import (
    CLIP_HINT,
    NESTED_PREFIX,
    OFFICIAL_PREFIX,
    block_prefix,
    config_of,
    infer_config,
    not_clip,
    transformers_keys,
    transformers_shapes,
)

CONFIG_FILE = "config.json"
_HEAD = "visual.head"
_UNUSED = ("visual_projection.weight", "embeddings.position_ids")
"""What some versions of transformers store beside the tower, or in it although it follows from the sizes."""

_DIFFUSERS_PREFIXES = (NESTED_PREFIX, "embeddings.", "encoder.layers.")
_FIXED: Mapping[str, Any] = {"model_type": "clip_vision_model", "hidden_act": "gelu"}
_SIZES = {
    "hidden_size": "dim",
    "num_attention_heads": "num_heads",
    "intermediate_size": "mlp_dim",
    "num_hidden_layers": "num_layers",
    "image_size": "image_px",
    "patch_size": "patch_px",
}


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP image tower on disk, complete and of the right shapes.

    Attributes:
        layout: `official` is the original authors' one file, `diffusers` a folder with a configuration.
        config: Its sizes.
        weights: Where its tensors lie, under the names of the layout; what else the files hold is left out.
    """

    layout: Literal["official", "diffusers"]
    config: ClipConfig
    weights: Weights

    @property
    def num_tensors(self) -> int:
        """Tensors of the tower in the files."""
        return len(self.weights.tensors)

    @property
    def num_parameters(self) -> int:
        """Elements of these tensors."""
        return self.weights.num_parameters

    @property
    def dtype(self) -> str:
        """Element types on disk, the one with the most bytes first."""
        return ", ".join(self.weights.dtypes)

    @property
    def used(self) -> Weights:
        """The tensors that encoding needs: all but those of the last block."""
        last = block_prefix(self.config.num_layers - 1, official=self.layout == "official")
        return _only(self.weights, lambda name: not _bare(name).startswith(last))

    def network_keys(self, name: str) -> tuple[str, ...]:
        """The network's names, without `vision_model.`, for a tensor of the files and its equal parts."""
        return transformers_keys(name) if self.layout == "official" else (_bare(name),)


def check_clip_files(path: Path, *, num_heads: int | None = None) -> ClipFiles:
    """Look whether an image tower is all there, from headers alone.

    Args:
        path: The official `.pth`, whose text tower is not looked at, or a folder with config.json and
            safetensors.
        num_heads: Attention heads. None for what config.json says; a `.pth` has none, and heads of 80 are
            taken then.

    Raises:
        ModelFilesError: Something is missing, unreadable, mis-shaped or of another kind of network.
    """
    stored = open_weights(path)
    if any(name.startswith(_DIFFUSERS_PREFIXES) for name in stored.tensors):
        return _check_diffusers(stored, num_heads)
    where = str(stored.source)
    tower = _only(stored, lambda name: name.startswith(OFFICIAL_PREFIX) and name != _HEAD)
    config = infer_config(tower.shapes, num_heads=num_heads, where=where)
    check_shapes(config.shapes(), tower.shapes, where=where, hint=CLIP_HINT)
    return ClipFiles("official", config, tower)


def _check_diffusers(stored: Weights, num_heads: int | None) -> ClipFiles:
    path = stored.source.parent / CONFIG_FILE
    config = _said_config(_read_config(path), str(path))
    if num_heads not in (None, config.num_heads):
        raise not_clip(f"it has {config.num_heads} heads, not {num_heads}", str(path))
    prefix = NESTED_PREFIX if any(name.startswith(NESTED_PREFIX) for name in stored.tensors) else ""
    expected = {prefix + name: shape for name, shape in transformers_shapes(config.shapes()).items()}
    tower = _only(stored, lambda name: _bare(name) not in _UNUSED)
    check_shapes(expected, tower.shapes, where=str(stored.source), hint=CLIP_HINT)
    return ClipFiles("diffusers", config, tower)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        settings: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelFilesError(
            "the image tower's configuration is missing", where=str(path), hint=CLIP_HINT
        ) from None
    except (OSError, ValueError) as error:
        problem = f"the image tower's configuration cannot be read: {error}"
        raise ModelFilesError(problem, where=str(path), hint=CLIP_HINT) from None
    if not isinstance(settings, dict):
        raise not_clip("its configuration is no table of settings", str(path))
    return settings


def _said_config(settings: Mapping[str, Any], where: str) -> ClipConfig:
    lacking = [name for name in (*_FIXED, *_SIZES) if name not in settings]
    if lacking:
        raise not_clip(f"its configuration lacks {', '.join(lacking)}", where)
    for name, value in _FIXED.items():
        if settings[name] != value:
            raise not_clip(f"{name} is {settings[name]!r}, not {value!r}", where)
    try:
        sizes = {own: int(settings[name]) for name, own in _SIZES.items()}
        eps = float(settings.get("layer_norm_eps", 1e-5))
    except (TypeError, ValueError, OverflowError) as error:
        raise not_clip(f"its configuration does not fit: {error}", where) from None
    return config_of(sizes, where=where, eps=eps)


def _only(weights: Weights, wanted: Callable[[str], bool]) -> Weights:
    return replace(weights, tensors={name: each for name, each in weights.tensors.items() if wanted(name)})


def _bare(name: str) -> str:
    return name.removeprefix(NESTED_PREFIX)
