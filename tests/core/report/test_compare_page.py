"""Runs side by side, read without a browser."""

from pathlib import Path

import pytest

from core.palette import MODES
from core.report.looks import DARK_PAPER, contrast, css_variables, on_dark, run_dashes, run_variables
from core.report.make import write_report
from core.runlog import load_run
from tests.core.report.pages import Page
from tests.core.report.runs import made_up_run, with_video


@pytest.fixture(scope="module")
def page(
    worldkv_run: Path, sliding_run: Path, key_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Page:
    out = tmp_path_factory.mktemp("compare") / "page.html"
    write_report([worldkv_run, sliding_run, key_run], out)
    return Page(out)


def test_every_section_is_there(page: Page) -> None:
    assert page.sections == ["videos", "drift", "figures", "differences", "curves", "commands"]
    assert len(page.all("video")) == 3


def test_figures_are_those_of_the_logs(
    page: Page, worldkv_run: Path, sliding_run: Path, key_run: Path
) -> None:
    logs = [load_run(run) for run in (worldkv_run, sliding_run, key_run)]
    psnr = [f"{log.fidelity.psnr_db:.2f}" for log in logs if log.fidelity is not None]
    assert f"revisit PSNR, dB (raw frames) {' '.join(psnr)} " in page.text
    window = [f"{log.totals.max_window_tokens:,}" for log in logs]
    assert f"window tokens at most {' '.join(window)} " in page.text


def test_settings_that_differ(page: Page) -> None:
    told = page.text.partition("Settings that differ")[2].partition("By chunk")[0]
    assert "memory worldkv sliding worldkv" in told
    assert "keep_ratio 1.0 1.0 0.25" in told
    assert "strategy, as run rays none pose" in told
    assert " seed " not in told


def test_equal_runs_have_no_differences(tmp_path: Path) -> None:
    runs = [made_up_run(tmp_path / name, 5) for name in "ab"]
    written = write_report(runs)
    assert written.path == tmp_path / "report-compare.html"
    page = Page(written.path)
    assert "None: the runs have the same settings." in page.text
    assert written.missing[0].startswith(f"{runs[0]}: There is no video")


def test_runs_of_different_lengths(tmp_path: Path) -> None:
    page = Page(write_report([made_up_run(tmp_path / "a", 3), made_up_run(tmp_path / "b", 9)]).path)
    assert page.data["frames"] == 12 * 9 - 3
    assert [len(run["starts"]) for run in page.data["runs"]] == [3, 9]


class TestFramesASecond:
    def fps(self, *runs: Path) -> tuple[float | None, list[float | None]]:
        data = Page(write_report(list(runs)).path).data
        return data["fps"], [run["fps"] for run in data["runs"]]

    def test_the_longest_video_s_are_the_page_s(self, tmp_path: Path) -> None:
        short = with_video(made_up_run(tmp_path / "short", 2), fps=16.0)
        long = with_video(made_up_run(tmp_path / "long", 3), fps=32.0)
        silent = made_up_run(tmp_path / "silent", 9)
        assert self.fps(silent, short, long) == (32, [None, 16, 32])

    def test_none_are_made_up(self, tmp_path: Path) -> None:
        assert self.fps(made_up_run(tmp_path / "a", 2), made_up_run(tmp_path / "b", 3)) == (
            None,
            [None, None],
        )

    def test_a_log_tells_those_of_a_lost_video(self, tmp_path: Path) -> None:
        video = {
            "path": "video.mp4",
            "width": 64,
            "height": 48,
            "fps": 12.0,
            "num_frames": 21,
            "size_bytes": 1,
        }
        video |= {"codec": "h264", "pix_fmt": "yuv420p"}
        runs = made_up_run(tmp_path / "a", 2, video=video), made_up_run(tmp_path / "b", 3)
        assert self.fps(*runs) == (12, [12, None])


class TestLooks:
    def test_colours_are_the_palette_s(self) -> None:
        css = css_variables() + run_variables(["worldkv", "full"])
        light = css.partition("@media")[0]
        assert f"--mode-worldkv:{MODES['worldkv'].colour};" in light
        assert f"--run-0:{MODES['worldkv'].colour};--run-1:{MODES['full'].colour};" in css

    def test_runs_of_one_mode_differ(self) -> None:
        light = run_variables(["worldkv"] * 4).partition("@media")[0]
        colours = [each.partition(":")[2] for each in light.partition("{")[2].split(";")][:4]
        assert len(set(colours)) == 4
        assert len(set(run_dashes(["worldkv"] * 4))) == 4

    def test_modes_have_their_dashes(self) -> None:
        assert run_dashes(["full", "worldkv"]) == ["6 2", ""]

    @pytest.mark.parametrize("mode", MODES)
    def test_every_mode_stands_out_in_the_dark(self, mode: str) -> None:
        assert contrast(on_dark(MODES[mode].colour), DARK_PAPER) >= 3

    def test_contrast(self) -> None:
        assert contrast("#000000", "#ffffff") == pytest.approx(21)
        assert contrast("#777777", "#777777") == 1
