"""Stopping politely: the first Ctrl-C lets the current chunk finish, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody has asked the run to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn Ctrl-C and termination into a request while the block runs.

    The second Ctrl-C raises KeyboardInterrupt. Outside of the main thread, where Python allows no handlers,
    the request is never made.
    """
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - what a handler is called with
        if request.asked:
            raise KeyboardInterrupt
        request.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
