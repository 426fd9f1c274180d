"""Memory of a rollout's pictures: the codec, and what goes into it and comes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from core.elements import FLOAT32, WIDE_BYTES, Element
from core.models.wan.codec_bytes import CodecBytes, codec_bytes
from core.models.wan.vae_config import VaeConfig

SETTLED_FRAMES = 30
"""Latent frames after which those of a picture stay the same: so far back the encoder's convolutions see."""

COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class VideoBytes:
    """Bytes of whatever holds pictures.

    Attributes:
        vae: Sizes of the codec.
        size: Width and height of the video in pixels.
        decode_dtype: In which the codec decodes; it encodes in float32.
    """

    vae: VaeConfig
    size: tuple[int, int]
    decode_dtype: Element

    def decoding(self, tile: tuple[int, int] | None) -> CodecBytes:
        """Of the codec that decodes, in tiles or not."""
        return self._codec(self.decode_dtype, tile)

    @property
    def encoding(self) -> CodecBytes:
        """Of the codec that encodes."""
        return self._codec(FLOAT32, None)

    def decoder_held(self, tile: tuple[int, int] | None) -> int:
        """What stays on the device for decoding; caches of tiles lie on the host but for one."""
        codec = self.decoding(tile)
        return codec.parameters + (codec.decoder_cache if tile is None else codec.largest_tile_cache)

    @property
    def encoder_held(self) -> int:
        """What stays on the device beside that while a given clip is encoded as the rollout goes."""
        codec = self.encoding
        return codec.encoder_cache + (codec.parameters if self.decode_dtype.itemsize != WIDE_BYTES else 0)

    def tiles(self, tile: tuple[int, int]) -> bool:
        """Whether a tile of these latent rows and columns is smaller than the latent."""
        stride = self.vae.spatial_stride
        return self.size[1] // stride > tile[0] or self.size[0] // stride > tile[1]

    def latents(self, latent_frames: int) -> int:
        """Latents of some latent frames in float32."""
        width, height = self.size
        return latent_frames * self.vae.z_dim * (width * height // self.vae.spatial_stride**2) * WIDE_BYTES

    def picture_latents(self, num_frames: int) -> int:
        """Latents of the first picture until they stay the same, in a rollout of `num_frames`."""
        return self.latents(min(num_frames, SETTLED_FRAMES))

    def loading(self, num_frames: int) -> int:
        """Peak while the first picture is encoded, before the rollout."""
        codec = self.encoding
        held = codec.parameters + codec.encoder_cache + codec.encode_step
        return held + 2 * self.picture_latents(num_frames) + self.pictures(2)

    def pictures(self, latent_frames: int) -> int:
        """Pictures of some latent frames in float32."""
        width, height = self.size
        return latent_frames * self.vae.temporal_stride * COLOURS * width * height * WIDE_BYTES

    def _codec(self, dtype: Element, tile: tuple[int, int] | None) -> CodecBytes:
        return _codec_bytes(self.vae, self.size, dtype, tile)


@lru_cache(maxsize=16)
def _codec_bytes(
    vae: VaeConfig, size: tuple[int, int], dtype: Element, tile: tuple[int, int] | None
) -> CodecBytes:
    """The same for dozens of options."""
    return codec_bytes(vae, size[1], size[0], dtype, tile=tile)
