"""Sizes of a CLIP image tower, and what it costs in memory: numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from core.errors import ModelFilesError

Shape = tuple[int, ...]

HEAD_DIM = 80
"""Width of a head in the released tower; the official file does not tell how many heads there are."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Shape of a CLIP vision transformer with pre-norm blocks and exact GELU.

    Attributes:
        dim: Width of the residual stream, and of what the world model gets.
        num_heads: Attention heads.
        mlp_dim: Hidden width of the feed-forward layers.
        num_layers: Transformer blocks in the files; the last one is not run.
        image_px: Side of the square picture that the tower sees.
        patch_px: Side of a patch.
        eps: Of the layer norms.
    """

    dim: int
    num_heads: int
    mlp_dim: int
    num_layers: int
    image_px: int = 224
    patch_px: int = 14
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if min(self.dim, self.num_heads, self.mlp_dim, self.image_px, self.patch_px) < 1:
            raise _impossible(f"sizes must be positive, got {self}")
        if self.num_layers < 2:
            raise _impossible(f"the last but one block is wanted, but there are {self.num_layers}")
        if self.dim % self.num_heads:
            raise _impossible(f"width {self.dim} does not split into {self.num_heads} heads")
        if self.image_px % self.patch_px:
            raise _impossible(f"{self.image_px} pixels do not split into patches of {self.patch_px}")

    @property
    def num_tokens(self) -> int:
        """Tokens of a picture: the class token and one a patch."""
        return 1 + (self.image_px // self.patch_px) ** 2

    @property
    def used_layers(self) -> int:
        """Blocks that are loaded and run."""
        return self.num_layers - 1

    def shapes(self) -> dict[str, Shape]:
        """Every tensor of the official image tower with its shape, but for the unused `visual.head`."""
        shapes: dict[str, Shape] = {
            "visual.cls_embedding": (1, 1, self.dim),
            "visual.pos_embedding": (1, self.num_tokens, self.dim),
            "visual.patch_embedding.weight": (self.dim, 3, self.patch_px, self.patch_px),
        }
        for layer in range(self.num_layers):
            shapes |= {f"visual.transformer.{layer}.{name}": shape for name, shape in self._block().items()}
        norms = {f"visual.{norm}.{part}" for norm in ("pre_norm", "post_norm") for part in ("weight", "bias")}
        return shapes | dict.fromkeys(sorted(norms), (self.dim,))

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors in `shapes`."""
        return sum(prod(shape) for shape in self.shapes().values())

    @property
    def used_parameters(self) -> int:
        """Elements of those that are loaded: all but the last block's."""
        return self.num_parameters - sum(prod(shape) for shape in self._block().values())

    def _block(self) -> dict[str, Shape]:
        outputs_inputs = {
            "attn.to_qkv": (3 * self.dim, self.dim),
            "attn.proj": (self.dim, self.dim),
            "mlp.0": (self.mlp_dim, self.dim),
            "mlp.2": (self.dim, self.mlp_dim),
        }
        shapes: dict[str, Shape] = {f"{name}.weight": shape for name, shape in outputs_inputs.items()}
        shapes |= {f"{name}.bias": shape[:1] for name, shape in outputs_inputs.items()}
        return shapes | {
            f"{norm}.{part}": (self.dim,) for norm in ("norm1", "norm2") for part in ("weight", "bias")
        }


CLIP_VIT_H = ClipConfig(dim=1280, num_heads=16, mlp_dim=5120, num_layers=32)
"""The tower of `models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`: 630,766,080 parameters, no head."""


@dataclass(frozen=True, kw_only=True)
class ClipBytes:
    """What encoding a picture takes; all of it is free again before the rollout starts.

    Attributes:
        parameters: Bytes of the weights, on the device that encodes.
        working: Bytes beside them and the given picture at the peak: an upper estimate.
    """

    parameters: int
    working: int

    @property
    def total(self) -> int:
        """Peak while a picture is encoded."""
        return self.parameters + self.working


def clip_bytes(config: ClipConfig = CLIP_VIT_H, *, element_bytes: int = 2) -> ClipBytes:
    """Memory of encoding one picture, without weights.

    Args:
        config: The tower.
        element_bytes: Of one weight (2 for bfloat16, 4 for float32).
    """
    # At the peak a block holds four activations as wide as the residual stream (one more to spare), and
    # beside them queries, keys, values and attention's output, or two activations of the feed-forward layer.
    # Attention is fused: it holds no scores. The prepared picture lies there all the time, in float32 and in
    # the tower's precision; resizing it takes two more.
    stream = config.num_tokens * config.dim
    hidden = max(4 * stream, 2 * config.num_tokens * config.mlp_dim)
    pixels = 3 * config.image_px**2
    working = (5 * stream + hidden) * element_bytes + pixels * (3 * 4 + element_bytes)
    return ClipBytes(parameters=config.used_parameters * element_bytes, working=working)


def _impossible(problem: str) -> ModelFilesError:
    return ModelFilesError(problem, where="image tower's configuration")
