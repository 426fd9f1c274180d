"""Fetching the files of a plan: several at a time, each from where it stopped, checked as it comes."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import BinaryIO, Final, cast

from core.errors import ModelFilesError, WorldKVError
from core.models.hub import Pull
from core.models.hub_errors import explain, first_line, hub_errors, is_transient
from core.models.hub_files import RemoteFile
from core.models.hub_partial import PartialFile, quiet_library, sole_writer

_LOG = logging.getLogger(__name__)
_NUM_PARALLEL: Final = 4  # connections; one alone seldom fills a fast line
_TRIES: Final = 5  # of a file without a byte of progress in between
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_TICK_S: Final = 0.2
_GRACE_S: Final = 2.0


def fetch(pull: Pull, *, on_progress: Callable[[int], None] = lambda _: None) -> tuple[RemoteFile, ...]:
    """Fetch what is missing.

    Whatever stops it, Ctrl-C and power cuts included, the next plan finds what has arrived.

    Args:
        pull: The plan.
        on_progress: Called now and then, from this thread, with the bytes that are there of all files.

    Returns:
        The files that were fetched or linked.

    Raises:
        InputError: Another fetch writes to the same place.
        ModelFilesError: The hub fails for good, or sends something else than it announced.
        OutputError: The disk does not take the files.
    """
    todo = tuple(file.remote for file in pull.todo)
    if not todo:
        return ()
    with ExitStack() as stack:
        try:
            stack.enter_context(sole_writer(pull.place.lock))
        except OSError as error:
            raise _explained(pull, todo[0], error) from error
        stack.enter_context(quiet_library())
        _fetch_all(_Work(pull), todo, on_progress)
    on_progress(pull.total_bytes)
    return todo


def _fetch_all(work: _Work, todo: tuple[RemoteFile, ...], on_progress: Callable[[int], None]) -> None:
    """Spread the files over threads, and wait for all or for the first that fails.

    The threads are daemons: one that sits out a long pause of the hub must not keep Ctrl-C waiting.
    """
    growing: dict[Path, list[RemoteFile]] = {}  # in a cache, files of equal content share one partial file
    for file in todo:
        growing.setdefault(work.place.partial(file), []).append(file)
    waiting, outcomes = deque(growing.values()), Queue[Exception | None]()
    threads = [
        threading.Thread(target=work.run, args=(waiting, outcomes), daemon=True)
        for _ in range(min(_NUM_PARALLEL, len(growing)))
    ]
    for thread in threads:
        thread.start()
    try:
        num_left = len(growing)
        while num_left:
            with suppress(Empty):
                if error := outcomes.get(timeout=_TICK_S):
                    raise error
                num_left -= 1
            on_progress(work.here_bytes)
    finally:
        work.stop.set()
        give_up = time.monotonic() + _GRACE_S
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        on_progress(work.here_bytes)


class _StoppedError(Exception):
    """Another file has failed, or the user has had enough."""


class _DamagedError(Exception):
    """The bytes are not those that the hub announced."""


class _Work:
    """What the fetching threads share.

    Attributes:
        stop: Set when all are to end.
        place: Where the files go.
        here_bytes: Bytes that are there, of all files of the plan.
    """

    def __init__(self, pull: Pull) -> None:
        self.stop = threading.Event()
        self.here_bytes = pull.total_bytes - pull.missing_bytes
        self._pull, self.place = pull, pull.place
        self._lock = threading.Lock()

    def run(self, waiting: deque[list[RemoteFile]], outcomes: Queue[Exception | None]) -> None:
        """Take what waits, until nothing does; tell of each how it went: None, or an error."""
        while waiting and not self.stop.is_set():
            with suppress(IndexError):  # another thread was faster
                files = waiting.popleft()
                try:
                    for file in files:
                        self._fetch(file)
                except Exception as error:  # noqa: BLE001 - raised in the thread that waits for it
                    outcomes.put(error)
                else:
                    outcomes.put(None)

    def _fetch(self, file: RemoteFile) -> None:
        """Bring a file to its place, however often the connection breaks."""
        tries, wait_s = 0, _FIRST_WAIT_S
        while True:
            begun_bytes = self.place.received(file)
            try:
                self._transfer(file)
                self.place.keep(file)
                return
            except _DamagedError as damage:
                self._discard(file)
                if begun_bytes == 0:
                    raise self._wrong(file, str(damage)) from None
                _LOG.warning("%s: its beginning was damaged, once more from the start", file.path)
            except hub_errors() as error:
                if self.place.received(file) > begun_bytes:
                    tries, wait_s = 0, _FIRST_WAIT_S
                tries += 1
                if tries >= _TRIES or not is_transient(error):
                    raise _explained(self._pull, file, error) from error
                _LOG.warning("%s: %s; trying again in %g s", file.path, first_line(error), wait_s)
                self.stop.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                self._check_stop()

    def _transfer(self, file: RemoteFile) -> None:
        """Append what is missing to the partial file, and check the whole."""
        if self.place.has_content(file):
            return  # the cache has it from another revision; only the link is missing
        path = self.place.partial(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with PartialFile(path, file, on_bytes=self._count, check_stop=self._check_stop) as partial:
            if partial.size_bytes < file.size_bytes:
                self._receive(file, partial)
        if partial.size_bytes != file.size_bytes:
            raise _DamagedError(f"{partial.size_bytes} bytes, not {file.size_bytes}")
        if not partial.checksum.matches:
            raise _DamagedError("the checksum differs")

    def _receive(self, file: RemoteFile, partial: PartialFile) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # no __all__

        try:
            http_get(
                hf_hub_url(file.part.repo, file.path, revision=file.commit, endpoint=self._pull.endpoint),
                cast("BinaryIO", partial),
                resume_size=partial.size_bytes,
                headers=build_hf_headers(library_name="worldkv", headers={"Accept-Encoding": "identity"}),
                expected_size=file.size_bytes,
                displayed_filename=file.name,
            )
        except OSError as error:
            if _is_about_size(error):
                raise _DamagedError(f"{partial.size_bytes} bytes, not {file.size_bytes}") from error
            raise

    def _count(self, num_bytes: int) -> None:
        with self._lock:
            self.here_bytes += num_bytes

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise _StoppedError

    def _discard(self, file: RemoteFile) -> None:
        path = self.place.partial(file)
        if path.exists():
            self._count(-min(file.size_bytes, path.stat().st_size))
            path.unlink()

    def _wrong(self, file: RemoteFile, problem: str) -> ModelFilesError:
        return ModelFilesError(
            f"the hub sends something else than it announced: {problem}",
            where=f"{self._pull.endpoint}/{file.part.repo}: {file.path}",
            hint="try again later; if it stays, a proxy or mirror alters the file: check HF_ENDPOINT",
        )


def _explained(pull: Pull, file: RemoteFile, error: Exception) -> WorldKVError:
    where = str(pull.place.partial(file))
    return explain(error, repo=file.part.repo, endpoint=pull.endpoint, where=where)


def _is_about_size(error: OSError) -> bool:
    """Whether the library, or the hub, finds that the sizes differ."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status == 416 or (type(error) is OSError and error.errno is None)
