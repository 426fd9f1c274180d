"""Pictures to latents and back as they come, in memory that does not grow with the video."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.errors import InputError
from core.models.wan.codec_tiles import TILE_OVERLAP, Tile, cut_tiles
from core.models.wan.vae import WanVae
from core.models.wan.vae_cache import FeatureCache


class StreamingEncoder:
    """Encodes one video, push by push; the same latents bit by bit however it is cut.

    Args:
        vae: The autoencoder; it may serve others at the same time.
        watch: Whether to notice that nothing changes any more; see `FeatureCache`.
    """

    def __init__(self, vae: WanVae, *, watch: bool = False) -> None:
        self._vae = vae
        self.cache = FeatureCache(watch=watch)
        self._size: torch.Size | None = None

    @torch.no_grad()
    def push(
        self, pictures: Float[Tensor, "batch 3 frames height width"]
    ) -> Float[Tensor, "batch channels latent_frames h w"]:
        """Latents of the next pictures: normalised means of the posterior, in float32.

        Args:
            pictures: In -1..1. The first push takes one picture and any number of groups of four, later ones
                whole groups.

        Raises:
            InputError: Not whole latent frames, sides that are no whole cells, or another size than before.
        """
        self._check(pictures.shape)
        steps, group = [], self._vae.temporal_stride
        start = 0
        while start < pictures.shape[2]:
            stop = start + (group if self.cache.steps else 1)
            steps.append(self._vae.encode_step(pictures[:, :, start:stop], self.cache))
            start = stop
        return torch.cat(steps, dim=2)

    def _check(self, shape: torch.Size) -> None:
        batch, _, frames, height, width = shape
        stride, group = self._vae.spatial_stride, self._vae.temporal_stride
        if height % stride or width % stride or not height * width * batch:
            raise InputError(
                f"pictures of {width}x{height} do not divide into cells of {stride} pixels",
                where="pictures to encode",
                hint=f"make both sides multiples of {stride}",
            )
        later = frames if self.cache.steps else frames - 1
        if later % group or frames < 1:
            wanted = f"a multiple of {group}" if self.cache.steps else f"one more than a multiple of {group}"
            raise InputError(
                f"{frames} pictures are not whole latent frames",
                where="pictures to encode",
                hint=f"give {wanted}",
            )
        size = torch.Size((batch, height, width))
        if self._size not in (None, size):
            problem = f"batch, height and width were {_words(self._size)} and are now {_words(size)}"
            raise InputError(problem, where="pictures to encode", hint="use a fresh encoder for each video")
        self._size = size


class StreamingDecoder:
    """Decodes one video, chunk by chunk; see `core.models.base.Decoder`.

    Args:
        vae: The autoencoder; it may serve others at the same time.
        tile: Latent rows and columns that are decoded together at most, to save memory; None for all. The
            network looks at the whole of each frame once (attention at the lowest resolution), so tiles give
            slightly other pictures.
        tile_overlap: Latent cells that neighbouring tiles share and in which they are blended.
        tile_caches_on_host: Keep what the tiles remember in host memory while others are decoded.
    """

    def __init__(
        self,
        vae: WanVae,
        *,
        tile: tuple[int, int] | None = None,
        tile_overlap: int = TILE_OVERLAP,
        tile_caches_on_host: bool = False,
    ) -> None:
        self._vae, self._tile, self._overlap = vae, tile, tile_overlap
        self._on_host = tile_caches_on_host
        self.reset()

    def reset(self) -> None:
        """Forget the video and begin another."""
        self._size: torch.Size | None = None
        self._tiles: list[tuple[Tile, FeatureCache]] = []

    @property
    def cache_bytes(self) -> int:
        """Bytes of what is remembered between pushes."""
        return sum(cache.nbytes for _, cache in self._tiles)

    @torch.inference_mode()
    def push(
        self, latents: Float[Tensor, "batch channels frames h w"]
    ) -> UInt8[np.ndarray, "batch pictures height width 3"]:
        """Video frames of the next latents: one for the first, four for every later one.

        Raises:
            InputError: No latents, or of another shape than before.
        """
        levels = self.push_float(latents).mul(127.5).add(127.5).round().to(torch.uint8)
        frames: UInt8[np.ndarray, "batch pictures height width 3"]
        frames = levels.permute(0, 2, 3, 4, 1).contiguous().cpu().numpy()
        return frames

    @torch.inference_mode()
    def push_float(
        self, latents: Float[Tensor, "batch channels frames h w"]
    ) -> Float[Tensor, "batch 3 pictures height width"]:
        """The same in -1..1 and float32, on the autoencoder's device.

        Raises:
            InputError: No latents, or of another shape than before.
        """
        self._prepare(latents.shape)
        batch, _, frames, h, w = latents.shape
        first = self._tiles[0][1].steps == 0
        group, stride = self._vae.temporal_stride, self._vae.spatial_stride
        num_pictures = frames * group - (group - 1 if first else 0)
        canvas = torch.zeros(batch, 3, num_pictures, h * stride, w * stride, device=self._vae.device)
        for tile, cache in self._tiles:
            self._decode_tile(latents, tile, cache, canvas)
        return canvas.clamp_(-1.0, 1.0)

    def _decode_tile(self, latents: Tensor, tile: Tile, cache: FeatureCache, canvas: Tensor) -> None:
        """Add the share of one tile to the pictures."""
        device, stride = self._vae.device, self._vae.spatial_stride
        rows, cols = tile.rows.pixels(stride), tile.cols.pixels(stride)
        down, across = (torch.from_numpy(span.weights(stride)).to(device) for span in (tile.rows, tile.cols))
        weights = down[:, None] * across
        if self._on_host:
            cache.move(device)
        start = 0
        for index in range(latents.shape[2]):
            cells = latents[:, :, index : index + 1, tile.rows.cells, tile.cols.cells]
            pictures = self._vae.decode_step(cells, cache)
            stop = start + pictures.shape[2]
            canvas[:, :, start:stop, rows, cols] += pictures * weights
            start = stop
        if self._on_host:
            cache.move(torch.device("cpu"))

    def _prepare(self, shape: torch.Size) -> None:
        batch, channels, frames, h, w = shape
        if channels != self._vae.latent_channels or not batch * frames * h * w:
            raise InputError(
                f"latents of shape {list(shape)} cannot be decoded",
                where="latents to decode",
                hint=f"expected [batch, {self._vae.latent_channels}, frames, rows, columns]",
            )
        size = torch.Size((batch, h, w))
        if self._size is None:
            tiles = cut_tiles(h, w, self._tile, self._overlap)
            self._tiles = [(tile, FeatureCache()) for tile in tiles]
            self._size = size
        elif self._size != size:
            problem = f"batch, rows and columns were {_words(self._size)} and are now {_words(size)}"
            raise InputError(problem, where="latents to decode", hint="reset the decoder for each video")


def _words(size: torch.Size | None) -> str:
    return ", ".join(str(side) for side in size or ())
