"""Sizes of a UMT5 text encoder, and what it costs in memory: numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Shape of a UMT5 encoder.

    Attributes:
        vocab_tokens: Rows of the token embedding; the tokenizer may use fewer.
        dim: Width of the residual stream, and of what the world model gets.
        num_heads: Attention heads.
        head_dim: Width of a head; heads times width need not be `dim`.
        ffn_dim: Hidden width of the gated feed-forward layers.
        num_layers: Transformer blocks.
        num_buckets: Rows of every layer's table of relative positions.
        max_distance: Tokens from which on all distances share the last bucket.
        eps: Of the RMS norms.
    """

    vocab_tokens: int
    dim: int
    num_heads: int
    head_dim: int
    ffn_dim: int
    num_layers: int
    num_buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6

    def shapes(self) -> dict[str, Shape]:
        """Every tensor of the official file with its shape."""
        inner = self.num_heads * self.head_dim
        block = {
            "norm1": (self.dim,),
            "attn.q": (inner, self.dim),
            "attn.k": (inner, self.dim),
            "attn.v": (inner, self.dim),
            "attn.o": (self.dim, inner),
            "pos_embedding.embedding": (self.num_buckets, self.num_heads),
            "norm2": (self.dim,),
            "ffn.gate.0": (self.ffn_dim, self.dim),
            "ffn.fc1": (self.ffn_dim, self.dim),
            "ffn.fc2": (self.dim, self.ffn_dim),
        }
        shapes: dict[str, Shape] = {"token_embedding.weight": (self.vocab_tokens, self.dim)}
        for layer in range(self.num_layers):
            shapes |= {f"blocks.{layer}.{name}.weight": shape for name, shape in block.items()}
        return shapes | {"norm.weight": (self.dim,)}

    @property
    def num_parameters(self) -> int:
        """Parameters of the encoder, counted from its shape."""
        return sum(prod(shape) for shape in self.shapes().values())


UMT5_XXL = TextConfig(vocab_tokens=256384, dim=4096, num_heads=64, head_dim=64, ffn_dim=10240, num_layers=24)
"""The encoder of `models_t5_umt5-xxl-enc-bf16.pth`: 5,680,910,336 parameters."""


@dataclass(frozen=True, kw_only=True)
class TextBytes:
    """What encoding a prompt takes; all of it is free again before the rollout starts.

    Attributes:
        parameters: Bytes of the weights, on the device that encodes.
        working: Bytes beside them at the peak of a forward pass: an upper estimate.
    """

    parameters: int
    working: int

    @property
    def total(self) -> int:
        """Peak while a prompt is encoded."""
        return self.parameters + self.working


def text_bytes(config: TextConfig = UMT5_XXL, *, element_bytes: int = 2, max_tokens: int = 512) -> TextBytes:
    """Memory of encoding one prompt, without weights.

    Args:
        config: The encoder.
        element_bytes: Of one weight (2 for bfloat16, 4 for float32).
        max_tokens: Length to which a prompt is padded.
    """
    # At the peak a layer holds the position bias and the scores, once more the scores and their softmax (in
    # float32 before transformers 5), and beside them the residual stream with queries, keys and values, or
    # three activations of the feed-forward layer.
    scores = config.num_heads * max_tokens**2
    hidden = 3 * max_tokens * config.ffn_dim
    stream = 6 * max_tokens * max(config.dim, config.num_heads * config.head_dim)
    working = scores * (2 * element_bytes + 2 * 4) + hidden * element_bytes + stream * 4
    return TextBytes(parameters=config.num_parameters * element_bytes, working=working)
