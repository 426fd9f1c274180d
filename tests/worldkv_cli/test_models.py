"""`worldkv models list` and `worldkv models pull`, against a hub on this machine."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.models import registry
from core.models.catalog import find_download
from core.models.hub import plan_pull
from core.models.hub_fetch import fetch
from tests.tiny_hub import Fault, TinyHub, hub_environment, lingbot_repos, tiny_hub
from worldkv_cli.main import app

BASE = "robbyant/lingbot-world-base-cam"
FAST = "robbyant/lingbot-world-fast"
PARTS = ("transformer", "vae", "text_encoder", "tokenizer")
NEEDED_BYTES = 943_020
WORLDKV = str(Path(sys.executable).parent / "worldkv")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
    with tiny_hub(lingbot_repos()) as hub:
        hub_environment(monkeypatch, hub, tmp_path)
        yield hub


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry with an embedded model and two that have files."""
    mini = registry.list_models()[0]
    entries = (mini, *(replace(mini, name=name, description="Big.") for name in ("lingbot", "lingbot-v2")))
    monkeypatch.setattr("core.models.registry.list_models", lambda: entries)


def pull(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["models", "pull", *map(str, arguments)])


def listed() -> dict[str, dict[str, Any]]:
    done = CliRunner().invoke(app, ["models", "list", "--json"])
    assert done.exit_code == 0, done.stderr
    return {entry["name"]: entry["files"] for entry in json.loads(done.stdout)["models"]}


def test_dry_run_tells_all_and_writes_nothing(hub: TinyHub, tmp_path: Path) -> None:
    done = pull("lingbot", "--to", tmp_path / "x", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"lingbot, raw layout, from {hub.endpoint}"
    assert re.fullmatch(rf" +transformer +800 kB +3 files +800 kB to fetch +{FAST}", lines[1])
    assert "could not be read" in lines[2]
    assert lines[4].strip() == "licence: Apache-2.0"
    assert lines[-1].startswith(f"943 kB to fetch into {tmp_path / 'x'}, ")
    assert not (tmp_path / "x").exists()
    assert hub.contents() == []


def test_json_of_a_dry_run(hub: TinyHub, tmp_path: Path) -> None:
    done = pull("lingbot-v2", "--to", tmp_path / "x", "--dry-run", "--json", "--part", "transformer,vae")
    told = json.loads(done.stdout)
    assert {key: told[key] for key in ("model", "layout", "endpoint", "revision", "dry_run")} == {
        "model": "lingbot-v2",
        "layout": "raw",
        "endpoint": hub.endpoint,
        "revision": "main",
        "dry_run": True,
    }
    assert [part["name"] for part in told["parts"]] == ["transformer", "vae"]
    assert told["parts"][0]["licence"] == "CC BY-NC-SA 4.0: no commercial use"
    assert told["total_bytes"] == told["fetch_bytes"] == 55_016
    assert [file["path"] for file in told["parts"][1]["files"]] == ["Wan2.1_VAE.pth"]


def test_without_a_terminal_it_wants_to_be_told(hub: TinyHub, tmp_path: Path) -> None:
    done = pull("lingbot", "--to", tmp_path / "x")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: nobody can be asked whether to fetch 943 kB\n  at: --yes\nhint: add --yes\n"
    )
    assert hub.contents() == []


def test_pull_and_pull_again(hub: TinyHub, tmp_path: Path) -> None:
    target = tmp_path / "my models"
    done = pull("lingbot", "--to", target, "--yes")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"lingbot: 943 kB in {target} (transformer, vae, text_encoder, tokenizer)\n"
    assert done.stderr.endswith(f"look inside: worldkv models check lingbot --checkpoint '{target}'\n")
    assert len(hub.contents()) == 8
    again = pull("lingbot", "--to", target, "--json")  # nothing to fetch: nobody need be asked
    assert (again.exit_code, again.stderr) == (0, "")
    told = json.loads(again.stdout)
    assert (told["total_bytes"], told["fetch_bytes"]) == (NEEDED_BYTES, 0)
    assert len(hub.contents()) == 8


def test_layout_of_diffusers(hub: TinyHub, tmp_path: Path) -> None:
    done = pull("lingbot", "--layout", "diffusers", "--to", tmp_path / "x", "--part", "vae", "--yes")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "x" / "vae" / "diffusion_pytorch_model.safetensors").stat().st_size == 5_000


def test_disk_too_small(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(2_000_000_000, 1_500_000_000, 500_000_000))
    done = pull("lingbot", "--to", tmp_path / "x", "--yes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the disk is too small: 1.0 GB needed, 0.5 GB free\n"
        f"  at: {tmp_path / 'x'}\n"
        "hint: free some space, or choose another disk with --to DIR\n"
    )
    assert pull("lingbot", "--to", tmp_path / "x", "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["lingbto"], 2, "did you mean lingbot?"),
        (["mini"], 2, "there are no files to fetch for 'mini'"),
        (["lingbot", "--part", "vea"], 2, "did you mean vae?"),
        (["lingbot-v2", "--layout", "diffusers"], 2, "use raw"),
        (["lingbot", "--layout", "zip"], 2, "--layout"),
        (["lingbot", "--revision", "v1"], 2, "a revision belongs to one repository"),
        (["lingbot", "--part", "vae", "--revision", "v1"], 2, "no such revision"),
    ],
)
def test_usage_errors(hub: TinyHub, arguments: list[str], code: int, told: str) -> None:
    done = pull(*arguments, "--yes")
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_gated(hub: TinyHub, tmp_path: Path) -> None:
    hub.repos[FAST].gated = True
    done = pull("lingbot", "--to", tmp_path, "--dry-run")
    assert done.exit_code == 4
    assert done.stderr == (
        "error: the repository gives its files to registered users only\n"
        f"  at: {hub.endpoint}/{FAST}\n"
        f"hint: accept the licence at {hub.endpoint}/{FAST}, then log in: hf auth login\n"
    )


