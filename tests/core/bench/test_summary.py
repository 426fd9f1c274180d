"""From cells to rows, differences, tables and figures."""

import csv
import json

import pytest

from core.bench.cells import CELLS, CellFile
from core.bench.output import SCHEMA_PATH, bench_json_schema, load_report, open_folder, write_report
from core.bench.plot_pareto import front
from core.bench.plots import write_plots
from core.bench.summary import summarise
from core.bench.tables import markdown
from core.errors import InputError
from tests.core.bench.small import made_up, small_suite

VALUES = {"rays 20": [24.0, 28.0], "rays 45": [26.0, 31.0], "pose 45": [25.0, 29.0], "sliding": [14.0, 15.0]}


@pytest.fixture
def suite(tmp_path):
    return small_suite(tmp_path)


@pytest.fixture
def report(suite):
    done = {task: made_up(task, VALUES[task.setting.label]) for task in suite.tasks()}
    return summarise(suite, done, command="worldkv bench --suite small.yaml")


def test_rows_are_means_over_worlds_with_intervals(report):
    row = report.row("rays 45", ["peek"])
    assert row.given["truth_psnr_db"].mean == 28.5
    assert (row.given["truth_psnr_db"].low, row.given["truth_psnr_db"].high) == (26.0, 31.0)
    assert row.costs.cpu_ms == pytest.approx(30 * 5 / (3 + 2 / 5), abs=1e-3), "2 of 5 chunks take a fifth"
    assert row.costs.kv_bytes == 3 << 20
    assert row.by_script == {"peek": dict.fromkeys(row.by_script["peek"], 28.5)}
    assert report.row("sliding", ["peek"]).free == {}
    assert report.status == "done"


def test_differences_are_paired(report):
    """Worlds differ by 4 to 5 dB, the settings by 1 to 2 in each of them."""
    rays = next(c for c in report.comparisons if c.words == "rays 45 over pose" and c.given)
    told = rays.differences["truth_psnr_db"]
    assert (told.mean, told.low, told.high) == (1.5, 1.0, 2.0)
    assert {(c.family, c.given) for c in report.comparisons} == {
        ("rays", True), ("rays", False), ("modes", True),
    }  # fmt: skip


def test_what_is_unfinished_is_left_out(suite):
    done = {t: made_up(t, VALUES[t.setting.label]) for t in suite.tasks() if t.setting.label != "pose 45"}
    report = summarise(suite, done, command="")
    assert report.status == "interrupted"
    assert report.row("pose 45", ["peek"]) is None
    assert not [c for c in report.comparisons if "pose" in c.words]
    assert "Unfinished: 5 of 7 cells" in markdown(report)


def test_tables(report):
    text = markdown(report)
    assert "| rays 45 | 225 | 1.00 | 3.00 | 28.50 ±2.50 | 28.500 ±2.500 | 28.50 ±2.50 | 44 |" in text
    assert "| rays over sliding | given | +14.00 (+12.00 to +16.00) | - | +14.00 (+12.00 to +16.00) |" in text
    assert "Held-out worlds 32 to 33" in text


def test_files_hold_the_same(report, tmp_path):
    write_report(report, tmp_path)
    assert load_report(tmp_path) == report
    with (tmp_path / "bench.csv").open() as file:
        lines = list(csv.DictReader(file))
    found = [line for line in lines if (line["setting"], line["measure"]) == ("rays 45", "truth_psnr_db")]
    assert [line["mean"] for line in found] == ["28.5"]


def test_the_committed_schema_is_up_to_date():
    assert json.loads(SCHEMA_PATH.read_text()) == bench_json_schema()


def test_figures_show_every_family(report, tmp_path):
    pytest.importorskip("matplotlib")
    names = {path.name for path in write_plots(report, tmp_path)}
    assert names == {f"{n}.{kind}" for n in ("pareto", "rays", "modes") for kind in ("png", "svg")}
    text = (tmp_path / "pareto.svg").read_text()
    for words in ("bank, peak (MiB a rollout", "keys that a chunk attends to", "ms a chunk", "rays 45"):
        assert words in text
    text = (tmp_path / "rays.svg").read_text()
    assert "rays 45 over pose" in text
    assert "paired difference, PSNR (dB)" in text


def test_the_front_holds_what_nothing_beats():
    points = [(3.0, 5.0), (1.0, 2.0), (2.0, 1.0), (2.0, 4.0), (4.0, 5.0), (1.0, 1.0)]
    assert front(points) == [1, 3, 0]


def test_cells_survive_a_torn_line(suite, tmp_path):
    path = tmp_path / CELLS
    file = CellFile(path)
    first, second = (made_up(task, [1.0, 2.0]) for task in suite.tasks()[:2])
    file.append(first)
    file.append(second)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = CellFile(path)
    assert dict(again.cells) == {first.key: first}
    again.append(second)
    assert path.read_bytes() == whole
    assert dict(CellFile(path).cells) == {first.key: first, second.key: second}


def test_a_strange_line_is_refused(tmp_path):
    (tmp_path / CELLS).write_text('{"key": 1}\n')
    with pytest.raises(InputError, match="no cell of a bench") as error:
        CellFile(tmp_path / CELLS)
    assert error.value.where.endswith("cells.jsonl:1")


def test_folders(suite, tmp_path):
    out = tmp_path / "out"
    with open_folder(out, "small") as (folder, cells):
        cells.append(made_up(suite.tasks()[0], [1.0, 2.0]))
        with pytest.raises(InputError, match="another run is writing"), open_folder(out, "small"):
            pass
    with open_folder(folder, "small") as (_, cells):
        assert len(cells.cells) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with (
        pytest.raises(InputError, match=r"no bench.s: it holds thesis\.txt"),
        open_folder(tmp_path / "mine", "s"),
    ):
        pass
