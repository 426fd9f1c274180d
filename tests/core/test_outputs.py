import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from core.errors import InputError, OutputError
from core.outputs import RunFolder, atomic_file, write_atomic

NOW = datetime(2026, 3, 4, 5, 6, 7)


def leave_a_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text('{\n  "schema_version": 1\n}')
    for name in ("chunks.jsonl", "video.mp4", "video.partial.mp4", "views.jsonl", "report.html"):
        (folder / name).write_text("")
    (folder / "snapshot").mkdir()
    (folder / "snapshot" / "state.safetensors").write_text("")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_default_folders_are_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunFolder.create(None, "loop", now=NOW) as first, RunFolder.create(None, "loop", now=NOW) as second:
        assert first.path == Path("runs/loop-20260304-050607")
        assert second.path == Path("runs/loop-20260304-050607-2")
    assert names_in(first.path) == []


def test_names_its_files(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "a" / "b", "loop") as folder:
        assert [
            path.name for path in (folder.video, folder.log, folder.chunks, folder.views, folder.snapshot)
        ] == [
            "video.mp4",
            "run.json",
            "chunks.jsonl",
            "views.jsonl",
            "snapshot",
        ]
        assert {path.parent for path in (folder.video, folder.log)} == {tmp_path / "a" / "b"}


def test_takes_an_empty_folder(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "loop") as folder:
        assert folder.path == tmp_path


def test_never_replaces_unasked(tmp_path: Path) -> None:
    leave_a_run(tmp_path / "run")
    before = names_in(tmp_path / "run")
    with pytest.raises(
        InputError, match=r"the output folder is not empty: chunks\.jsonl, report\.html, run\.json, "
    ) as c:
        RunFolder.create(tmp_path / "run", "loop")
    assert c.value.hint == "--overwrite replaces an earlier run, or choose another --out"
    assert names_in(tmp_path / "run") == before


def test_overwrite_removes_our_files_only(tmp_path: Path) -> None:
    leave_a_run(tmp_path / "run")
    (tmp_path / "run" / "thesis.pdf").write_text("years of work")
    (tmp_path / "run" / "photos").mkdir()
    with RunFolder.create(tmp_path / "run", "loop", overwrite=True):
        pass
    assert names_in(tmp_path / "run") == ["photos", "thesis.pdf"]


@pytest.mark.parametrize("name", ["video.mp4", "snapshot"])
def test_overwrite_spares_what_only_looks_like_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "precious").write_text("")
    with pytest.raises(InputError, match=f"has a {name} that no run of worldkv left"):
        RunFolder.create(tmp_path, "loop", overwrite=True)
    assert (tmp_path / name / "precious").exists()


def test_overwrite_does_not_follow_a_linked_snapshot(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "chunks.jsonl").write_text('{"chunk":0}\n')
    (tmp_path / "run" / "snapshot").symlink_to(tmp_path / "elsewhere")
    RunFolder.create(tmp_path / "run", "loop", overwrite=True).close()
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert names_in(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ("file", "a folder was expected, this is a file"),
        ("file/below", "a folder was expected, this is a file"),
        ("/proc/worldkv", "the output folder cannot be made: No such file or directory"),
        ("/proc/self", "the output folder cannot be written"),
        ("n" * 300, "the output folder cannot be made: File name too long"),
    ],
)
def test_impossible_folders(tmp_path: Path, out: str, problem: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=problem) as caught:
        RunFolder.create(tmp_path / out, "loop")
    assert caught.value.hint == "choose another --out"


def test_read_only_parent(tmp_path: Path) -> None:
    """As an ordinary user: root may write everywhere."""
    tmp_path.chmod(0o555)
    code = (
        "import os, sys; from pathlib import Path; from core.errors import InputError\n"
        "from core.outputs import RunFolder\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: RunFolder.create(Path(sys.argv[1]) / 'run', 'loop')\n"
        "except InputError as error: print(error.problem)\n"
    )
    private = [parent for parent in tmp_path.parents if parent.stat().st_mode & 0o055 != 0o055]
    modes = {parent: parent.stat().st_mode for parent in private if os.geteuid() == 0}
    for parent, mode in modes.items():
        parent.chmod(mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    for parent, mode in modes.items():
        parent.chmod(mode)
    assert (done.stdout, done.stderr) == ("the output folder cannot be made: Permission denied\n", "")


class TestLock:
    def test_two_runs_cannot_share_a_folder(self, tmp_path: Path) -> None:
        with RunFolder.create(tmp_path, "loop"):
            for overwrite in (False, True):
                with pytest.raises(InputError, match="another run is writing to this folder"):
                    RunFolder.create(tmp_path, "loop", overwrite=overwrite)
        RunFolder.create(tmp_path, "loop").close()

    def test_a_killed_run_gives_the_folder_up(self, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys; from pathlib import Path; from core.outputs import RunFolder\n"
            "RunFolder.create(Path(sys.argv[1]), 'loop'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert done.returncode == -9
        assert names_in(tmp_path) == [".lock"]
        with RunFolder.create(tmp_path, "loop"):
            pass
        assert names_in(tmp_path) == []

    def test_one_of_many_gets_it(self, tmp_path: Path) -> None:
        won: list[RunFolder] = []
        lost: list[InputError] = []
        barrier = threading.Barrier(8)

        def race() -> None:
            barrier.wait()
            try:
                won.append(RunFolder.create(tmp_path / "run", "loop"))
            except InputError as error:
                lost.append(error)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 7)
        won[0].close()


class TestAtomicFile:
    def test_replaces_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text("old")
        with atomic_file(path) as file:
            file.write("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert names_in(tmp_path) == ["a.json"]

    def test_an_error_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text("old")
        with pytest.raises(KeyError), atomic_file(path):
            raise KeyError
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["a.json"]

    def test_mode_follows_the_umask(self, tmp_path: Path) -> None:
        before = os.umask(0o027)
        try:
            write_atomic(tmp_path / "a.json", "x")
        finally:
            os.umask(before)
        assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640

    def test_unwritable(self) -> None:
        with pytest.raises(OutputError, match=r"a\.json cannot be written"):
            write_atomic(Path("/proc/a.json"), "x")
