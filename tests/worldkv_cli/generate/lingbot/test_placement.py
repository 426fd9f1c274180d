"""Where weights and memory lie: the same video bit for bit and within the budget, or exit code 3 at once."""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from core.errors import BudgetError
from core.fidelity.pictures import psnr
from core.placement import Placement
from core.video.reader import read_video
from tests.tiny_lingbot import TINY, write_checkpoint
from tests.worldkv_cli.generate.lingbot.runs import generate, prepared
from tests.worldkv_cli.generate.runs import Told, log_of

QUICK = {"traj": "middle.yaml", "sink": 0, "recent": 0}
"""Three chunks, the third of which retrieves the first two."""

SMALLER = "--weights int8 (costs some fidelity); --decode-dtype bfloat16; a smaller --size"


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six blocks, so that there is something to stream."""
    config = replace(TINY, num_layers=6)
    return write_checkpoint(tmp_path_factory.mktemp("deep") / "raw", config=config, num_shards=2)


def frames(run: Path) -> np.ndarray:
    return read_video(run / "video.mp4")


@cache
def descend(checkpoint: Path) -> tuple[list[Placement], BudgetError]:
    """Every placement that a budget forces, each a byte less than the one before takes; then what is said."""
    placements = [prepared(checkpoint, **QUICK).placement]
    while True:
        last = placements[-1]
        budget = last.parts.device_bytes - (last.plan.tier_bytes["device"] or 1)
        try:
            placements.append(prepared(checkpoint, vram_budget=budget, **QUICK).placement)
        except BudgetError as error:
            return placements, error
        assert placements[-1].parts.device_bytes <= budget


def mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


class TestBudgets:
    def test_every_turn_in_its_order(self, deep: Path) -> None:
        """First the bank goes to the host, then the camera's part is computed anew, then weights stream."""
        placements, error = descend(deep)
        turns = [placement.turns for placement in placements]
        banks = [[tier for tier, size in each.plan.tier_bytes.items() if size] for each in placements]
        assert banks[:2] == [["device"], ["host"]]
        assert banks[-1] == ["host"]
        told = list(dict.fromkeys((t.camera_ready, t.weights.resident_blocks) for t in turns))
        assert told[:2] == [(True, None), (False, None)]
        assert not any(ready for ready, _ in told[2:])
        resident = [blocks for _, blocks in told[2:]]
        assert resident == sorted(resident, reverse=True)
        assert (len(resident), resident[-1]) == (4, 0)
        needed = placements[-1].parts.device_bytes
        assert error.where == "--vram-budget"
        assert error.problem.startswith(f"3 chunks need {mib(needed)} of device memory even at the least, ")

    @pytest.mark.slow
    def test_the_video_is_the_same(self, deep: Path) -> None:
        assert generate(deep, out="plain", **QUICK).exit_code == 0
        smallest = descend(deep)[0][-1]
        flags = {"asked": {"bank": "host"}, "forced": {"vram_budget": smallest.budgets.device}}
        for out, each in flags.items():
            told = generate(deep, out=out, **QUICK, **each)
            assert told.exit_code == 0, told.stderr
            np.testing.assert_array_equal(frames(Path(out)), frames(Path("plain")))
            log = log_of(Path(out))
            assert {each.tier for chunk in log.chunks for each in chunk.retrieved} == {"host", "window"}
            assert log.plan["device_budget_bytes"] == each.get("vram_budget")
            assert max(chunk.device_bytes for chunk in log.chunks) <= log.plan["predicted_device_bytes"]
        assert told.stderr.splitlines() == [f"warning: {words}" for words in smallest.words]
        assert smallest.parts.device_bytes <= int(smallest.budgets.device or 0)

    def test_too_small(self, deep: Path, files_stay_closed: None) -> None:
        least = descend(deep)[0][-1].parts
        told = generate(deep, vram_budget="1MiB", **QUICK)
        assert (told.exit_code, told.stdout) == (3, "")
        problem, where, hint = told.stderr.splitlines()
        needed = least.device_bytes
        assert problem.startswith(
            f"error: 3 chunks need {mib(needed)} of device memory even at the least, "
            f"{mib(needed - 2**20)} more than the budget of 1.0 MiB ("
        )
        assert where == "  at: --vram-budget"
        assert re.fullmatch(rf"hint: give \d+\.\d MiB; {re.escape(SMALLER)}", hint)
        assert not Path("run").exists()
        prepared(deep, vram_budget=f"{hint.split()[2]}MiB", **QUICK)  # what the hint says is enough

    @pytest.mark.parametrize(
        ("flags", "ways"),
        [
            ({"weights": "resident"}, f"--weights streamed; {SMALLER}"),
            ({"bank": "device"}, f"--bank host; {SMALLER}"),
            ({"weights": "int8"}, "--decode-dtype bfloat16; a smaller --size"),
            ({"weights": "fp8", "decode_dtype": "bfloat16"}, "a smaller --size"),
            ({"memory": "full"}, f"--memory worldkv, which does not grow with the video; {SMALLER}"),
        ],
        ids=str,
    )
    def test_only_what_was_not_done_yet_is_advised(
        self, deep: Path, flags: dict[str, object], ways: str, files_stay_closed: None
    ) -> None:
        told = generate(deep, vram_budget="1MiB", **flags)
        assert told.exit_code == 3
        assert told.stderr.splitlines()[2].partition("; ")[2] == ways

    def test_host_memory(self, deep: Path, files_stay_closed: None) -> None:
        told = generate(deep, ram_budget="10kB", bank="host")
        assert told.exit_code == 3
        assert "of host memory even at the least" in told.stderr
        assert "\n  at: --ram-budget\n" in told.stderr


class TestWeights:
    @pytest.mark.slow
    def test_asked_for(self, raw: Path) -> None:
        """Streamed weights change no bit; quantised ones change a little."""
        outcome: dict[str, np.ndarray] = {}
        flags = {
            "resident": {"weights": "resident"},
            "streamed": {"weights": "streamed"},
            "int8": {"weights": "int8"},
            "fp8": {"weights": "fp8"},
        }
        for name, each in flags.items():
            told = generate(raw, out=name, traj="short.yaml", **each)
            assert told.exit_code == 0, told.stderr
            outcome[name] = frames(Path(name))
            kept = log_of(Path(name)).plan
            assert kept["quantisation"] == (name if name in ("int8", "fp8") else None)
            assert (kept["resident_blocks"] is None) is (name != "streamed")
        np.testing.assert_array_equal(outcome["streamed"], outcome["resident"])
        for name, least_db in (("int8", 30), ("fp8", 22)):
            assert (outcome[name] != outcome["resident"]).any()
            close = [psnr(a, b) for a, b in zip(outcome[name], outcome["resident"], strict=True)]
            assert np.mean(close) > least_db, (name, np.mean(close))

    def test_without_torchao(
        self, raw: Path, monkeypatch: pytest.MonkeyPatch, files_stay_closed: None
    ) -> None:
        monkeypatch.setitem(sys.modules, "torchao", None)
        monkeypatch.setitem(sys.modules, "torchao.quantization", None)
        told: Told = generate(raw, weights="int8")
        assert (told.exit_code, told.stdout) == (4, "")
        problem, where, hint = told.stderr.splitlines()
        assert problem.startswith("error: int8 weights need torchao: ")
        assert (where, hint) == ("  at: --weights", 'hint: pip install "worldkv[int8]"')
        assert not Path("run").exists()