def test_ctrl_c_and_on_from_there(hub: TinyHub, tmp_path: Path) -> None:
    """A real process, interrupted while a file comes; the next one asks for the rest only."""
    name, folder = "Wan2.1_VAE.pth", tmp_path / "x"
    hub.faults[name] = Fault(cut_after=20_000, hold=threading.Event())
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # some shells ignore it
        "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 1_000\n"
        "import core.models.hub_partial as hub; take = hub.PartialFile._take\n"
        "def tell(self, data): take(self, data); print(self.size_bytes, flush=True)\n"
        "hub.PartialFile._take = tell\n"
        "from worldkv_cli.main import run; run()"
    )
    command = ["models", "pull", "lingbot", "--part", "vae", "--to", str(folder), "--yes"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "20000\n" in process.stdout
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    have = f"20 kB of 50 kB are in {folder}"
    assert err.splitlines()[-1] == f"interrupted: {have}; the same command goes on from there"
    assert not (folder / name).exists()
    hub.asked.clear()
    done = subprocess.run([WORLDKV, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"lingbot: 50 kB in {folder} (vae)\n")
    assert [each.first_byte for each in hub.contents()] == [20_000]
    assert (folder / name).read_bytes() == hub.repos[BASE].files[name]


def on_terminal(command: list[str], answer: bytes) -> tuple[int, str]:
    """Run a command with a terminal as its stdin and stderr; type when it asks."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if answer and shown.rstrip().endswith(b"[Y/n]:"):
            os.write(ours, answer)
            answer = b""
    os.close(ours)
    return process.wait(30), shown.decode()


def test_on_a_terminal_it_asks(hub: TinyHub, tmp_path: Path) -> None:
    command = [WORLDKV, "models", "pull", "lingbot", "--part", "vae", "--to", str(tmp_path / "x")]
    code, shown = on_terminal(command, b"n\n")
    assert code == 1
    assert "licence: Apache-2.0" in shown
    assert shown.endswith("nothing was fetched\r\n")
    assert hub.contents() == []
    code, shown = on_terminal(command, b"\n")
    assert code == 0
    assert "50.0/50.0 kB" in shown  # our bar
    assert "Wan2.1_VAE.pth" not in shown.partition("[Y/n]")[2]  # the library's would name the file
    assert (tmp_path / "x" / "Wan2.1_VAE.pth").exists()


def test_list_without_files(models: None, hub: TinyHub) -> None:
    done = CliRunner().invoke(app, ["models", "list"])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("mini ")
    assert lines[1].strip() == "files: in the package"
    assert lines[3].strip() == "files: not here; 86.1 GB: worldkv models pull lingbot"
    told = listed()
    assert told["mini"]["where"] == "package"
    assert told["lingbot"]["where"] == "missing"
    assert tuple(told["lingbot"]["missing"]) == PARTS
    assert told["lingbot-v2"]["command"] == "worldkv models pull lingbot-v2"
    assert hub.asked == []


def test_list_shows_what_was_pulled(
    models: None, hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pull("lingbot", "--yes").exit_code == 0  # into the cache
    told = listed()["lingbot"]
    assert (told["where"], told["source"], told["missing"]) == ("found", "Hugging Face cache", [])
    monkeypatch.setenv("WORLDKV_CHECKPOINTS", str(tmp_path / "all"))
    assert pull("lingbot", "--yes").exit_code == 0
    told = listed()["lingbot"]
    assert told["path"] == str(tmp_path / "all" / "lingbot-world-base-cam" / "lingbot_world_fast")
    assert told["source"] == "WORLDKV_CHECKPOINTS"


def test_list_names_what_lacks(models: None, hub: TinyHub) -> None:
    fetch(plan_pull(find_download("lingbot"), parts=["transformer", "tokenizer"]))
    told = listed()["lingbot"]
    assert (told["where"], told["missing"]) == ("incomplete", ["vae", "text_encoder"])
    assert told["command"] == "worldkv models pull lingbot --part vae,text_encoder"
    assert pull(*told["command"].split()[3:], "--yes").exit_code == 0
    assert listed()["lingbot"]["where"] == "found"


def test_list_imports_little() -> None:
    """What makes it answer at once; a clock would measure the machine."""
    code = (
        "import sys; from dataclasses import replace; from worldkv_cli.main import run\n"
        "from core.models.registry import list_models; from worldkv_cli.commands.models import files_of\n"
        "files_of(replace(list_models()[0], name='lingbot'))\n"
        "try: run()\n"
        "finally: print(sorted(set(sys.modules) & {'torch', 'numpy', 'huggingface_hub', 'rich'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "list", "--json"], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("}\n[]\n")
