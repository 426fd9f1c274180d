"""Fetching from a hub on this machine, with all that can go wrong."""

import logging
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InputError, ModelFilesError, OutputError, WorldKVError
from core.models.catalog import find_download
from core.models.hub import SPACE_MARGIN_BYTES, Pull, plan_pull
from core.models.hub_fetch import fetch
from core.models.hub_partial import sole_writer
from core.models.lingbot.files import find_files
from tests.tiny_hub import Fault, TinyHub, hub_environment, lingbot_repos, tiny_hub

BASE = "robbyant/lingbot-world-base-cam"
FAST = "robbyant/lingbot-world-fast"
SHARD = "model-00001-of-00002.safetensors"
VAE = "Wan2.1_VAE.pth"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library's pauses between tries
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)  # what it writes at once
    monkeypatch.setattr("core.models.hub_fetch._FIRST_WAIT_S", 0.001)
    with tiny_hub(lingbot_repos()) as hub:
        hub_environment(monkeypatch, hub, tmp_path)
        yield hub


def plan(to: Path | None, *parts: str, model: str = "lingbot") -> Pull:
    return plan_pull(find_download(model), parts=parts or None, to=to)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".worldkv-pull.lock"
    }


def failing(pull: Pull) -> WorldKVError:
    with pytest.raises(WorldKVError) as caught:
        fetch(pull)
    return caught.value


def test_fetches_what_is_needed_and_nothing_else(hub: TinyHub, tmp_path: Path) -> None:
    seen: list[int] = []
    pull = plan(tmp_path / "x")
    fetched = fetch(pull, on_progress=seen.append)
    base, fast = hub.repos[BASE].files, hub.repos[FAST].files
    wanted = {path: data for path, data in base.items() if "noise" not in path and path != "README.md"}
    wanted |= {
        f"lingbot_world_fast/{path}": data
        for path, data in fast.items()
        if "/" not in path and "RE" not in path
    }
    assert contents(tmp_path / "x") == wanted
    assert len(fetched) == len(hub.contents()) == len(wanted) == 8
    assert seen == sorted(seen)
    assert seen[-1] == pull.total_bytes == sum(map(len, wanted.values()))
    found = find_files("lingbot", tmp_path / "x")
    assert found.transformer == tmp_path / "x" / "lingbot_world_fast"
    assert None not in (found.vae, found.text_encoder, found.tokenizer)


def test_second_pull_fetches_nothing(hub: TinyHub, tmp_path: Path) -> None:
    fetch(plan(tmp_path))
    hub.asked.clear()
    again = plan(tmp_path)
    assert (again.todo, again.missing_bytes) == ((), 0)
    assert fetch(again) == ()
    assert {each.path.split("/")[1] for each in hub.asked} == {"api"}


