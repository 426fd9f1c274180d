"""First pictures: cropped around the middle to the shape of the video, then scaled."""

import numpy as np
import pytest
import torch

from core.models.matrix_game.crop import crop_note, kept_part
from core.models.matrix_game.pictures import cropped

SIZE = (640, 352)


@pytest.mark.parametrize(
    ("shape", "size", "kept"),
    [
        ((352, 640), SIZE, (352, 640)),
        ((720, 1280), SIZE, (704, 1280)),
        ((1280, 720), SIZE, (396, 720)),
        ((300, 3000), SIZE, (300, 545)),
        ((1000, 1), SIZE, (1, 1)),
        ((1, 1000), SIZE, (1, 1)),
        ((64, 96), (64, 64), (64, 64)),
    ],
)
def test_what_is_kept(shape: tuple[int, int], size: tuple[int, int], kept: tuple[int, int]) -> None:
    assert kept_part(*shape, size) == kept
    picture = np.full((1, *shape, 3), 51, np.uint8)
    ours = cropped(picture, size)
    assert ours.shape == (1, 3, size[1], size[0])
    torch.testing.assert_close(ours, torch.full_like(ours, -0.6))


def test_the_right_shape_is_left_alone() -> None:
    picture = np.random.RandomState(0).randint(0, 256, (2, 352, 640, 3)).astype(np.uint8)
    picture.flags.writeable = False
    expected = torch.from_numpy(picture.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert torch.equal(cropped(picture, SIZE), expected)


@pytest.mark.parametrize("wide", [True, False])
def test_the_middle_is_kept(wide: bool) -> None:
    """Red left and right (or above and below) of what has the video's shape."""
    picture = np.zeros((1, 64, 192, 3) if wide else (1, 192, 64, 3), np.uint8)
    picture[..., 0] = 255
    inside = picture[:, :, 48:144] if wide else picture[:, 75:117]
    inside[:] = 128
    size = (96, 64)
    assert (
        (kept_part(*picture.shape[1:3], size) == (64, 96)) if wide else kept_part(192, 64, size) == (42, 64)
    )
    assert cropped(picture, size).sub(128 / 127.5 - 1).abs().max() < 1e-5


def test_overshoot_is_cut_and_small_detail_is_averaged() -> None:
    """A checkerboard of single pixels turns grey when it shrinks, and edges stay within -1..1."""
    board = np.indices((352, 640)).sum(0) % 2 * 255
    grey = cropped(np.repeat(board[None, :, :, None], 3, -1).astype(np.uint8), (64, 64))
    assert grey.abs().max() < 0.05
    edge = np.zeros((1, 16, 16, 3), np.uint8)
    edge[:, :, 8:] = 255
    scaled = cropped(edge, (64, 64))
    assert (scaled.min(), scaled.max()) == (-1, 1)


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((352, 640), None),
        ((1080, 1920), None),  # 16:9 loses two rows in a hundred
        (
            (1280, 720),
            "of the picture of 720x1280 only the middle 720x396 is used, which has the shape of 640x352",
        ),
    ],
)
def test_large_losses_are_told(shape: tuple[int, int], note: str | None) -> None:
    assert crop_note(*shape, SIZE) == note
