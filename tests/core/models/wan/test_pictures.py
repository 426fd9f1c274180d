"""First pictures and clips: read upright in colour, resized as the model was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.config import GenerateConfig
from core.errors import InputError
from core.models.wan.pictures import given_pictures, resize
from core.video.writer import Mp4Writer

RED = (200, 30, 10)


def given(num_frames: int = 0, **settings: object) -> np.ndarray:
    config = GenerateConfig.model_validate({"model": "lingbot", **settings})
    return given_pictures(config, num_frames).pictures


def cubic(t: float) -> float:
    """Weight of a neighbour at a distance, a = -0.75. Source: Keys 1981, as torch has it."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def naive_resize(picture: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Bicubic along one axis, corners not aligned, edges repeated, no antialiasing."""
    length = picture.shape[axis]
    rows = []
    for i in range(size):
        at = (i + 0.5) * length / size - 0.5
        near = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
        parts = [cubic(at - n) * picture.take(min(max(n, 0), length - 1), axis) for n in near]
        rows.append(sum(parts))
    return np.stack(rows, axis)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (16, 160)])
def test_bicubic_without_antialiasing_or_clamp(size: tuple[int, int]) -> None:
    picture = np.random.RandomState(0).choice([0, 255], (50, 70, 3)).astype(np.uint8)
    naive = naive_resize(naive_resize(picture / 127.5 - 1, size[1], 0), size[0], 1)
    ours = resize(picture[None], size)
    assert ours.shape == (1, 3, size[1], size[0])
    np.testing.assert_allclose(ours[0].permute(1, 2, 0), naive, atol=2e-5)
    assert ours.max() > 1.05  # what overshoots stays


def test_the_right_size_is_left_alone() -> None:
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    ours = resize(picture, (16, 16))
    assert torch.equal(ours, torch.from_numpy(picture.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1)


def test_read_only_frames_stay_as_they_are() -> None:
    frames = np.full((2, 16, 16, 3), 7, np.uint8)
    frames.flags.writeable = False
    resize(frames, (16, 16))
    assert (frames == 7).all()


class TestImages:
    def test_grey(self, tmp_path: Path) -> None:
        Image.new("L", (20, 10), 90).save(tmp_path / "a.png")
        assert given(image=tmp_path / "a.png").tolist() == np.full((1, 10, 20, 3), 90).tolist()

    def test_transparent_parts_are_black(self, tmp_path: Path) -> None:
        picture = Image.new("RGBA", (2, 1), (*RED, 255))
        picture.putpixel((1, 0), (*RED, 0))
        picture.save(tmp_path / "a.png")
        assert given(image=tmp_path / "a.png").tolist() == [[[list(RED), [0, 0, 0]]]]

    def test_turned_upright(self, tmp_path: Path) -> None:
        picture = Image.new("RGB", (32, 16), RED)
        exif = picture.getexif()
        exif[0x0112] = 6  # the camera was held on its side
        picture.save(tmp_path / "a.png", exif=exif)
        assert given(image=tmp_path / "a.png").shape == (1, 32, 16, 3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 frames of 64x48, each brighter than the one before."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with Mp4Writer(path, 64, 48, 16.0, overwrite=False) as writer:
        writer.push(np.stack([np.full((48, 64, 3), 10 * i + 40, np.uint8) for i in range(13)]))
    return path


class TestClips:
    def test_frames_from_the_first_on(self, clip: Path) -> None:
        frames = given(9, prefix=clip, prefix_traj="loop")
        assert frames.shape == (9, 48, 64, 3)
        np.testing.assert_allclose(frames.mean((1, 2, 3)), np.arange(9) * 10 + 40, atol=3)

    def test_inputs_are_named(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "path.yaml"
        path.write_text("version: 1\n")
        config = GenerateConfig(model="lingbot", prefix=clip, prefix_traj=str(path))
        assert given_pictures(config, 9).inputs == {"prefix": clip, "prefix_traj": path}
        config = GenerateConfig(model="lingbot", prefix=clip, prefix_traj="loop")
        assert given_pictures(config, 9).inputs == {"prefix": clip}

    def test_some_of_them_resized(self, clip: Path) -> None:
        config = GenerateConfig(model="lingbot", prefix=clip, prefix_traj="loop")
        pictures = given_pictures(config, 13)
        some = pictures.resized(5, 9, (32, 32))
        assert (pictures.shape, some.shape) == ((48, 64), (1, 3, 4, 32, 32))
        np.testing.assert_allclose(some.mean((0, 1, 3, 4)), np.arange(90, 130, 10) / 127.5 - 1, atol=0.03)


@pytest.mark.parametrize(
    ("settings", "problem", "where"),
    [
        ({}, "the video needs a first picture", "--image"),
        ({"prefix": 3}, "only the embedded model knows true walks", "--prefix"),
        ({"prefix": "clip.mp4", "image": "a.png"}, "a prefix brings its own first picture", "--image"),
        ({"image": "no.png"}, "the image does not exist", "no.png"),
    ],
)
def test_refused(settings: dict[str, object], problem: str, where: str) -> None:
    with pytest.raises(InputError) as caught:
        given(**settings)
    assert (caught.value.problem, caught.value.where) == (problem, where)
    assert caught.value.hint


def test_a_clip_that_breaks_off(clip: Path) -> None:
    with pytest.raises(InputError, match="breaks off after 13 frames"):
        given(21, prefix=clip, prefix_traj="loop")