def test_plan_writes_nothing(hub: TinyHub, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert plan(tmp_path / "x" / "y").missing_bytes > 800_000
    assert sorted(tmp_path.rglob("*")) == before
    assert hub.contents() == []


def test_broken_connection_goes_on_in_the_same_call(hub: TinyHub, tmp_path: Path) -> None:
    hub.faults[SHARD] = Fault(cut_after=300_000)
    fetch(plan(tmp_path, "transformer"))
    assert [each.first_byte for each in hub.contents() if each.path.endswith(SHARD)] == [None, 300_000]
    assert (tmp_path / "lingbot_world_fast" / SHARD).read_bytes() == hub.repos[FAST].files[SHARD]


@pytest.mark.parametrize("into_cache", [False, True])
def test_next_call_goes_on_where_the_last_one_stopped(hub: TinyHub, tmp_path: Path, into_cache: bool) -> None:
    to = None if into_cache else tmp_path / "x"
    hub.faults[VAE] = Fault(times=1, cut_after=20_000)
    hub.faults[VAE].then = Fault(times=1000, status=503)
    error = failing(plan(to, "vae"))
    assert (error.exit_code, error.problem) == (4, "the hub fails (503)")
    assert "goes on where this one stopped" in error.hint
    folder = tmp_path / ("hf" if into_cache else "x")
    left = [path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name]
    partial = [path for path in left if path.name.endswith(".incomplete")]
    assert [path.stat().st_size for path in partial] == [20_000]
    assert not [path for path in left if path.name == VAE]
    hub.faults.clear()
    hub.asked.clear()
    pull = plan(to, "vae")
    assert pull.missing_bytes == 30_000
    fetch(pull)
    assert [each.first_byte for each in hub.contents()] == [20_000]
    [here] = [path for path in folder.rglob(VAE) if path.is_file()]
    assert here.read_bytes() == hub.repos[BASE].files[VAE]
    assert not list(folder.rglob("*.incomplete"))


def test_hub_that_ignores_ranges_sends_all_again(hub: TinyHub, tmp_path: Path) -> None:
    hub.faults[VAE] = Fault(cut_after=20_000)
    hub.faults[VAE].then = Fault(ignore_range=True)
    seen: list[int] = []
    fetch(plan(tmp_path, "vae"), on_progress=seen.append)
    assert (tmp_path / VAE).read_bytes() == hub.repos[BASE].files[VAE]
    assert seen[-1] == 50_000


@pytest.mark.parametrize(
    ("fault", "told"),
    [(Fault(wrong_bytes=True), "the checksum differs"), (Fault(wrong_size=True), "bytes, not 50000")],
)
def test_wrong_content_is_never_kept(hub: TinyHub, tmp_path: Path, fault: Fault, told: str) -> None:
    hub.faults[VAE] = fault
    error = failing(plan(tmp_path / "x", "vae"))
    assert isinstance(error, ModelFilesError)
    assert told in error.problem
    assert VAE in error.where
    assert contents(tmp_path / "x") == {}
    fetch(plan(tmp_path / "x", "vae"))
    assert contents(tmp_path / "x") == {VAE: hub.repos[BASE].files[VAE]}


def test_wrong_small_file_is_noticed_too(hub: TinyHub, tmp_path: Path) -> None:
    """Files in git have no SHA-256, but an object id."""
    hub.faults["google/umt5-xxl/tokenizer_config.json"] = Fault(wrong_bytes=True)
    assert "checksum" in failing(plan(tmp_path, "tokenizer")).problem


def test_damaged_beginning_is_fetched_anew(
    hub: TinyHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pull = plan(tmp_path, "vae")
    pull.place.partial(pull.files[0].remote).write_bytes(bytes(10_000))
    with caplog.at_level(logging.WARNING, logger="core.models.hub_fetch"):
        fetch(plan(tmp_path, "vae"))
    assert [each.first_byte for each in hub.contents()] == [10_000, None]
    assert caplog.messages == ["Wan2.1_VAE.pth: its beginning was damaged, once more from the start"]
    assert (tmp_path / VAE).read_bytes() == hub.repos[BASE].files[VAE]


def test_changed_files_are_fetched_again(hub: TinyHub, tmp_path: Path) -> None:
    """A small one even if its size is the same; a large one by its size."""
    fetch(plan(tmp_path))
    hub.repos[BASE].files["google/umt5-xxl/tokenizer_config.json"] = b"[]"
    hub.repos[FAST].files[SHARD] += b"more"
    hub.asked.clear()
    fetch(plan(tmp_path))
    assert sorted(hub.names()) == [SHARD, "tokenizer_config.json"]
    assert (tmp_path / "google/umt5-xxl/tokenizer_config.json").read_bytes() == b"[]"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_is_sat_out(hub: TinyHub, tmp_path: Path, status: int) -> None:
    hub.faults[VAE] = Fault(times=2, status=status)
    fetch(plan(tmp_path, "vae"))
    assert len(hub.contents()) == 3


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (403, "the hub refuses access to robbyant/lingbot-world-base-cam, or does not know it (403)"),
        (404, "the hub does not know this repository or file (404)"),
        (429, "the hub asks to slow down (429)"),
        (500, "the hub fails (500)"),
    ],
)
def test_lasting_trouble_is_told(hub: TinyHub, tmp_path: Path, status: int, told: str) -> None:
    hub.faults[VAE] = Fault(times=1000, status=status)
    error = failing(plan(tmp_path, "vae"))
    assert (type(error), error.problem) == (ModelFilesError, told)
    assert error.hint


