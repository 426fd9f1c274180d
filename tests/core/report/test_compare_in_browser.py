"""Runs of different length and frame rate side by side, in a real browser."""

from pathlib import Path

import pytest

from core.report.make import write_report
from tests.browser import MISSING, Browser
from tests.core.report.runs import made_up_run, with_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {' and '.join(MISSING)} (Debian: chromium, chromium-driver)"
    ),
]

VIDEOS = "[...document.querySelectorAll('video')]"
READY = f"{VIDEOS}.every((v) => v.readyState >= 2 && !v.seeking)"
BUTTON = "document.querySelector('.play').textContent"
READOUT = "document.querySelector('.bar output').textContent"
CHART = "document.querySelector('svg.chart[data-unit=chunk]')"
SHORT_FPS, LONG_FPS = 16.0, 32.0
SHORT_FRAMES, LONG_FRAMES = 21, 69
CHUNKS = 6


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uneven")
    short = with_video(made_up_run(folder / "short", 2), fps=SHORT_FPS)
    return write_report([short, with_video(made_up_run(folder / "long", CHUNKS), fps=LONG_FPS)]).path


@pytest.fixture
def opened(window: Browser, page: Path) -> Browser:
    window.call("url", url="about:blank")
    window.errors()
    window.open(page)
    window.wait(READY)
    return window


def seek(window: Browser, frame: int) -> None:
    window.run("worldkv.seek(arguments[0])", frame)
    window.wait(READY)


def press(window: Browser, key: str) -> None:
    window.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))", key)


def frames(window: Browser) -> list[int]:
    """That the videos show."""
    times = window.run(f"return {VIDEOS}.map((v) => v.currentTime)")
    return [int(time * fps + 1e-3) for time, fps in zip(times, (SHORT_FPS, LONG_FPS), strict=True)]


def test_the_longer_one_plays_to_its_end(opened: Browser) -> None:
    press(opened, " ")
    opened.wait(f"worldkv.clock.frame > {SHORT_FRAMES + 9}")
    assert opened.run(f"return {BUTTON}") == "Pause"
    assert opened.run(f"return {VIDEOS}[0].paused")
    opened.wait(f"worldkv.clock.frame === {LONG_FRAMES - 1} && {BUTTON} === 'Play'")
    assert opened.errors() == []


def test_what_ended_before_the_clock_is_not_played(opened: Browser) -> None:
    seek(opened, 40)
    assert frames(opened) == [SHORT_FRAMES - 1, 40]
    press(opened, " ")
    opened.wait("worldkv.clock.frame > 45")
    assert frames(opened)[0] == SHORT_FRAMES - 1
    assert opened.run("return worldkv.clock.frame") > 45
    press(opened, " ")
    opened.wait(f"{VIDEOS}.every((v) => v.paused)")


def test_what_ended_plays_again_from_before_its_end(opened: Browser) -> None:
    seek(opened, 60)
    seek(opened, 2)
    press(opened, " ")
    opened.wait("worldkv.clock.frame > 8")
    assert opened.run(f"return {VIDEOS}[0].currentTime") > 3 / SHORT_FPS
    press(opened, " ")


def test_frames_are_compared_whatever_their_rate(opened: Browser) -> None:
    seek(opened, 12)
    assert frames(opened) == [12, 12]
    rates = opened.run(f"return {VIDEOS}.map((v) => v.playbackRate)")
    assert rates == [LONG_FPS / SHORT_FPS, 1]
    assert "0.4 s" in opened.run(f"return {READOUT}")  # at the longer one's rate


def test_the_chunk_cursor_reaches_the_last_chunk(opened: Browser) -> None:
    low, high = (float(x) for x in opened.run(f"return {CHART}.dataset.x").split()[:2])
    for frame, chunk in ((0, 0), (20, 1), (40, 3), (LONG_FRAMES - 1, CHUNKS - 1)):
        seek(opened, frame)
        at = float(opened.run(f"return {CHART}.querySelector('.cursor').getAttribute('x1')"))
        assert at == pytest.approx(low + (chunk + 0.5) / CHUNKS * (high - low), abs=0.1)
        assert opened.run(f"return {READOUT}").endswith(f"chunk {chunk}")


def test_a_click_reaches_the_last_chunk(opened: Browser) -> None:
    opened.run(
        f"const c = {CHART}, b = c.getBoundingClientRect();"
        "const right = b.left + 0.97 * b.width;"
        "c.dispatchEvent(new MouseEvent('click', {clientX: right, clientY: b.top + 9}))"
    )
    assert opened.run("return worldkv.clock.frame") == 12 * (CHUNKS - 1) - 3


def test_steps_go_on_past_the_shorter_one(opened: Browser) -> None:
    seek(opened, 22)
    press(opened, "ArrowUp")
    assert opened.run("return worldkv.clock.frame") == 33


def test_the_map_has_all_recalls_that_the_page_names(window: Browser, tmp_path: Path) -> None:
    page = write_report([made_up_run(tmp_path / "run", 40, recalls=40)]).path
    window.open(page)
    window.run("worldkv.seek(worldkv.clock.last)")
    assert window.run("return document.querySelectorAll('.recalled path').length") == 24
    assert "the 24 with the most tokens" in page.read_text()
    assert "s · chunk" not in window.run(f"return {READOUT}")  # no video, no seconds
    assert window.errors() == []
