"""Bad input: three lines and exit code 2, before any weight is read and before anything is written."""

from pathlib import Path

import pytest
from PIL import Image

from tests.worldkv_cli.generate.lingbot.runs import generate, lines, refused

pytestmark = pytest.mark.usefixtures("files_stay_closed")

PICTURES = "PNG, JPEG and WebP files can be read"


# Changes to the flags of a good run, and the three lines.
FLAGS: dict[str, tuple[dict[str, object], tuple[str, str, str]]] = {
    "no image": (
        {"image": None},
        ("the video needs a first picture", "--image", "add --image first.png"),
    ),
    "image missing": (
        {"image": "frist.png"},
        ("the image does not exist", "frist.png", "check the path of the image"),
    ),
    "image is text": (
        {"image": "there.yaml"},
        ("the image cannot be read: not a picture", "there.yaml", PICTURES),
    ),
    "image is a folder": (
        {"image": "."},
        ("an image was expected, this is a folder", ".", "name the image file"),
    ),
    "a strip": (
        {"image": "strip.png", "size": None},
        (
            "the picture is so long and narrow that the video would be 14128x16",
            "--image",
            "crop it, or give --size",
        ),
    ),
    "a huge image": (
        {"image": "huge.png"},
        ("the image is 11000x10000, more than 100,000,000 pixels", "huge.png", "scale it down first"),
    ),
    "a decompression bomb": (
        {"image": "bomb.png"},
        ("the image has more than 100,000,000 pixels", "bomb.png", "scale it down first"),
    ),
    "true walks": (
        {"prefix": 3},
        ("only the embedded model knows true walks", "--prefix", "give a video, or --image"),
    ),
    "a prefix and an image": (
        {"prefix": "clip.mp4", "prefix_traj": "short.yaml"},
        ("the video does not exist", "clip.mp4", "check the path of the video"),
    ),
    "chunks of four": (
        {"chunk_frames": 4},
        ("lingbot denoises 3 latent frames together, got 4", "--chunk-frames", "leave it out"),
    ),
    "no whole tokens": (
        {"size": "100x60"},
        (
            "the sides of a video are multiples of 16 and at least 64, got 100x60",
            "--size",
            "say 96x64",
        ),
    ),
    "no size": (
        {"size": "480p"},
        ("a size is WIDTHxHEIGHT in pixels, got '480p'", "--size", "say 832x480"),
    ),
    "no scale": (
        {"translation_scale": 0},
        (
            "translation_scale must be above 0, got 0.0",
            "--translation-scale",
            "translation_scale: trajectory units that the model takes as 1; "
            "None: the longest step of the trajectory",
        ),
    ),
    "conditioning": (
        {"conditioning": "releas"},
        (
            "conditioning must be 'exact' or 'release', got 'releas'",
            "--conditioning",
            "did you mean release?",
        ),
    ),
    "weights": (
        {"weights": "int4"},
        (
            "weights must be 'auto', 'resident', 'streamed', 'int8' or 'fp8', got 'int4'",
            "--weights",
            "did you mean int8?",
        ),
    ),
    "budget": (
        {"vram_budget": "lots"},
        (
            "vram_budget must be a size such as 40GiB, got 'lots'",
            "--vram-budget",
            "vram_budget: memory of the device that the run may take, such as 40GiB",
        ),
    ),
    "too short": (
        {"traj": "tiny.yaml"},
        (
            "5 frames do not fill the first chunk of 9",
            "tiny.yaml",
            "make the trajectory longer, or pad it",
        ),
    ),
    "model": (
        {"model": "lingbo"},
        ("unknown model 'lingbo'", "--model", "did you mean lingbot? known: "),
    ),
}


@pytest.mark.parametrize("case", FLAGS)
def test_bad_flag(case: str, raw: Path) -> None:
    if case == "a strip":
        Image.new("L", (10_000, 20)).save("strip.png")
    if case == "a huge image":
        Image.new("1", (11_000, 10_000)).save("huge.png")
    if case == "a decompression bomb":
        Image.new("1", (20_000, 10_000)).save("bomb.png")
    Path("tiny.yaml").write_text("version: 1\nsteps:\n  - hold: {frames: 4}\n")
    changes, expected = FLAGS[case]
    said = refused(2, raw, **changes)
    assert said.startswith(lines(*expected).removesuffix("\n"))
    assert len(said.splitlines()) == 3


def test_two_beginnings(raw: Path) -> None:
    Path("clip.mp4").write_bytes(b"")
    said = refused(2, raw, prefix=3, image="first.png")
    assert said.startswith("error: only the embedded model knows true walks\n")


def test_the_run_never_replaces_its_own_picture(raw: Path) -> None:
    Path("old").mkdir()
    Path("first.png").rename("old/video.mp4")
    told = generate(raw, image="old/video.mp4", out="old", overwrite=True)
    assert told.exit_code == 2
    assert told.stderr == lines(
        "the image is a file of the run that would be replaced", "old/video.mp4", "choose another --out"
    )