def test_gated_repository(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos[FAST].gated, hub.repos[FAST].readers = True, ("hf_reader",)
    for token in ("", "hf_stranger"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ModelFilesError, match="registered users only") as caught:
            plan(tmp_path, "transformer")
        assert caught.value.hint == f"accept the licence at {hub.endpoint}/{FAST}, then log in: hf auth login"
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    fetch(plan(tmp_path, "transformer"))
    assert len(contents(tmp_path / "lingbot_world_fast")) == 3


def test_what_the_hub_does_not_know(hub: TinyHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such revision"):
        plan_pull(find_download("lingbot"), parts=["vae"], to=tmp_path, revision="v9")
    with pytest.raises(InputError, match="one repository"):
        plan_pull(find_download("lingbot"), to=tmp_path, revision="v9")
    hub.repos[BASE].files = {"README.md": b""}
    with pytest.raises(ModelFilesError, match="has no google/umt5-xxl/"):
        plan(tmp_path, "tokenizer")
    del hub.repos[FAST]
    with pytest.raises(ModelFilesError, match="does not know it") as caught:
        plan(tmp_path, "transformer")
    assert "hf auth login" in caught.value.hint


def test_revision(hub: TinyHub, tmp_path: Path) -> None:
    hub.repos[BASE].revisions = ("v2",)
    fetch(plan_pull(find_download("lingbot"), parts=["vae"], to=tmp_path, revision="v2"))
    assert contents(tmp_path) == {VAE: hub.repos[BASE].files[VAE]}


def test_names_that_leave_the_folder_are_ignored(hub: TinyHub, tmp_path: Path) -> None:
    hub.repos[BASE].files |= {"google/umt5-xxl/..": b"x", "google/umt5-xxl/..\\..\\evil": b"x"}
    paths = [file.remote.path for file in plan(tmp_path, "tokenizer").files]
    assert [path.rpartition("/")[2] for path in paths] == [
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer_config.json",
    ]


def test_nobody_answers(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelFilesError, match="the hub cannot be reached") as caught:
        plan(tmp_path)
    assert caught.value.where.startswith("http://127.0.0.1:1/")
    assert "HF_ENDPOINT" in caught.value.hint


def test_offline_mode(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFilesError, match="offline mode is on") as caught:
        plan(tmp_path)
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelFilesError) as caught:
        plan(tmp_path)
    assert caught.value.hint == 'pip install "worldkv[wan]"'


def test_space_is_looked_at_first(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    pull = plan(tmp_path / "not" / "yet", "vae")
    for spare, fits in ((-1, False), (0, True)):
        free = 50_000 + SPACE_MARGIN_BYTES + spare
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(2 * free, free, free))
        if fits:
            pull.check_space()
            continue
        with pytest.raises(OutputError, match="the disk is too small") as caught:
            pull.check_space()
        assert caught.value.where == str(tmp_path / "not" / "yet")


def test_full_disk_is_told_and_leaves_what_came(hub: TinyHub, tiny_disk: Path) -> None:
    hub.repos[FAST].files[SHARD] *= 4  # 1.6 MB
    error = failing(plan(tiny_disk, "transformer"))
    assert isinstance(error, OutputError)
    assert "No space left" in error.problem
    assert not (tiny_disk / "lingbot_world_fast" / SHARD).exists()


def test_destination_that_is_a_file(hub: TinyHub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="this is a file"):
        plan(tmp_path / "file" / "below")


def test_two_fetches_do_not_mix(hub: TinyHub, tmp_path: Path) -> None:
    pull = plan(tmp_path)
    with sole_writer(pull.place.lock), pytest.raises(InputError, match="another `worldkv models pull`"):
        fetch(pull)
    assert hub.contents() == []
    fetch(pull)


def test_cache_is_the_librarys(hub: TinyHub, tmp_path: Path) -> None:
    """What we put there, the library and our own search find; links to files of equal content included."""
    from huggingface_hub import try_to_load_from_cache

    cache = tmp_path / "hf" / "hub"
    fetch(plan(None))
    assert plan(None).todo == ()
    for repo, path in ((FAST, SHARD), (BASE, "google/umt5-xxl/special_tokens_map.json")):
        found = try_to_load_from_cache(repo, path, cache_dir=cache)
        assert isinstance(found, str)
        assert Path(found).read_bytes() == hub.repos[repo].files[path]
    files = find_files("lingbot")
    assert files.transformer.parent.parent == cache / f"models--{FAST.replace('/', '--')}"
    assert None not in (files.vae, files.text_encoder, files.tokenizer)


def test_new_commit_without_new_content_is_only_linked(hub: TinyHub, tmp_path: Path) -> None:
    fetch(plan(None))
    hub.repos[FAST].files["README.md"] = b"new card"
    hub.asked.clear()
    pull = plan(None, "transformer")
    assert (pull.missing_bytes, len(pull.todo)) == (0, 3)
    fetch(pull)
    assert hub.contents() == []
    assert find_files("lingbot").transformer.name == hub.repos[FAST].commit


def test_checkpoint_folder_is_shared_by_models(
    hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDKV_CHECKPOINTS", f"{tmp_path / 'all'}:{tmp_path / 'other'}")
    fetch(plan(None))
    v2 = plan(None, model="lingbot-v2")
    assert {file.remote.part.name for file in v2.todo} == {"transformer"}
    fetch(v2)
    first, second = find_files("lingbot"), find_files("lingbot-v2")
    assert first.transformer == tmp_path / "all" / "lingbot-world-base-cam" / "lingbot_world_fast"
    assert second.transformer == tmp_path / "all" / "lingbot-world-v2-14b-causal-fast" / "transformers"
    assert second.vae == first.vae == tmp_path / "all" / "lingbot-world-base-cam" / VAE


@pytest.mark.parametrize(("model", "layout"), [("lingbot-v2", "raw"), ("lingbot", "diffusers")])
def test_other_layouts_are_found_in_their_folder(
    hub: TinyHub, tmp_path: Path, model: str, layout: str
) -> None:
    fetch(plan_pull(find_download(model, layout), to=tmp_path / "x"))
    found = find_files(model, tmp_path / "x")
    assert None not in (found.vae, found.text_encoder, found.tokenizer)
    assert found.transformer.parent == tmp_path / "x"


def test_nothing_but_ours_is_said(hub: TinyHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hub.faults[SHARD] = Fault(cut_after=1_000)
    fetch(plan(tmp_path))
    fetch(plan(None))
    assert capfd.readouterr() == ("", "")
