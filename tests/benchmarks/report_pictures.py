"""The pictures of reports in docs: one run, and three memory modes side by side. Needs Chromium.

python -m tests.benchmarks.report_pictures --runs runs/figure-eight
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from core.report.make import write_report
from tests.browser import Browser, browser

DOCS = Path(__file__).parent.parent.parent / "docs"
MODES = ("worldkv", "full", "sliding")
SETTINGS = ("--traj", "figure-eight", "--prefix", "8")
SIZES = {"report.png": (1280, 1960), "report-compare.png": (1280, 1480)}
SHOWN_FRAME = 165
COLOURS = 256
READY = "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2 && !v.seeking)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; missing ones are made")
    folder = parser.parse_args().runs
    runs = [folder / mode for mode in MODES]
    for mode, run in zip(MODES, runs, strict=True):
        if not (run / "run.json").exists():
            command = ["worldkv", "generate", *SETTINGS, "--memory", mode, "--out"]
            subprocess.run([*command, str(run)], check=True)
    with tempfile.TemporaryDirectory() as pages, browser() as window:
        for name, shown in zip(SIZES, (runs[:1], runs), strict=True):
            page = write_report(shown, Path(pages) / f"{name}.html").path
            take(window, page, DOCS / name)


def take(window: Browser, page: Path, picture: Path) -> None:
    """The top of a page as a small PNG."""
    window.resize(*SIZES[picture.name])
    window.open(page, frame=SHOWN_FRAME)
    window.wait(READY, seconds=60)
    window.run("return document.fonts.ready.then(() => new Promise((r) => setTimeout(r, 500)))")
    window.picture(picture)
    image = Image.open(picture).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(picture, optimize=True)


if __name__ == "__main__":
    main()
