"""Real cells by real processes: kept, found again, and given up when it is asked to stop."""

from dataclasses import replace

import pytest

from core.bench.cells import CELLS, CellFile
from core.bench.run import finished, run_suite, weights_hash
from tests.core.bench.small import small_suite


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A family of the small suite, played once."""
    folder = tmp_path_factory.mktemp("bench")
    suite = replace(small_suite(folder).only(["modes"]), num_worlds=1)
    told = []
    done = run_suite(suite, CellFile(folder / CELLS), jobs=2, told=told.append)
    return suite, folder, done, told


@pytest.mark.slow
def test_every_cell_is_played_and_kept(played):
    suite, folder, done, told = played
    assert set(done) == set(suite.tasks())
    kept = CellFile(folder / CELLS).cells
    assert {cell.key for cell in done.values()} == set(kept)
    for task, cell in done.items():
        assert cell.score.setting == task.setting.label
        assert len(cell.score.measures["truth_psnr_db"]) == 1
        assert cell.threads == 1
    assert [p.done for p in told] == [0, 1, 2]
    assert told[0].work_done == told[-1].work_left == 0


@pytest.mark.slow
def test_remembering_beats_forgetting(played):
    _, _, done, _ = played
    psnr = {task.setting.label: cell.score.measures["truth_psnr_db"][0] for task, cell in done.items()}
    assert psnr["rays 45"] > psnr["sliding"] + 3


@pytest.mark.slow
def test_what_is_finished_is_not_played_again(played):
    suite, folder, done, _ = played
    before = (folder / CELLS).read_bytes()
    told = []
    assert run_suite(suite, CellFile(folder / CELLS), jobs=1, told=told.append) == done
    assert (folder / CELLS).read_bytes() == before
    assert [(p.done, p.total) for p in told] == [(2, 2)]
    other = replace(suite, first_world=40)
    assert not finished(other, CellFile(folder / CELLS).cells, weights_hash())


def test_stopping_keeps_what_is_finished(tmp_path):
    suite = small_suite(tmp_path)
    cells = CellFile(tmp_path / CELLS)
    assert run_suite(suite, cells, jobs=1, stop=lambda: True) == {}
    assert not (tmp_path / CELLS).exists()
