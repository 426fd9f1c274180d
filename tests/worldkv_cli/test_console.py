import itertools
import logging
import os
import pty
import subprocess
import sys
import textwrap

import pytest

from core.errors import BudgetError, InputError, ModelFilesError, OutputError, WorldKVError
from trajectories.errors import SchemaError
from worldkv_cli.console import (
    guard,
    human_bytes,
    human_time,
    print_error,
    print_json,
    print_warning,
    set_up_logging,
)
from worldkv_cli.progress import LineProgress, RolloutProgress, progress

PROBLEM = InputError("keep_ratio must lie in (0, 1], got 0", where="--keep-ratio", hint="0.25 halves a chunk")


def on_a_terminal(code: str, **environment: str) -> str:
    """What a program shows on a terminal of 120 columns."""
    ours, theirs = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=base | {"TERM": "xterm-256color", "COLUMNS": "120"} | environment,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux tells the end of a terminal this way
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(timeout=20) == 0, shown.decode()
    return shown.decode()


class TestPrintError:
    def test_three_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_error(PROBLEM)
        out, err = capsys.readouterr()
        assert out == ""
        assert err == (
            "error: keep_ratio must lie in (0, 1], got 0\n  at: --keep-ratio\nhint: 0.25 halves a chunk\n"
        )

    def test_empty_parts_are_left_out(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_error(WorldKVError("no luck"))
        assert capsys.readouterr().err == "error: no luck\n"

    def test_nothing_is_interpreted_or_wrapped(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_error(InputError("[bold]" + "x" * 500 + "[/]", where="a.yaml:3:7 (steps[0])"))
        assert capsys.readouterr().err == f"error: [bold]{'x' * 500}[/]\n  at: a.yaml:3:7 (steps[0])\n"

    def test_a_file_name_cannot_steer_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_error(InputError("missing", where="\033[2Jevil\rname.yaml"))
        assert capsys.readouterr().err == "error: missing\n  at: \\x1b[2Jevil\\rname.yaml\n"

    def test_colours_on_a_terminal_only(self) -> None:
        code = "from worldkv_cli.console import print_error; from core.errors import InputError\n"
        code += "print_error(InputError('p', where='w', hint='h'))"
        plain = "error: p\r\n  at: w\r\nhint: h\r\n"
        assert (
            on_a_terminal(code)
            == "\033[1;31merror:\033[0m p\r\n\033[2m  at:\033[0m w\r\n\033[36mhint:\033[0m h\r\n"
        )
        assert on_a_terminal(code, NO_COLOR="1") == plain
        assert on_a_terminal(code, TERM="dumb") == plain


class TestGuard:
    @pytest.mark.parametrize(
        ("error", "exit_code"),
        [
            (WorldKVError("p"), 1),
            (OutputError("p"), 1),
            (InputError("p"), 2),
            (SchemaError("p"), 2),
            (BudgetError("p"), 3),
            (ModelFilesError("p"), 4),
        ],
    )
    def test_exit_codes(self, error: Exception, exit_code: int, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught, guard():
            raise error
        assert caught.value.code == exit_code
        assert capsys.readouterr().err == "error: p\n"

    def test_further_errors_of_a_trajectory_follow(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit), guard():
            raise SchemaError("one", where="a:1", also=[SchemaError("two", where="a:2")])
        assert capsys.readouterr().err == "error: one\n  at: a:1\nerror: two\n  at: a:2\n"

    @pytest.mark.parametrize(("told", "shown"), [("", "interrupted\n"), ("2 of 9", "interrupted: 2 of 9\n")])
    def test_interrupt(self, told: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught, guard():
            raise KeyboardInterrupt(told)
        assert caught.value.code == 130
        assert capsys.readouterr().err == shown

    def test_bug_shows_its_traceback(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught, guard():
            raise KeyError("frames")
        assert caught.value.code == 1
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-3] == "error: worldkv has a bug: KeyError: 'frames'"
        assert lines[-2].startswith(f"  at: {__file__}:")
        assert (
            lines[-1]
            == "hint: please report it with the lines above, the command and `worldkv doctor --json`"
        )

    def test_is_a_decorator(self) -> None:
        @guard()
        def command() -> None:
            raise PROBLEM

        with pytest.raises(SystemExit):
            command()


class TestLogging:
    def test_warnings_of_the_packages_reach_stderr_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
        try:
            set_up_logging()
            set_up_logging()
            logging.getLogger("core.rollout").warning("cut to %d frames", 96)
            logging.getLogger("core.rollout").info("silent")
        finally:
            root.handlers = handlers
        assert capsys.readouterr().err == "warning: cut to 96 frames\n"

    def test_print_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        print_warning("odd")
        assert capsys.readouterr().err == "warning: odd\n"


def test_json_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"fps": 3.5, "path": "a"})
    out, err = capsys.readouterr()
    assert (out, err) == ('{\n  "fps": 3.5,\n  "path": "a"\n}\n', "")


def test_reader_that_leaves_early_is_no_error() -> None:
    code = (
        "from worldkv_cli.console import guard\nwith guard():\n    while True: print('x' * 100, flush=True)\n"
    )
    script = f'{sys.executable} -c "$CODE" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"CODE": code}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (3_456_789, "3.46 MB"), (5e12, "5 TB")]
)
def test_human_bytes(size: float, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (725, "12:05"), (3723, "1:02:03")]
)
def test_human_time(seconds: float, text: str) -> None:
    assert human_time(seconds) == text


