"""What distinguishes one causal Wan network from another: numbers, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.errors import ModelFilesError

CameraInjection = Literal["none", "after_attention", "before_attention"]


@dataclass(frozen=True, kw_only=True)
class ActionConfig:
    """Shape of the action modules of a network that is steered by keyboard and mouse.

    Attributes:
        layers: Blocks that have one, ascending.
        num_heads: Heads of the action attention.
        head_dim: Width of such a head.
        keyboard_dim: Keys.
        keyboard_embedding: Width of an embedded video frame of keys.
        mouse: Whether there is a mouse.
        window_frames: Video frames of actions that a latent frame sees.
    """

    layers: tuple[int, ...]
    num_heads: int
    head_dim: int
    keyboard_dim: int
    keyboard_embedding: int
    mouse: bool
    window_frames: int = 12

    @property
    def hidden(self) -> int:
        """Width of the action attention."""
        return self.num_heads * self.head_dim

    def num_parameters(self, dim: int) -> int:
        """Parameters of one module in a network of width `dim`."""
        embedding, hidden = self.keyboard_embedding, self.hidden
        keyboard = self.keyboard_dim * embedding + embedding + embedding * embedding + embedding
        keyboard += dim * hidden + self.window_frames * embedding * 2 * hidden + hidden * dim
        if not self.mouse:
            return keyboard
        mlp = (dim + 2 * self.window_frames) * hidden + hidden + hidden * hidden + hidden + 2 * hidden
        return keyboard + mlp + 3 * hidden * hidden + hidden * dim


@dataclass(frozen=True, kw_only=True)
class WanConfig:
    """Shape of a causal Wan diffusion transformer.

    Attributes:
        dim: Width of the residual stream.
        ffn_dim: Hidden width of the feed-forward layers.
        num_heads: Attention heads; `dim` is a multiple.
        num_layers: Transformer blocks.
        in_channels: Latent channels plus condition channels of the input.
        out_channels: Latent channels of the predicted flow.
        freq_dim: Width of the sinusoidal time embedding; even.
        text_dim: Width of the text encoder's tokens; 0 turns text cross-attention off.
        text_tokens: Length to which the text is padded with zero rows before it is embedded.
        image_dim: Width of the image encoder's tokens, to which cross-attention goes instead of to text; 0
            for none.
        camera_features: Camera features of one token (all pixels or cells of its patch); 0 for none.
        camera_injection: Where a block adds the camera. LingBot does so after self-attention; before it, the
            first layer's queries and keys already know their viewing rays.
        actions: Action modules; None for none.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_channels: int
    out_channels: int
    freq_dim: int = 256
    text_dim: int = 0
    text_tokens: int = 512
    image_dim: int = 0
    camera_features: int = 0
    camera_injection: CameraInjection = "none"
    actions: ActionConfig | None = None

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ModelFilesError(
                f"width {self.dim} does not split into {self.num_heads} heads of even size",
                where="network configuration",
            )
        if (self.camera_features > 0) != (self.camera_injection != "none"):
            raise ModelFilesError(
                f"camera_features is {self.camera_features} but camera_injection is {self.camera_injection}",
                where="network configuration",
                hint="a camera needs both, no camera needs neither",
            )

        if self.text_dim and self.image_dim:
            raise ModelFilesError(
                "cross-attention goes to text or to a picture, not to both", where="network configuration"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.num_heads

    @property
    def has_context(self) -> bool:
        """Whether blocks have cross-attention."""
        return self.text_dim > 0 or self.image_dim > 0

    @property
    def num_parameters(self) -> int:
        """Parameters of the network, counted from its shape: known for a 14B model without a tensor."""
        d = self.dim
        square = d * d + d  # a linear layer of full width
        attention = 4 * square + 2 * d
        block = 6 * d + attention + (d * self.ffn_dim + self.ffn_dim) + (self.ffn_dim * d + d)
        shared = (4 * self.in_channels * d + d) + (self.freq_dim * d + d) + square + 6 * square
        shared += 2 * d + 4 * self.out_channels * (d + 1)
        if self.camera_features:
            block += 4 * square
            shared += self.camera_features * d + d + 2 * square
        if self.has_context:
            block += attention + 2 * d
        if self.text_dim:
            shared += self.text_dim * d + d + square
        if self.image_dim:
            image = self.image_dim
            shared += 2 * image + image * image + image + image * d + d + 2 * d
        if self.actions is not None:
            shared += len(self.actions.layers) * self.actions.num_parameters(d)
        return shared + self.num_layers * block
