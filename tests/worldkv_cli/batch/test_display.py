import sys
from pathlib import Path

import pytest
from rich.console import Console

from core.batch.events import Advanced, Ended, Loading, Started, WorkerLost
from core.batch.history import End, write_end
from core.batch.identity import identity_of_config
from core.batch.loader import Batch
from core.errors import BudgetError
from tests.core.batch.manifests import look, shorts
from tests.core.batch.test_history import claimed
from worldkv_cli.commands.batch_display import (
    BatchDisplay,
    LineBatchDisplay,
    LiveBatchDisplay,
    batch_display,
)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Three jobs, of which the second has failed for good."""
    batch = shorts(tmp_path, 3, "retries: 0")
    identity = identity_of_config(batch.jobs[1].resolved.config)
    write_end(claimed(batch.state / "s1", identity), End.now("failed", BudgetError("too big")))
    return batch


def play(display: BatchDisplay, batch: Batch) -> None:
    """A job that runs, and one that fails."""
    for status in look(batch):
        display.see(status)
    display.states["s1"] = "waiting"
    display.hear(Started("s0", "worker 1", 1, 0, 47))
    display.hear(Loading("s0", "transformer", 10**9, 4 * 10**9))
    display.hear(Advanced("s0", 12, 36))
    display.hear(Started("s1", "worker 2", 1, 0, 1))
    display.hear(Ended("s1", None))
    display.see(look(batch)[1])


def test_counts(batch: Batch) -> None:
    display = BatchDisplay(3)
    assert display.counted == "3 waiting"
    play(display, batch)
    assert display.counted == "1 running, 1 waiting, 1 failed"
    display.hear(WorkerLost("s0", "killed by SIGKILL"))
    assert display.counted == "2 waiting, 1 failed"


def test_lines(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    display = LineBatchDisplay(3)
    play(display, batch)
    display.hear(WorkerLost("s0", "killed by SIGKILL"))
    assert capsys.readouterr().err.splitlines() == [
        "failed 1/3: s1 (0:00): too big",
        "s0: its worker died (killed by SIGKILL)",
    ]


def test_table(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    with LiveBatchDisplay(3) as display:
        assert isinstance(display, LiveBatchDisplay)
        play(display, batch)
        console = Console(width=80)
        with console.capture() as capture:
            console.print(display.table())
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert lines[0] == "1 running, 1 waiting, 1 failed"
    assert lines[1].split() == ["worker", "job", "chunks", "fps", "time"]
    assert lines[2].split()[:4] == ["worker", "1", "s0", "12/47"]
    assert "too big" in capsys.readouterr().err


def test_table_while_weights_load(batch: Batch) -> None:
    with LiveBatchDisplay(3) as display:
        assert isinstance(display, LiveBatchDisplay)
        display.hear(Started("s0", "worker 1", 1, 0, 47))
        display.hear(Loading("s0", "transformer", 10**9, 4 * 10**9))
        console = Console(width=80)
        with console.capture() as capture:
            console.print(display.table())
    assert "transformer 1 GB of 4 GB" in capture.get()


def test_which_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(batch_display(1, quiet=True)) is BatchDisplay
    assert type(batch_display(1)) is LineBatchDisplay
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(batch_display(1)) is LiveBatchDisplay
    monkeypatch.setenv("TERM", "dumb")
    assert type(batch_display(1)) is LineBatchDisplay
