"""The report of one run, read without a browser."""

import base64
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.config import GenerateConfig, resolve
from core.errors import InputError, OutputError
from core.outputs import RUN_FILES
from core.report.kept import MOST_MASK_BYTES
from core.report.make import write_report
from core.report.settings import command_of
from core.report.source import load_source
from core.runlog import load_run
from core.schemas.run import RunLog
from core.viewlog import read_views
from tests.core.report.pages import Page
from tests.core.report.runs import NASTY, made_up_run

EVERY = ["video", "timeline", "memory", "speed", "kept", "revisits", "settings", "machine"]


@pytest.fixture(scope="module")
def page(worldkv_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("page") / "page.html"
    write_report([worldkv_run], out)
    return Page(out)


class TestWhole:
    def test_every_section_is_there(self, page: Page) -> None:
        assert page.sections == EVERY

    def test_names_are_escaped(self, page: Page) -> None:
        assert NASTY in page.text
        assert NASTY not in page.html
        assert "alert(1)" not in "".join(page.scripts)
        assert len(page.all("script")) == 2

    def test_nothing_is_fetched(self, page: Page) -> None:
        for _, attrs in page.tags:
            for key in ("src", "href", "action", "poster"):
                assert (attrs.get(key) or "data:").startswith("data:"), attrs
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.html)
        (policy,) = (
            m["content"] or "" for m in page.all("meta") if "content" in m and "default-src" in m["content"]
        )
        assert "default-src 'none'" in policy
        assert "unsafe-inline'; script" in policy  # styles alone

    def test_figures_are_those_of_the_log(self, page: Page, worldkv_run: Path) -> None:
        log = load_run(worldkv_run)
        totals, fidelity = log.totals, log.fidelity
        assert fidelity is not None
        for words in (
            f"{totals.frames} video frames",
            f"{totals.fps:.3g} fps",
            f"{fidelity.psnr_db:.1f} dB",
            f"recall: {totals.hits} hits, {totals.misses} misses",
            f"{totals.max_window_tokens} window tokens",
            f"{totals.tokens_kept:,} of {totals.tokens_kept + totals.tokens_dropped:,} tokens were stored",
            log.versions["torch"],
        ):
            assert words in page.text, words

    def test_data_are_those_of_the_log(self, page: Page, worldkv_run: Path) -> None:
        log, (run,) = load_run(worldkv_run), page.data["runs"]
        assert run["starts"] == [record.first_frame for record in log.chunks]
        assert page.data["frames"] == log.totals.frames
        for recalls, record in zip(run["recalls"], log.chunks, strict=True):
            assert {(c, n, t) for c, n, t in recalls} == {
                (r.chunk, r.tokens, r.tier) for r in record.retrieved
            }
        assert sum(now[1] for now in run["now"]) == log.totals.hits
        assert sum(now[4] for now in run["now"]) == log.totals.tokens_kept

    def test_masks_are_those_that_were_logged(self, page: Page, worldkv_run: Path) -> None:
        masks = page.data["runs"][0]["masks"]
        views = list(read_views(worldkv_run / "views.jsonl"))
        assert masks["step"] == 1
        for packed, view in zip(masks["masks"], views, strict=True):
            assert zlib.decompress(base64.b64decode(packed)) == view.kept.tobytes()
        assert (masks["frames"], masks["rows"], masks["cols"]) == views[0].kept.shape

    def test_the_path_is_the_cameras(self, page: Page, worldkv_run: Path) -> None:
        points = np.array(page.data["runs"][0]["path"]["points"])
        c2w = np.concatenate([view.viewpoints for view in read_views(worldkv_run / "views.jsonl")])
        assert np.allclose(points[:, [1, 3]], c2w[:, [0, 2], 3], atol=1e-4)
        assert points[:, 0].tolist() == list(range(len(c2w)))  # a latent frame is a video frame here
        assert abs(points[:, 4].max() - 180) < 6

    def test_pairs_and_their_fidelity(self, page: Page, worldkv_run: Path) -> None:
        log = load_run(worldkv_run)
        assert log.fidelity is not None
        pairs = page.data["runs"][0]["pairs"]
        assert len(pairs) == log.fidelity.pairs
        assert abs(np.mean([pair["psnr"] for pair in pairs]) - log.fidelity.psnr_db) < 1.5  # compressed
        assert {"Best", "Median", "Worst"} <= set(re.findall(r"(Best|Median|Worst): [\d.]+ dB", page.text))
        needed = {str(pair[key]) for pair in pairs for key in ("earlier", "later")}
        assert set(page.data["runs"][0]["pictures"]) == needed

    def test_figures_have_names(self, page: Page) -> None:
        charts = [a for a in page.all("svg") if a.get("role") == "img"]
        assert len(charts) >= 7
        assert page.html.count("<title>") == 1 + len(charts)
        assert all(attrs.get("alt") for attrs in page.all("img"))


