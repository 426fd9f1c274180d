"""What the user sees: errors in three lines, logs, results. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TextIO, cast

import typer

from core.errors import WorldKVError

EXIT_BUG: Final = 1
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141  # as a shell reports SIGPIPE
_MAX_FURTHER_ERRORS: Final = 9
_CODES: Final = {"error": "1;31", "warning": "1;33", "at": "2", "hint": "36"}
# Typer's own usage errors, whichever click they come from: BadParameter < UsageError < ClickException.
_USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])


class ThreeLines(Protocol):
    """An error with a cure: WorldKVError and TrajectoryError alike."""

    problem: str
    where: str
    hint: str


def print_error(error: ThreeLines) -> None:
    """Tell what is wrong, where, and how to mend it; empty parts are left out."""
    _say("error", error.problem)
    if error.where:
        _say("at", error.where)
    if error.hint:
        _say("hint", error.hint)


def print_warning(message: str) -> None:
    """Tell what is odd, but no reason to stop."""
    _say("warning", message)


def print_json(result: Mapping[str, Any]) -> None:
    """The result of a command under `--json`: one object on stdout."""
    sys.stdout.write(json.dumps(result, indent=2, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def guard() -> Iterator[None]:
    """Turn errors into their three lines and exit codes. Also a decorator.

    Raise `KeyboardInterrupt("2 of 9 chunks are in runs/loop/video.mp4")` to say what an interrupted command
    leaves.
    """
    try:
        yield
    except WorldKVError as error:
        print_error(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt as interrupt:
        _write(sys.stderr, "\n" if sys.stderr.isatty() else "")  # the terminal's ^C stands on this line
        _write(
            sys.stderr, f"interrupted: {_printable(str(interrupt))}\n" if str(interrupt) else "interrupted\n"
        )
        raise SystemExit(EXIT_INTERRUPTED) from None
    except (typer.Exit, typer.Abort, _USAGE_ERROR):
        raise
    except BrokenPipeError:  # the reader of our stdout has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit complains
        raise SystemExit(EXIT_CLOSED_PIPE) from None
    except Exception as error:  # noqa: BLE001 - the last place where a bug can still be explained
        from trajectories.errors import TrajectoryError  # not before: help would wait for numpy

        if isinstance(error, TrajectoryError):
            for each in (error, *error.also[:_MAX_FURTHER_ERRORS]):
                print_error(each)
            raise SystemExit(error.exit_code) from None
        _print_bug(error)
        raise SystemExit(EXIT_BUG) from None


class StderrHandler(logging.Handler):
    """Log lines look like our errors, and pass through whatever stands for stderr at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one log line."""
        if record.levelno >= logging.ERROR:
            _say("error", record.getMessage())
        elif record.levelno >= logging.WARNING:
            _say("warning", record.getMessage())
        else:
            _write(sys.stderr, f"{_printable(record.getMessage())}\n")


def set_up_logging() -> None:
    """Send warnings of the packages to stderr; once is enough."""
    root = logging.getLogger()
    if not any(isinstance(handler, StderrHandler) for handler in root.handlers):
        root.addHandler(StderrHandler(logging.WARNING))


def wants_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user did not object (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def human_bytes(num_bytes: float) -> str:
    """A size as people write it: "512 B", "3.4 MB", "12 GB" (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def human_time(seconds: float) -> str:
    """A duration as a clock shows it: "0:07", "12:30", "1:02:03"."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _say(label: str, text: str) -> None:
    head = "  at:" if label == "at" else f"{label}:"
    if wants_colour(sys.stderr) and label in _CODES:
        head = f"\033[{_CODES[label]}m{head}\033[0m"
    _write(sys.stderr, f"{head} {_printable(text)}\n")


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _printable(text: str) -> str:
    """`text` without what could steer a terminal: file names and YAML values end up in messages."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


def _print_bug(error: Exception) -> None:
    _write(sys.stderr, "".join(traceback.format_exception(error)))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    first_line = (str(error).splitlines() or [""])[0]
    _say("error", f"worldkv has a bug: {type(error).__name__}: {first_line}")
    _say("at", f"{frame.filename}:{frame.lineno}")
    _say("hint", "please report it with the lines above, the command and `worldkv doctor --json`")
