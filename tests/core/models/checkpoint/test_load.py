import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import ModelFilesError
from core.models.checkpoint.load import load_into, read_tensors
from core.models.checkpoint.shards import open_weights
from tests.core.models.checkpoint.writing import write_shards

CPU = torch.device("cpu")


class Net(nn.Module):
    """Parameters, nested, and buffers that are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.layers = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


@pytest.fixture
def trained() -> Net:
    torch.manual_seed(0)
    net = Net()
    net.layers(torch.randn(8, 3))  # the batch norm counts
    return net.eval()


def meta() -> Net:
    with torch.device("meta"):
        return Net()


def write(folder: Path, net: Net, kind: str) -> Path:
    tensors = {name: tensor.detach() for name, tensor in net.state_dict().items()}
    if kind == "shards":
        return write_shards(folder, tensors, num_shards=3)
    folder.mkdir()
    torch.save(tensors, folder / "net.pth")
    return folder


@pytest.mark.parametrize("kind", ["shards", "pth"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_loading_at_once(tmp_path: Path, trained: Net, kind: str, dtype: torch.dtype) -> None:
    net = meta()
    load_into(net, open_weights(write(tmp_path / "w", trained, kind)), device=CPU, dtype=dtype)
    for name, tensor in net.state_dict().items():
        wanted = trained.state_dict()[name]
        wanted = wanted.to(dtype) if wanted.is_floating_point() else wanted
        assert tensor.dtype == wanted.dtype
        assert torch.equal(tensor, wanted), name
    assert not any(p.requires_grad for p in net.parameters())
    if dtype == torch.float32:
        x = torch.randn(4, 3)
        assert torch.equal(net.eval().layers(x), trained.layers(x))


@pytest.mark.parametrize("kind", ["shards", "pth"])
def test_nothing_refers_to_the_file_afterwards(tmp_path: Path, trained: Net, kind: str) -> None:
    net = meta()
    weights = open_weights(write(tmp_path / "w", trained, kind))
    load_into(net, weights, device=CPU, dtype=torch.float32)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(tmp_path) not in maps.read_text()
    for file in weights.files:
        with file.open("r+b") as opened:  # in place: a map of the file would see it
            opened.write(bytes(file.stat().st_size))
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


def test_some_keep_their_precision(tmp_path: Path, trained: Net) -> None:
    net = meta()
    weights = open_weights(write(tmp_path / "w", trained, "shards"))
    load_into(net, weights, device=CPU, dtype=torch.bfloat16, keep=("scale", "layers.2."))
    kept = {name for name, p in net.named_parameters() if p.dtype == torch.float32}
    assert kept == {"scale", "layers.2.weight", "layers.2.bias"}


def test_a_hook_decides_where_each_tensor_goes(tmp_path: Path, trained: Net) -> None:
    net, seen = meta(), {}

    def place(name: str, tensor: torch.Tensor) -> torch.Tensor:
        seen[name] = tensor
        return tensor.neg() if name == "scale" else tensor

    load_into(
        net,
        open_weights(write(tmp_path / "w", trained, "shards")),
        device=CPU,
        dtype=torch.float32,
        place=place,
    )
    assert torch.equal(net.scale, -trained.scale)
    for name, tensor in seen.items():
        assert torch.equal(tensor, trained.state_dict()[name]), "the hook's tensors are its own to keep"


def test_progress_counts_the_bytes_of_the_files(tmp_path: Path, trained: Net) -> None:
    told: list[tuple[int, int]] = []
    weights = open_weights(write(tmp_path / "w", trained, "shards"))
    load_into(meta(), weights, device=CPU, dtype=torch.bfloat16, on_progress=lambda *each: told.append(each))
    assert len(told) == len(weights.tensors)
    assert told == sorted(told)
    assert told[-1] == (weights.num_bytes, weights.num_bytes)


def test_names_and_shapes_are_compared_before_anything_is_read(tmp_path: Path, trained: Net) -> None:
    trained.scale = nn.Parameter(torch.zeros(4))
    trained.extra = nn.Parameter(torch.zeros(1))
    trained.layers[2] = nn.Identity()
    weights = open_weights(write(tmp_path / "w", trained, "shards"))
    for file in weights.files:
        file.unlink()  # whoever reads now fails
    net = meta()
    with pytest.raises(ModelFilesError) as caught:
        load_into(net, weights, device=CPU, dtype=torch.float32)
    assert caught.value.problem == (
        "tensors do not fit the model: missing layers.2.weight, layers.2.bias; "
        "of wrong shape scale is [4], not [3]; unknown extra"
    )
    assert caught.value.where == str(weights.source)


@pytest.mark.parametrize("kind", ["shards", "pth"])
def test_tensors_under_other_names(tmp_path: Path, trained: Net, kind: str) -> None:
    """A prefix is taken off, and what the network has no use for is neither read nor counted."""
    held = {f"model.{name}": tensor for name, tensor in trained.state_dict().items()}
    held["model.layers.spare"] = torch.zeros(7)
    if kind == "shards":
        write_shards(tmp_path / "w", held, num_shards=3)
    else:
        (tmp_path / "w").mkdir()
        torch.save(held, tmp_path / "w" / "net.pth")
    stored = open_weights(tmp_path / "w")
    wanted = {name: name.removeprefix("model.") for name in held if name != "model.layers.spare"}
    weights = stored.renamed(wanted)
    assert (weights.source, weights.num_bytes) == (stored.source, stored.num_bytes - 7 * 4)
    told: list[tuple[int, int]] = []
    net = meta()
    load_into(net, weights, device=CPU, dtype=torch.float32, on_progress=lambda *each: told.append(each))
    assert told[-1] == (weights.num_bytes, weights.num_bytes)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name


def test_errors_name_tensors_as_the_file_does(tmp_path: Path) -> None:
    torch.save({"model.a": torch.zeros(3)}, tmp_path / "net.pth")
    weights = open_weights(tmp_path / "net.pth").renamed({"model.a": "a"})
    torch.save({"a": torch.zeros(3)}, tmp_path / "net.pth")
    with pytest.raises(ModelFilesError, match=r"model\.a is another than when it was opened"):
        list(read_tensors(weights))


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_file_that_changed_since_it_was_opened(tmp_path: Path, trained: Net, damage: str) -> None:
    weights = open_weights(write(tmp_path / "w", trained, "shards"))
    last = weights.files[-1]
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:-1])
    else:
        last.unlink()
    with pytest.raises(ModelFilesError) as caught:
        load_into(meta(), weights, device=CPU, dtype=torch.float32)
    assert caught.value.where == str(last)


def test_a_pth_that_changed_since_it_was_opened(tmp_path: Path, trained: Net) -> None:
    folder = write(tmp_path / "w", trained, "pth")
    weights = open_weights(folder)
    torch.save({"scale": torch.zeros(9)}, folder / "net.pth")
    with pytest.raises(ModelFilesError, match="another than when it was opened"):
        list(read_tensors(weights))


def test_tensors_come_in_the_order_of_the_files(tmp_path: Path, trained: Net) -> None:
    weights = open_weights(write(tmp_path / "w", trained, "shards"))
    names = [name for name, _ in read_tensors(weights)]
    places = [(weights.tensors[name].file, weights.tensors[name].start) for name in names]
    assert places == sorted(places)


_PEAK = """
import sys
from pathlib import Path
import torch
from torch import nn
from core.models.checkpoint.load import load_into
from core.models.checkpoint.shards import open_weights

def peak_bytes(): # of this process; ru_maxrss would count its parent before exec
    line, = (l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
with torch.device("meta"):
    net = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(24)))
torch.randn(4, 4).bfloat16().sum()
weights = open_weights(Path(sys.argv[1]))
before = peak_bytes()
load_into(net, weights, device=torch.device("cpu"), dtype=torch.bfloat16)
print(peak_bytes() - before, sum(p.nbytes for p in net.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux' account of memory")
@pytest.mark.parametrize("kind", ["shards", "pth"])
def test_host_memory_stays_at_model_and_one_shard(tmp_path: Path, kind: str) -> None:
    """100 MB of float32 in eight shards, loaded as 50 MB of bfloat16."""
    tensors = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(24))).state_dict()
    if kind == "shards":
        write_shards(tmp_path, tensors, num_shards=8)
        file_bytes = 101_000_000 // 8
    else:
        torch.save(tensors, tmp_path / "net.pth")  # its pages, which the system may take back, count too
        file_bytes = 101_000_000
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    grown, model_bytes = map(int, done.stdout.split())
    assert model_bytes == 50_380_800
    assert model_bytes <= grown < model_bytes + file_bytes
