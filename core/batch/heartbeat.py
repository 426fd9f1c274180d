"""While a process works on a job, its claim's time moves."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType

from core.batch.history import HEARTBEAT_S, Attempt, is_superseded

logger = logging.getLogger(__name__)


class Heartbeat:
    """Says that an attempt lives, and notices if it lives no longer in the eyes of others.

    Args:
        attempt: The attempt, made by this process.
        on_lost: Called from a thread if somebody took over: this process must not touch the run folder again.
        every_s: Seconds between two beats.
    """

    def __init__(
        self, attempt: Attempt, on_lost: Callable[[], None], *, every_s: float = HEARTBEAT_S
    ) -> None:
        self._attempt, self._on_lost, self._every_s = attempt, on_lost, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                os.utime(self._attempt.path)
                lost = is_superseded(self._attempt)
            except FileNotFoundError:  # somebody removed the state: the next one will start from nothing
                lost = True
            except OSError as error:
                logger.warning("no heartbeat: %s (%s)", error.strerror, self._attempt.path)
                continue
            if lost:
                self._on_lost()
                return
