"""From cells to rows, differences, tables and figures."""

import csv
import json
from dataclasses import replace

import pytest

from core.bench.cells import CELLS, CellFile
from core.bench.operations import chunk_operations
from core.bench.output import (
    SCHEMA_PATH,
    bench_json_schema,
    load_report,
    open_folder,
    told_families,
    write_report,
)
from core.bench.plot_pareto import front
from core.bench.plots import write_plots
from core.bench.setting import Setting
from core.bench.suite import load_suite
from core.bench.summary import summarise
from core.bench.tables import markdown
from core.errors import InputError
from core.models.mini.config import MiniConfig
from core.profiling.flops import ChunkShape, pass_work
from core.schemas.bench_cell import Cell, Machine
from tests.core.bench.small import SUITE, made_up, small_file, small_suite

VALUES = {"rays 20": [24.0, 28.0], "rays 45": [26.0, 31.0], "pose 45": [25.0, 29.0], "sliding": [14.0, 15.0]}
HERE, THERE = (Machine(processor=name, versions={"torch": "2"}) for name in ("one", "another"))


@pytest.fixture
def suite(tmp_path):
    return small_suite(tmp_path)


@pytest.fixture
def report(suite):
    done = {task: made_up(task, VALUES[task.setting.label], machine=HERE) for task in suite.tasks()}
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
    told = "28.50 ±2.50 | 28.50 ±2.50 | 28.500 ±2.500 | 28.50 ±2.50"
    flops = report.row("rays 45", ["peek"]).costs.operations / 1e9
    assert f"| rays 45 | 225 | 1.00 | 3.00 | {told} | {flops:.2f} | 44 |" in text
    differences = " | ".join(["+14.00 (+12.00 to +16.00)"] * 3)
    assert f"| rays over sliding | given | {differences} |" in text
    assert "one thread a worker on one (torch 2)." in text
    assert "Held-out worlds 32 to 33" in text


def test_times_of_several_machines_are_left_out(suite):
    machines = [HERE, THERE, None, HERE, HERE, THERE, HERE]
    played = zip(suite.tasks(), machines, strict=True)
    done = {task: made_up(task, VALUES[task.setting.label], machine=on) for task, on in played}
    report = summarise(suite, done, command="")
    assert [(each.machine, each.cells) for each in report.machines] == [(HERE, 4), (THERE, 2), (None, 1)]
    text = markdown(report)
    assert "CPU ms" not in text
    assert "Processor times are left out" in text
    assert "4 cells on one (torch 2), 2 cells on another (torch 2), 1 cells on a machine" in text


def test_a_cell_that_names_no_machine_is_read(suite):
    cell = made_up(suite.tasks()[0], [1.0, 2.0])
    told = json.loads(cell.model_dump_json())
    assert told.pop("machine") is None
    assert Cell.model_validate(told) == cell


def test_operations_grow_with_keys_and_passes(suite):
    script = suite.scripts["peek"]

    def count(given_chunks=0, **fields):
        return chunk_operations(Setting(**fields), script, given_chunks=given_chunks)

    few, many = count(tokens=20), count(tokens=45)
    assert count(mode="sliding", recent=1) < few < many
    assert count(tokens=45, commit="last") == pytest.approx(many * 0.8, rel=0.03)
    assert count(tokens=45, given_chunks=2) > many, "the first chunks see least"
    by_hand = 5 * pass_work(MiniConfig().network, ChunkShape(tokens=45, frames=3, keys=45)).flops
    first = count(mode="sliding", recent=0)
    assert first == pytest.approx(by_hand, rel=0.1)
    assert first > by_hand, "what is made ready once comes on top"


def test_the_mean_of_several_is_taken_in_every_world(tmp_path):
    suite = load_suite(small_file(tmp_path, SUITE.replace("b: {mode: sliding}}", "b: {tokens: [20, 46]}}")))
    values = VALUES | {"rays 46": [28.0, 30.0]}
    done = {task: made_up(task, values[task.setting.label]) for task in suite.tasks()}
    told = summarise(suite, done, command="").comparisons[-1]
    assert told.b == "mean of rays 20, rays 46"
    difference = told.differences["truth_psnr_db"]
    assert (difference.low, difference.high) == (0.0, 2.0), "26 over (24 + 28) / 2, 31 over (28 + 30) / 2"


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
    for words in (
        "bank, peak (MiB a rollout",
        "keys that a chunk attends to",
        "operations of a generated chunk",
        "rays 45",
    ):
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


def test_the_front_goes_on_below_the_floor(report, tmp_path):
    """The cheapest setting is 13 dB below the best, and nothing beats it at its price."""
    pytest.importorskip("matplotlib")
    write_plots(report, tmp_path)
    assert "sliding, 14.5" in (tmp_path / "pareto.svg").read_text()


def test_a_report_is_not_written_over_one_of_another_suite(report, suite, tmp_path):
    assert told_families(tmp_path, suite) == []
    write_report(report, tmp_path)
    assert told_families(tmp_path, suite) == ["rays", "modes"]
    for other in (replace(suite, name="large"), replace(suite, num_worlds=3), replace(suite, first_world=1)):
        with pytest.raises(InputError, match="holds the results of suite small on worlds 32 to 33") as error:
            told_families(tmp_path, other)
        assert "another --out" in error.value.hint
    (tmp_path / "bench.json").write_text("{}")
    with pytest.raises(InputError, match="no report of a bench"):
        told_families(tmp_path, suite)


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
