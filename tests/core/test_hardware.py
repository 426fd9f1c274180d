import shutil
from pathlib import Path

import pytest
import torch

from core.config import GenerateConfig, resolve
from core.errors import BudgetError, InputError
from core.generate import prepare
from core.hardware import VIDEO_BYTES, budgets, device_info, pick_device, pick_dtype, resident_bytes
from core.limits import CUDA_RESERVE_BYTES


def test_auto_takes_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:77", "cuda:9999999999999999999"])
def test_device_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=f"there is no device {name}: ") as caught:
        pick_device(name)
    assert (caught.value.where, caught.value.exit_code) == ("--device", 2)


def test_precision() -> None:
    assert pick_dtype("auto", torch.device("cpu")) is torch.float32
    assert pick_dtype("auto", torch.device("cuda")) is torch.bfloat16
    assert pick_dtype("float16", torch.device("cpu")) is torch.float16


def test_cpu_describes_itself() -> None:
    info = device_info(torch.device("cpu"))
    assert (info.name, info.threads) == ("cpu", torch.get_num_threads())
    assert info.total_bytes is None or info.total_bytes > resident_bytes() > 10_000_000


def test_budgets_are_the_users_or_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    asked = GenerateConfig(vram_budget="40GiB", ram_budget="1GB")
    assert budgets(GenerateConfig(), cpu).device is None
    assert (budgets(asked, cpu).device, budgets(asked, cpu).host) == (40 << 30, 10**9)
    assert budgets(asked, cpu).reserve == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 << 30, 80 << 30))
    free = budgets(GenerateConfig(), gpu)
    assert (free.device, free.reserve) == (7 << 30, CUDA_RESERVE_BYTES)
    assert free.device_source == "what is free on cuda:0"
    assert free.host is None or free.host > 10_000_000
    assert (budgets(asked, gpu).device, budgets(asked, gpu).device_source) == (40 << 30, "--vram-budget")


def test_the_disk_is_looked_at_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"traj": "loop", "bank": "disk", "out": tmp_path / "not" / "there" / "yet"}
    assert prepare(resolve(settings, {})).placement.disk_bytes > 0
    usage = shutil.disk_usage(tmp_path)._replace(free=VIDEO_BYTES)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(BudgetError, match=r"the bank takes .* on disk, but only .* are free there") as caught:
        prepare(resolve(settings, {}))
    assert caught.value.where == str(tmp_path)
    prepare(resolve({"traj": "loop", "out": tmp_path}, {}))
