"""Tiles cover the latent, blend to one, and are decoded as the whole is."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_tiles import cut_tiles
from tests.tiny_vae import fresh_vae, tiny_vae

SIZES = [
    (total, size, overlap)
    for total in range(1, 40)
    for overlap in range(5)
    for size in range(max(1, 2 * overlap), 16)
]


def latents(frames: int, h: int, w: int) -> torch.Tensor:
    return torch.randn(1, 16, frames, h, w, generator=torch.Generator().manual_seed(3))


def test_tiles_cover_with_the_overlap_asked_for() -> None:
    for total, size, overlap in SIZES:
        spans = [tile.cols for tile in cut_tiles(1, total, (1, size), overlap)]
        assert spans[0].start == 0
        assert spans[-1].stop == total
        assert max(span.stop - span.start for span in spans) <= size
        assert all(a.stop - b.start == overlap for a, b in pairwise(spans))
        assert len(spans) == (1 if size >= total else max(2, len(spans)))
        assert all(
            a.stop <= c.start for a, c in zip(spans, spans[2:], strict=False)
        )  # never three at a place


def test_no_more_tiles_than_needed() -> None:
    assert len(cut_tiles(60, 104, (60, 104))) == len(cut_tiles(60, 104, None)) == 1
    assert len(cut_tiles(60, 104, (34, 54))) == 2 * 2
    assert len(cut_tiles(60, 104, (34, 53))) == 2 * 3


def test_weights_sum_to_one_everywhere() -> None:
    stride = 8
    for rows, cols, tile, overlap in (
        (9, 13, (6, 5), 2),
        (7, 20, (7, 8), 4),
        (5, 5, None, 4),
        (4, 9, (1, 2), 0),
    ):
        total = torch.zeros(rows * stride, cols * stride)
        for part in cut_tiles(rows, cols, tile, overlap):
            weights = torch.from_numpy(part.rows.weights(stride)[:, None] * part.cols.weights(stride))
            assert weights.min() > 0
            total[part.rows.pixels(stride), part.cols.pixels(stride)] += weights
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("tile", [(7, 8), (8, 8), (3, 8), (0, 8)])
def test_tiles_smaller_than_their_overlaps_are_refused(tile: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="cannot share 4") as error:
        cut_tiles(20, 20, tile if tile != (8, 8) else (8, 7))
    assert "at least 8" in error.value.hint


def test_one_tile_is_the_whole() -> None:
    many = latents(4, 3, 4)
    whole = StreamingDecoder(tiny_vae()).push_float(many)
    for tile in ((3, 4), (50, 60)):
        assert torch.equal(StreamingDecoder(tiny_vae(), tile=tile).push_float(many), whole)


def test_tiles_stream_and_may_keep_their_caches_on_the_host() -> None:
    many = latents(5, 6, 7)
    settings = {"tile": (4, 5), "tile_overlap": 2}
    whole = StreamingDecoder(tiny_vae(), **settings).push(many)
    assert whole.shape == (1, 17, 48, 56, 3)
    for host in (False, True):
        decoder = StreamingDecoder(tiny_vae(), tile_caches_on_host=host, **settings)
        parts = np.concatenate([decoder.push(part) for part in many.split((1, 3, 1), dim=2)], axis=1)
        assert (parts == whole).all()


def test_where_a_tile_is_alone_it_equals_the_whole() -> None:
    """Without attention the decoder sees some 17 cells around; 18 shared ones make the rest exact."""
    vae = fresh_vae()
    overlap, size, cols = 18, 38, 58
    many = latents(3, 2, cols)
    tiled = {"tile": (2, size), "tile_overlap": overlap}
    inside = (slice(0, 8 * (size - overlap)), slice(8 * size, None))

    def differences() -> list[float]:
        whole = StreamingDecoder(vae).push_float(many)
        parts = StreamingDecoder(vae, **tiled).push_float(many)
        return [float((whole - parts)[..., columns].abs().max()) for columns in (*inside, slice(None))]

    assert min(differences()[:2]) > 1e-3  # attention looks at the whole frame
    attention = vae.network.decoder.mid_block.attentions[0].proj
    torch.nn.init.zeros_(attention.weight)
    torch.nn.init.zeros_(attention.bias)
    left, right, everywhere = differences()
    assert max(left, right) < 1e-5
    assert everywhere > 1e-4  # where tiles are blended, each lacks what lies beyond its border
