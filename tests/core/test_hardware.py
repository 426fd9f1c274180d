import pytest
import torch

from core.errors import InputError
from core.hardware import device_info, pick_device, pick_dtype, resident_bytes


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