class TestCommand:
    def test_gives_the_same_settings(self, key_run: Path) -> None:
        log = load_run(key_run)
        words = command_of(log).split()
        assert words[:2] == ["worldkv", "generate"]
        flags = {words[i].removeprefix("--").replace("-", "_"): words[i + 1] for i in range(2, len(words), 2)}
        again = resolve(flags, {}).config
        assert again.model_copy(update={"out": None}) == GenerateConfig.model_validate(
            {**log.config, "out": None}
        )

    def log_of(self, **flags) -> RunLog:
        found = resolve(flags, {})
        config = found.config.model_dump(mode="json")
        started = "2026-03-04T00:00:00Z"
        return RunLog.model_validate(
            {
                "name": "x",
                "status": "done",
                "started_at": started,
                "seed": 0,
                "config": config,
                "config_sources": dict(found.sources),
            }
        )

    def test_quotes_words(self) -> None:
        said = command_of(self.log_of(traj="a b.yaml", prompt="a harbour; rm -rf $HOME", allow="int8,prune"))
        assert said == (
            "worldkv generate --traj 'a b.yaml' --prompt 'a harbour; rm -rf $HOME' --allow int8,prune"
        )

    def test_says_the_preset_and_not_what_it_brings(self) -> None:
        said = command_of(self.log_of(traj="loop", memory_preset="worldkv-paper", sink=1))
        assert said == "worldkv generate --traj loop --memory-preset worldkv-paper --sink 1"

    def test_switches(self) -> None:
        said = command_of(self.log_of(traj="loop", keep_all=True, pooled=False, quiet=True, overwrite=True))
        assert said == "worldkv generate --traj loop --pooled --keep-all".replace("--pooled", "--per-frame")


class TestIncomplete:
    def copy(self, run: Path, tmp_path: Path, *without: str) -> Path:
        shutil.copytree(run, tmp_path / "copy")
        for name in without:
            (tmp_path / "copy" / name).unlink()
        return tmp_path / "copy"

    def test_a_killed_run(self, worldkv_run: Path, tmp_path: Path) -> None:
        run = self.copy(worldkv_run, tmp_path)
        log = json.loads((run / "run.json").read_text())
        log |= {"status": "running", "chunks": [], "video": None, "fidelity": None, "totals": {}}
        (run / "run.json").write_text(json.dumps(log))
        (run / "video.mp4").rename(run / "video.partial.mp4")
        lines = (run / "chunks.jsonl").read_bytes().splitlines(keepends=True)
        (run / "chunks.jsonl").write_bytes(b"".join(lines[:9]) + lines[9][:30])
        written = write_report([run])
        page = Page(written.path)
        assert page.data["frames"] == 27
        assert "The run was killed, or is still going on" in page.text
        assert written.video == "embedded"
        assert {"video", "timeline", "memory", "speed"} <= set(page.sections)

    def test_chunk_records_alone(self, worldkv_run: Path, tmp_path: Path) -> None:
        run = self.copy(worldkv_run, tmp_path, "run.json", "video.mp4", "views.jsonl")
        written = write_report([run])
        page = Page(written.path)
        assert page.sections == ["missing", "video", "timeline", "memory", "speed", "kept", "machine"]
        assert written.video == "none"
        assert [said.split(":")[0] for said in written.missing] == [
            "run.json is missing",
            "There is no video",
            "views.jsonl is missing (an older version made this run)",
        ]
        assert not page.all("video")

    def test_an_old_run_gets_its_path_from_the_trajectory(self, worldkv_run: Path, tmp_path: Path) -> None:
        run = self.copy(worldkv_run, tmp_path, "views.jsonl")
        page, whole = Page(write_report([run]).path), load_source(worldkv_run)
        assert whole.track is not None
        points = np.array(page.data["runs"][0]["path"]["points"])
        assert np.allclose(points, whole.track.points(4000), atol=1e-4)
        assert page.data["runs"][0]["masks"] is None
        assert "no masks of kept tokens" in page.text
        assert "revisits" in page.sections

    def test_a_trajectory_that_changed_is_not_used(self, sliding_run: Path, tmp_path: Path) -> None:
        run = self.copy(sliding_run, tmp_path, "views.jsonl")
        log = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(log | {"trajectory_sha256": "0" * 64}))
        page = Page(write_report([run]).path)
        assert "is not the one of the run any more: no path" in page.text
        assert "path" not in page.data["runs"][0]

    def test_no_retrieval(self, sliding_run: Path, tmp_path: Path) -> None:
        page = Page(write_report([sliding_run], tmp_path / "page.html").path)
        assert "This memory mode retrieves nothing." in page.text
        assert "kept" not in page.sections

    def test_no_revisits(self, tmp_path: Path) -> None:
        page = Page(write_report([made_up_run(tmp_path / "run", 4)]).path)
        assert "revisits" not in page.sections

    def test_a_failure_is_told_first(self, tmp_path: Path) -> None:
        failure = {"problem": "the disk is <full>", "where": "runs/x", "hint": "free some space"}
        run = made_up_run(tmp_path / "run", 4, status="failed", failure=failure)
        page = Page(write_report([run]).path)
        assert page.sections[0] == "failure"
        assert "error: the disk is <full> at: runs/x hint: free some space" in page.text

    def test_no_chunk_at_all(self, tmp_path: Path) -> None:
        page = Page(write_report([made_up_run(tmp_path / "run", 0, status="failed")]).path)
        assert page.sections == ["missing", "settings", "machine"]

    @pytest.mark.parametrize("damage", ['{"chunk":0}\n', "x\n"])
    def test_damaged_views_are_left_out(self, tmp_path: Path, damage: str) -> None:
        run = made_up_run(tmp_path / "run", 4)
        (run / "views.jsonl").write_text(damage)
        assert "views.jsonl is not used: the log of views is damaged" in Page(write_report([run]).path).text

    def test_views_of_another_run_are_left_out(self, tmp_path: Path) -> None:
        run = made_up_run(tmp_path / "run", 4)
        lines = (run / "views.jsonl").read_text().splitlines(keepends=True)
        (run / "views.jsonl").write_text("".join(lines[1:]))
        assert "does not belong to these chunks" in Page(write_report([run]).path).text


