"""The report in a real browser, from file://."""

import json
from pathlib import Path

import pytest

from core.report.make import write_report
from tests.browser import MISSING, Browser
from tests.core.report.runs import made_up_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {' and '.join(MISSING)} (Debian: chromium, chromium-driver)"
    ),
]

CURSOR = "Number(document.querySelector('svg.chart[data-unit=chunk] .cursor').getAttribute('x1'))"
EYE = "Number(document.querySelector('.eye').getAttribute('cx'))"
WEDGE = "document.querySelector('.wedge').getAttribute('d')"
READY = "[...document.querySelectorAll('video')].every((v) => v.readyState >= 2 && !v.seeking)"


@pytest.fixture(scope="module")
def page(key_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([key_run], tmp_path_factory.mktemp("page") / "page.html").path


@pytest.fixture
def opened(window: Browser, page: Path) -> Browser:
    window.call("url", url="about:blank")
    window.errors(), window.requests()
    window.open(page)
    window.wait(READY)
    return window


def press(window: Browser, key: str, *, shift: bool = False) -> None:
    window.run(
        "document.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], shiftKey: arguments[1]}))",
        key,
        shift,
    )


def frame(window: Browser) -> int:
    return window.run("return worldkv.clock.frame")


def data_of(window: Browser) -> dict:
    return json.loads(window.run("return document.getElementById('data').textContent"))["runs"][0]


def test_no_error_and_no_request_leaves_the_page(opened: Browser, page: Path) -> None:
    for at in range(0, 70, 7):
        opened.run("worldkv.seek(arguments[0])", at)
    opened.wait(READY)
    opened.run("document.querySelector('.mask-switch').click()")
    assert opened.errors() == []
    asked = opened.requests()
    assert asked[0] == page.as_uri()
    assert {url.partition(":")[0] for url in asked[1:]} <= {"data", "blob"}


def test_scrubbing_moves_everything(opened: Browser) -> None:
    last = opened.run("return worldkv.clock.last")
    before = [opened.run(f"return {what}") for what in (CURSOR, WEDGE)]
    slide = "const s = document.querySelector('input[type=range]'); s.value = arguments[0];"
    opened.run(slide + "s.dispatchEvent(new Event('input'))", last - 9)
    opened.wait(READY)
    after = [opened.run(f"return {what}") for what in (CURSOR, WEDGE)]
    assert frame(opened) == last - 9
    assert after[0] > before[0]
    assert after[1] != before[1]
    time = opened.run("return document.querySelector('video').currentTime")
    assert int(time * 16) == last - 9
    assert opened.run("return document.querySelectorAll('.live-arcs path').length") > 0
    chunk = (last - 9) // 3
    assert opened.run("return document.querySelector('.now').textContent").startswith(
        f"Chunk {chunk} recalls"
    )


def test_keys(opened: Browser) -> None:
    press(opened, "ArrowRight")
    press(opened, "ArrowRight", shift=True)
    assert frame(opened) == 11
    press(opened, "ArrowLeft")
    assert frame(opened) == 10
    press(opened, "ArrowUp")
    assert frame(opened) == 12
    press(opened, "ArrowDown")
    assert frame(opened) == 9
    press(opened, " ")
    opened.wait("worldkv.clock.frame > 12")
    assert opened.run("return document.querySelector('.play').textContent") == "Pause"
    assert not opened.run("return document.querySelector('video').controls")
    press(opened, " ")
    opened.wait("document.querySelector('video').paused")


def test_a_click_on_a_figure_goes_there(opened: Browser) -> None:
    opened.run(
        "const c = document.querySelector('svg.chart[data-unit=chunk]'); const b = c.getBoundingClientRect();"
        "c.dispatchEvent(new MouseEvent('click', {clientX: b.left + b.width / 2, clientY: b.top + 9}))"
    )
    chunks = opened.run(
        "return JSON.parse(document.getElementById('data').textContent).runs[0].starts.length"
    )
    assert abs(frame(opened) / 3 - chunks / 2) < 3


def test_the_overlay_is_the_mask(opened: Browser) -> None:
    stored = next(i for i, now in enumerate(data_of(opened)["now"]) if now[4])
    alphas = (
        "const c = document.querySelector('.screen canvas');"
        "const image = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return [...image.data].filter((_, i) => i % 4 === 3)"
    )
    opened.run("worldkv.seek(arguments[0])", 3 * stored)
    assert set(opened.run(alphas)) == {0}
    opened.run("document.querySelector('.mask-switch').click()")
    tinted = "(() => {" + alphas + "})()"
    assert opened.wait(f"{tinted}.some((a) => a > 0) && {tinted}") == [56] * 15  # the anchor: whole, 0.22
    opened.run("worldkv.seek(arguments[0])", 3 * stored + 1)
    opened.wait(f"Math.max(...{tinted}) > 150")  # others: some dark
    assert len(set(opened.run(alphas))) > 1


def test_any_pair_on_demand(opened: Browser) -> None:
    choose = "const s = document.querySelector('.chosen select'); s.value = 3;"
    opened.run(choose + "s.dispatchEvent(new Event('change'))")
    pair = data_of(opened)["pairs"][3]
    about = opened.run("return document.querySelector('.chosen .about').textContent")
    assert f"{pair['psnr']:.1f} dB" in about
    opened.wait("[...document.querySelectorAll('.chosen img')].every((i) => i.naturalWidth > 100)")
    opened.run("document.querySelector('.go-again').click()")
    assert frame(opened) == pair["later"]


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_fits_the_screen(opened: Browser, width: int, phone: bool) -> None:
    opened.resize(width, 844, phone=phone)
    try:
        assert opened.run("return document.documentElement.scrollWidth") <= width
    finally:
        opened.resize(1280, 900)


def test_stands_without_scripts(window: Browser, page: Path) -> None:
    text = page.read_text()
    still = page.with_name("still.html")
    still.write_text(text.replace("script-src 'sha256-", "script-src 'sha256-no"))  # the browser refuses ours
    window.open(still)
    window.wait("document.querySelector('video').readyState >= 2")
    assert window.run("return document.querySelector('video').controls")  # the browser's own play it
    assert window.run("return typeof worldkv") == "undefined"
    assert window.run("return [...document.querySelectorAll('svg.chart')].every((c) => c.clientHeight > 50)")
    assert window.run("return document.querySelector('.bar').clientHeight") == 0  # what needs them is hidden
    window.errors()


def test_videos_run_in_step(window: Browser, key_run: Path, sliding_run: Path, tmp_path: Path) -> None:
    window.open(write_report([key_run, sliding_run], tmp_path / "page.html").path)
    window.wait(READY)
    window.errors()
    window.run("worldkv.seek(40)")
    window.wait(READY)
    press(window, " ")
    window.wait("worldkv.clock.frame > 50")
    press(window, " ")
    first, second = window.run("return [...document.querySelectorAll('video')].map((v) => v.currentTime)")
    assert abs(first - second) < 0.25
    assert window.errors() == []


def test_linked_video_plays(window: Browser, key_run: Path, tmp_path: Path) -> None:
    window.open(write_report([key_run], tmp_path / "page.html", link_video=True).path, frame=20)
    window.wait(READY)
    assert int(window.run("return document.querySelector('video').currentTime * 16")) == 20
    assert window.errors() == []


def test_20_000_chunks_answer(window: Browser, tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run", 20_000, recalls=2)
    window.errors()
    window.open(write_report([run]).path)
    began = window.run("return performance.now()")
    for at in range(0, 200_000, 10_000):
        window.run("worldkv.seek(arguments[0])", at)
    assert window.run("return performance.now()") - began < 10_000
    assert frame(window) == 190_000
    assert window.errors() == []
