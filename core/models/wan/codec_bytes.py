"""Memory of the codec, known from its shapes before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.elements import WIDE_BYTES, Element
from core.errors import InputError
from core.models.wan.codec_tiles import TILE_OVERLAP, cut_tiles
from core.models.wan.vae_config import VaeConfig
from core.models.wan.vae_layout import (
    KEPT_FRAMES,
    VaeLayer,
    decoder_layers,
    encoder_layers,
    num_parameters,
)


@dataclass(frozen=True, kw_only=True)
class CodecBytes:
    """Bytes of the codec for one video.

    Attributes:
        parameters: Weights of encoder and decoder.
        decoder_cache: What the decoder remembers between pushes, over all tiles. Exact.
        largest_tile_cache: The largest tile's part: all that is on the device if caches are kept on the host.
        encoder_cache: What the encoder remembers between pushes; freed once a picture's latents are steady.
            Exact.
        decode_step: Estimate of the tensors alive beside weights and caches at the peak of decoding one
            latent frame of the largest tile. Within 1% of the count of live tensors in float32 and bfloat16,
            from 64x64 to 832x480. What convolution kernels allocate for themselves comes on top.
        encode_step: Upper estimate of the same for encoding, which is never tiled.
    """

    parameters: int
    decoder_cache: int
    largest_tile_cache: int
    encoder_cache: int
    decode_step: int
    encode_step: int


def codec_bytes(
    config: VaeConfig,
    height_px: int,
    width_px: int,
    dtype: Element,
    *,
    tile: tuple[int, int] | None = None,
    tile_overlap: int = TILE_OVERLAP,
) -> CodecBytes:
    """Bytes of the codec at a picture size.

    Args:
        config: Sizes of the autoencoder.
        height_px: Of the video; a whole number of latent cells.
        width_px: Likewise.
        dtype: Of weights and computation.
        tile: Latent rows and columns of a tile; None for the whole latent.
        tile_overlap: Latent cells that neighbouring tiles share.

    Raises:
        InputError: The size is no whole number of cells, or the tile is too small for its overlap.
    """
    stride, element = config.spatial_stride, dtype.itemsize
    if height_px % stride or width_px % stride or min(height_px, width_px) < stride:
        raise InputError(
            f"pictures of {width_px}x{height_px} do not divide into cells of {stride} pixels",
            where="codec",
            hint=f"make both sides multiples of {stride}",
        )
    tiles = cut_tiles(height_px // stride, width_px // stride, tile, tile_overlap)
    sizes = [((t.rows.stop - t.rows.start) * stride, (t.cols.stop - t.cols.start) * stride) for t in tiles]
    caches = [_cache_elements(decoder_layers(config), height, width) * element for height, width in sizes]
    return CodecBytes(
        parameters=num_parameters(config) * element,
        decoder_cache=sum(caches),
        largest_tile_cache=max(caches),
        encoder_cache=_cache_elements(encoder_layers(config), height_px, width_px) * element,
        decode_step=max(_step_bytes(config, height, width, element) for height, width in sizes),
        encode_step=_step_bytes(config, height_px, width_px, element),
    )


def _cache_elements(layers: Iterable[VaeLayer], height: int, width: int) -> int:
    return sum(
        layer.kept_frames * layer.shape[1] * (height // layer.scale) * (width // layer.scale)
        for layer in layers
    )


def _step_bytes(config: VaeConfig, height: int, width: int, element: int) -> int:
    """The peak lies in a residual block at full resolution, before a convolution or in a normalisation.

    Before a convolution: the block's input, its branch before and after the activation, the branch with the
    kept frames before it, the same with a border, and the frames kept for the next step. In a normalisation:
    the first three and two copies in float32, in which it computes.
    """
    frames, channels = config.temporal_stride, config.widths[0]
    area, bordered = height * width, (height + 2) * (width + 2)
    convolution = (4 * frames + 2 * KEPT_FRAMES) * area + (frames + KEPT_FRAMES) * bordered
    normalisation = 3 * frames * area * element + 2 * frames * area * WIDE_BYTES
    return channels * max(convolution * element, normalisation)