class TestLong:
    @pytest.mark.slow
    def test_20_000_chunks_stay_small(self, tmp_path: Path) -> None:
        run = made_up_run(tmp_path / "run", 20_000, recalls=2)
        written = write_report([run])
        page = Page(written.path)
        assert written.size_bytes < 16e6
        assert page.html.index('id="data"') < 1_500_000  # of figures
        assert len(page.tags) < 3000
        assert "Each column is 50 neighbouring chunks." in page.text
        assert (
            "500 of 39,997 recalls, spread evenly, and of the current chunk the 24 with the most tokens"
            in page.text
        )
        (data,) = page.data["runs"]
        assert sum(map(len, data["masks"]["masks"])) <= MOST_MASK_BYTES

    def test_many_recalls_of_a_chunk(self, tmp_path: Path) -> None:
        page = Page(write_report([made_up_run(tmp_path / "run", 40, recalls=40)]).path)
        (data,) = page.data["runs"]
        assert max(len(recalls) for recalls in data["recalls"]) == 24
        assert data["now"][39][6] == 39


class TestFile:
    def test_is_never_replaced_unasked(self, tmp_path: Path) -> None:
        run = made_up_run(tmp_path / "run", 2)
        first = write_report([run]).path
        assert first == run / "report.html"
        with pytest.raises(InputError, match="the report exists") as caught:
            write_report([run])
        assert caught.value.where == str(first)
        write_report([run], overwrite=True)

    @pytest.mark.parametrize("name", [name for name in RUN_FILES if name != "report.html"])
    def test_never_takes_a_run_s_own_file(self, tmp_path: Path, name: str) -> None:
        run, other = made_up_run(tmp_path / "run", 2), made_up_run(tmp_path / "other", 2)
        before = {path: path.read_bytes() for path in run.iterdir()}
        for shown in (run, run / "run.json", other):
            with pytest.raises(InputError, match=f"{name} belongs to the run"):
                write_report([shown], run / name, overwrite=True)
        assert {path: path.read_bytes() for path in run.iterdir()} == before

    def test_a_link_to_a_run_s_own_file_is_none_either(self, tmp_path: Path) -> None:
        run = made_up_run(tmp_path / "run", 2)
        (tmp_path / "page.html").symlink_to(run / "run.json")
        with pytest.raises(InputError, match=r"run\.json belongs to the run"):
            write_report([run], tmp_path / "page.html", overwrite=True)

    @pytest.mark.parametrize("text", ["", "my notes", "<!doctype html><title>my page</title>"])
    def test_replaces_nothing_but_reports(self, tmp_path: Path, text: str) -> None:
        run = made_up_run(tmp_path / "run", 2)
        (run / "report.html").write_text(text)
        with pytest.raises(InputError, match="is no report of worldkv: it is not replaced"):
            write_report([run], overwrite=True)
        assert (run / "report.html").read_text() == text

    def test_linked_video(self, worldkv_run: Path, tmp_path: Path) -> None:
        written = write_report([worldkv_run], tmp_path / "page.html", link_video=True)
        (video,) = Page(written.path).all("video")
        assert written.video == "linked"
        assert (tmp_path / (video["src"] or "")).resolve() == (worldkv_run / "video.mp4").resolve()

    def test_a_full_disk_leaves_nothing(self, tiny_disk: Path, worldkv_run: Path) -> None:
        (tiny_disk / "filler").write_bytes(bytes(1_000_000))
        with pytest.raises(OutputError, match=r"page\.html cannot be written"):
            write_report([worldkv_run], tiny_disk / "page.html")
        assert [path.name for path in tiny_disk.iterdir()] == ["filler"]

    def test_refusals(self, tmp_path: Path) -> None:
        run = made_up_run(tmp_path / "run", 2)
        with pytest.raises(InputError, match="at most 4 runs are compared, got 5"):
            write_report([run] * 5)
        with pytest.raises(InputError, match="there is no run folder here"):
            write_report([tmp_path / "nothing"])
        with pytest.raises(InputError, match="a file was expected, this is a folder"):
            write_report([run], tmp_path)
        with pytest.raises(InputError, match="the folder of the report does not exist"):
            write_report([run], tmp_path / "no" / "page.html")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="there is no run log here"):
            write_report([tmp_path / "empty"])
