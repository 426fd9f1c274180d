"""`worldkv plan` as a user meets it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from core.calibration import save_calibration
from core.host_cpu import cpu_model
from core.schemas.forecast import Forecast
from tests.core.test_calibration import EXACT
from tests.worldkv_cli.generate.runs import LOOK, clean_environment
from worldkv_cli.commands.generate import generate
from worldkv_cli.commands.plan import _UNUSED, plan
from worldkv_cli.main import app
from worldkv_cli.plan_report import report, size, sparks

PATROL_30_MIN = """\
version: 1
name: patrol-30
fps: 16
rates: {turn_deg_per_frame: 4, move_units_per_frame: 0.1}
steps:
  - repeat:
      times: 460
      steps:
        - move: {forward_units: 4}
        - turn: {yaw_deg: 90}
"""
"""28,981 frames, 2,415 chunks of LingBot: a square, walked round 115 times."""

BLOCKED = "torch", "diffusers", "transformers", "torchao", "safetensors"


@pytest.fixture(autouse=True)
def _no_checkpoints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)


@pytest.fixture
def look(tmp_path: Path) -> str:
    (tmp_path / "look.yaml").write_text(LOOK)
    return str(tmp_path / "look.yaml")


def planned(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_the_report_begins_with_the_verdict(look: str) -> None:
    told = planned("--traj", look, "--device", "cpu")
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    assert lines[0] == "fits: 8 chunks of look with mini (cpu, float32)"
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)
    assert "\033" not in told.stdout
    assert "8 chunks" in lines[0]
    for label in ("video", "window", "recall", "bank", "moved", "device"):
        assert any(line.startswith(f"{label} ") for line in lines), label


def test_json_says_the_same_whether_it_fits_or_not(look: str) -> None:
    for budget, code in (("40MiB", 0), ("18MiB", 3)):
        told = planned("--traj", look, "--device", "cpu", "--vram-budget", budget, "--json")
        assert told.exit_code == code
        forecast = Forecast.model_validate_json(told.stdout)
        assert forecast.fits is (code == 0)
        assert json.loads(told.stdout)["schema_version"] == 1


def test_what_does_not_fit_says_what_does() -> None:
    told = planned("--traj", "loop", "--model", "lingbot", "--vram-budget", "24GiB")
    assert (told.exit_code, told.stderr) == (3, "")
    assert told.stdout.startswith("does not fit: ")
    assert "of device memory short" in told.stdout.splitlines()[0]
    assert "fits with --keep-ratio 0.25" in told.stdout
    assert "--retrieve 1" in told.stdout
    assert "as asked" in told.stdout


def test_bad_input_is_refused_as_by_generate() -> None:
    told = planned("--traj", "loop", "--model", "lingbt")
    assert told.exit_code == 2
    assert told.stderr.splitlines()[0] == "error: unknown model 'lingbt'"
    assert planned().exit_code == 2
    missing = planned("--traj", "loop", "--model", "lingbot", "--checkpoint", "/nowhere")
    assert missing.exit_code == 4
    assert "the checkpoint's folder does not exist" in missing.stderr


def test_settings_are_those_of_generate() -> None:
    """One definition: the very same options, but for those that no plan depends on."""
    theirs = inspect.signature(generate, eval_str=True).parameters
    ours = inspect.signature(plan).parameters
    assert theirs.keys() - ours.keys() == _UNUSED
    assert ours.keys() - theirs.keys() == {"plot"}
    shared = theirs.keys() & ours.keys() - {"config", "as_json"}
    for name in shared:
        mine, other = ours[name].annotation, theirs[name].annotation
        assert mine.__origin__ == other.__origin__
        assert vars(mine.__metadata__[0]) == vars(other.__metadata__[0])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot(look: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plan{suffix}"
    budgets = ("--vram-budget", "19900KiB", "--ram-budget", "10MiB")
    told = planned("--traj", look, "--device", "cpu", *budgets, "--plot", path)
    assert told.exit_code == 0, told.stderr
    assert told.stderr == f"plot written to {path}\n"
    assert path.stat().st_size > 5_000
    if suffix == ".svg":
        drawn = path.read_text()
        assert "minutes" not in drawn  # 1.5 seconds of video
        assert "<!-- memory, MiB -->" in drawn
        assert "<!-- host budget 10 MiB -->" in drawn
        assert "<!-- chunk -->" in drawn


def test_a_plot_that_cannot_be(look: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = planned("--traj", look, "--plot", tmp_path / "plan.jpg")
    assert told.exit_code == 2
    assert "a plot is a .png or .svg file" in told.stderr
    lost = planned("--traj", look, "--device", "cpu", "--plot", tmp_path / "no" / "plan.svg")
    assert lost.exit_code == 1
    assert "cannot be written" in lost.stderr
    monkeypatch.setattr("core.forecast.plot.find_spec", lambda name: None)
    told = planned("--traj", look, "--plot", tmp_path / "plan.svg")
    assert told.exit_code == 2
    assert 'hint: pip install "worldkv[report]"' in told.stderr


def spawn(*arguments: str, after: str) -> subprocess.CompletedProcess[str]:
    """`worldkv plan` in a process of its own, in which heavy packages cannot be imported."""
    code = (
        f"import sys\nfor name in {BLOCKED!r}: sys.modules[name] = None\n"
        "import resource, time\n"
        "from worldkv_cli.main import app\n"
        "try: app(['plan', *sys.argv[1:]])\n"
        f"except SystemExit as end:\n    {after}\n    raise\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["pose", "rays"])
def test_half_an_hour_of_lingbot_without_torch_in_little_memory(strategy: str, tmp_path: Path) -> None:
    """Quietly it takes 2 to 3 seconds; here others may be computing, too."""
    (tmp_path / "patrol.yaml").write_text(PATROL_30_MIN)
    after = (
        "use = resource.getrusage(resource.RUSAGE_SELF); "
        "lines = open('/proc/self/status').read().splitlines(); "  # ru_maxrss may be the parent's
        "kib = next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')); "
        "print(use.ru_utime + use.ru_stime, kib // 1024, file=sys.stderr)"
    )
    budgets = ("--vram-budget", "72GiB", "--ram-budget", "300GiB")
    arguments = ("--model", "lingbot", "--traj", str(tmp_path / "patrol.yaml"), "--strategy", strategy)
    done = spawn(*arguments, *budgets, after=after)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fits: 2,415 chunks of patrol-30 with lingbot (cuda, bfloat16, a GPU")
    cpu_s, resident_mib = map(float, done.stderr.split())
    assert resident_mib < 400
    assert cpu_s < 15


def test_times_where_this_machine_has_a_profile(look: str) -> None:
    assert "\ntime " not in planned("--traj", look, "--device", "cpu").stdout
    here = {"device_name": cpu_model(), "torch_version": metadata.version("torch")}
    save_calibration(EXACT.model_copy(update=here))
    told = planned("--traj", look, "--device", "cpu", "--json")
    times = Forecast.model_validate_json(told.stdout).times
    assert times is not None
    assert (times.load_s, times.encode_s) == (EXACT.load_s, EXACT.encode_s)
    assert times.total_s > times.load_s + times.encode_s + times.denoise_s > times.load_s
    assert "\ntime " in planned("--traj", look, "--device", "cpu").stdout
    elsewhere = planned("--traj", look, "--device", "cuda", "--json")
    assert Forecast.model_validate_json(elsewhere.stdout).times is None


def test_sizes_and_pictures_of_numbers() -> None:
    assert [size(n) for n in (0, 1023, 2048, 3 << 20, (5 << 30) + (1 << 29))] == [
        "0 B",
        "1023 B",
        "2 KiB",
        "3.0 MiB",
        "5.5 GiB",
    ]
    assert sparks([0, 1, 4, 8], 4) == " ▁▄█"
    assert sparks([0, 8, 1, 2], 2, fine=False) == "#:"
    assert sparks([0, 0], 8) == ""


def test_ascii_where_the_terminal_knows_no_blocks(look: str) -> None:
    told = planned("--traj", look, "--device", "cpu", "--json")
    lines = [row.text for row in report(Forecast.model_validate_json(told.stdout), fine=False)]
    assert all(line.isascii() for line in lines)
