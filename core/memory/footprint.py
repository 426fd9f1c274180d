"""What a model costs in memory, known from its shapes alone."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Shapes and bytes of a model's keys and values.

    Attributes:
        num_layers: Transformer layers that cache keys and values.
        num_heads: Attention heads of a layer.
        head_dim: Width of a head.
        grid: Rows and columns of tokens of a latent frame.
        chunk_frames: Latent frames denoised together.
        kv_element_bytes: Bytes of one cached number (2 for bfloat16, 4 for float32).
        parameter_bytes: Bytes of all weights that stay loaded.
    """

    num_layers: int
    num_heads: int
    head_dim: int
    grid: tuple[int, int]
    chunk_frames: int = 3
    kv_element_bytes: int
    parameter_bytes: int

    def __post_init__(self) -> None:
        sizes = (self.num_layers, self.num_heads, self.head_dim, *self.grid, self.chunk_frames)
        if min(sizes) < 1 or self.kv_element_bytes < 1 or self.parameter_bytes < 0:
            raise InputError(
                f"a footprint needs positive sizes, got {self}",
                where="footprint",
                hint="take the footprint from the model instead of writing it by hand",
            )

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of a latent frame."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens of a whole chunk."""
        return self.tokens_per_frame * self.chunk_frames

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the key and the value of one token, over all layers."""
        return 2 * self.num_layers * self.num_heads * self.head_dim * self.kv_element_bytes