RECORD = {
    "num_frames": 12,
    "hits": 2,
    "misses": 1,
    "bank_bytes": {"device": 1_000_000, "host": 500_000, "disk": 0},
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestProgress:
    def test_loading_of_unknown_size_is_told_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        clock = itertools.count(0.0, 20.0).__next__
        with LineProgress(1, clock=clock) as display:
            for _ in range(5):
                display.loading("first picture", 0, 0)
            display.loading("transformer", 1_000_000, 4_000_000)
            display.loading("transformer", 2_000_000, 4_000_000)
        assert capsys.readouterr().err.splitlines() == [
            "loading first picture",
            "loading transformer: 1 MB of 4 MB",
            "loading transformer: 2 MB of 4 MB",
        ]

    def test_a_line_for_every_tenth(self, capsys: pytest.CaptureFixture[str]) -> None:
        clock = Clock()
        with LineProgress(40, clock=clock) as display:
            for _ in range(40):
                clock.now += 0.5
                display.update(RECORD)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 10
        assert lines[0] == "chunk 4/40 (10%): 24.0 fps, 0:18 to go, hits 8, misses 4, bank 1.5 MB"
        assert lines[-1] == "chunk 40/40 (100%): 24.0 fps, 0:00 to go, hits 80, misses 40, bank 1.5 MB"

    def test_slow_rollouts_say_something_every_ten_seconds(self, capsys: pytest.CaptureFixture[str]) -> None:
        clock = Clock()
        with LineProgress(1_000, clock=clock) as display:
            for _ in range(6):
                clock.now += 5.0
                display.update(RECORD)
        assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == [
            "2/1000",
            "4/1000",
            "6/1000",
        ]

    def test_speed_is_that_of_the_last_chunks(self) -> None:
        clock = Clock()
        with RolloutProgress(100, clock=clock) as display:
            assert (display.fps, display.remaining_s) == (0.0, None)
            for seconds in [60.0] + [1.0] * 8:
                clock.now += seconds
                display.update(RECORD)
        assert display.fps == pytest.approx(12.0)
        assert display.remaining_s == pytest.approx(91.0)

    def test_quiet(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress(2, quiet=True) as display:
            display.update(RECORD)
        assert capsys.readouterr() == ("", "")

    def test_pipe_gets_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress(1) as display:
            display.update(RECORD)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("chunk 1/1 (100%): ")

    def test_terminal_gets_a_live_line(self) -> None:
        code = f"""
            from worldkv_cli.progress import progress
            with progress(3) as display:
                for _ in range(3):
                    display.update({RECORD!r})
        """
        shown = on_a_terminal(code)
        last = shown.rpartition("chunk")[2]
        assert "3/3" in last
        assert "hits 6, misses 3, bank 1.5 MB" in last
        assert "\033[38;5" in shown or "\033[32m" in shown or "\033[35m" in shown
        plain = on_a_terminal(code, NO_COLOR="1")
        assert "\033[3" not in plain
        assert "3/3" in plain
