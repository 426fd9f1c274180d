from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError
from core.video.reader import read_image, read_video, video_info
from core.video.writer import Mp4Writer


@pytest.fixture
def clip(tmp_path: Path, frames: np.ndarray) -> Path:
    path = tmp_path / "-a clip: 100%.mp4"  # a name that is no option, no protocol and no pattern
    with Mp4Writer(path, 64, 48, 16.0, overwrite=False) as writer:
        writer.push(frames)
    return path


def test_reads_the_first_frames_only(clip: Path) -> None:
    everything = read_video(clip)
    np.testing.assert_array_equal(read_video(clip, max_frames=7), everything[:7])
    assert everything.flags.writeable


def test_refuses_more_than_memory_allows(clip: Path) -> None:
    with pytest.raises(
        InputError, match="40 frames of 64x48 need 368,640 bytes, more than 100,000"
    ) as caught:
        read_video(clip, max_bytes=100_000)
    assert caught.value.hint == "read at most 10 frames of it"


@pytest.mark.parametrize("read", [read_video, video_info])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the video does not exist"),
        (b"", "the video cannot be read"),
        (b"not a video at all" * 100, "the video cannot be read"),
        ("folder", "a video was expected, this is a folder"),
    ],
)
def test_unreadable_videos(tmp_path: Path, content: object, problem: str, read: object) -> None:
    path = tmp_path / "clip.mp4"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=problem) as caught:
        read(path)  # type: ignore[operator]
    assert caught.value.where == str(path)


def test_picture_is_no_video_without_frames(clip: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(clip.read_bytes()[:700])
    with pytest.raises(InputError, match="the video cannot be read"):
        read_video(torn)


class TestReadImage:
    def test_reads_rgb(self, tmp_path: Path, frames: np.ndarray) -> None:
        Image.fromarray(frames[0]).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), frames[0])

    def test_grey_and_palette_become_rgb(self, tmp_path: Path, frames: np.ndarray) -> None:
        Image.fromarray(frames[0]).convert("L").save(tmp_path / "grey.png")
        Image.fromarray(frames[0]).convert("P").save(tmp_path / "palette.gif")
        assert read_image(tmp_path / "grey.png").shape == (48, 64, 3)
        assert read_image(tmp_path / "palette.gif").shape == (48, 64, 3)

    def test_is_turned_upright(self, tmp_path: Path, frames: np.ndarray) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held on its side: turn 90 degrees clockwise to show
        Image.fromarray(frames[0]).save(tmp_path / "a.png", exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(frames[0], -1))

    def test_transparent_parts_are_black(self, tmp_path: Path) -> None:
        rgba = np.full((4, 4, 4), 200, np.uint8)
        rgba[..., 3] = 255
        rgba[:2, :, 3] = 0
        Image.fromarray(rgba).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        assert image[0, 0].tolist() == [0, 0, 0]
        assert image[3, 3].tolist() == [200, 200, 200]

    @pytest.mark.parametrize(
        ("content", "problem"),
        [(None, "the image does not exist"), (b"", "not a picture"), (b"GIF89a garbage", "cannot be read")],
    )
    def test_unreadable(self, tmp_path: Path, content: bytes | None, problem: str) -> None:
        path = tmp_path / "a.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=problem) as caught:
            read_image(path)
        assert caught.value.where == str(path)

    def test_damaged(self, tmp_path: Path, frames: np.ndarray) -> None:
        Image.fromarray(frames[0]).save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="the image cannot be read: "):
            read_image(tmp_path / "a.png")

    def test_absurd_size(self, tmp_path: Path) -> None:
        Image.new("1", (20_000, 6_000)).save(tmp_path / "a.png")
        with pytest.raises(InputError, match="the image is 20000x6000"):
            read_image(tmp_path / "a.png")
