"""LPIPS: where its files are looked for, and that it computes what it should."""

import importlib.machinery
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ModelFilesError
from core.fidelity import perceptual
from core.fidelity.perceptual import BACKBONE_FILE, Lpips, LpipsFiles, find_lpips, weights_folder
from tests.core.fidelity.scenes import noise

SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def waves(*shape: int) -> torch.Tensor:
    """Weights that every version of torch makes alike."""
    count = int(np.prod(shape))
    return torch.from_numpy(np.sin(np.arange(count) * 0.7) / np.sqrt(count / shape[0])).float().view(shape)


def make_files(folder: Path) -> LpipsFiles:
    network = {
        f"features.{i}.weight": waves(out, inner, side, side) for i, (out, inner, side) in SHAPES.items()
    }
    network |= {f"features.{i}.bias": 0.1 * waves(shape[0]) for i, shape in SHAPES.items()}
    lins = {f"lin{i}.model.1.weight": waves(1, s[0], 1, 1).abs() for i, s in enumerate(SHAPES.values())}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network, folder / BACKBONE_FILE)
    torch.save(lins, folder / "alex.pth")
    return LpipsFiles(folder / BACKBONE_FILE, folder / "alex.pth")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LpipsFiles:
    return make_files(tmp_path_factory.mktemp("lpips"))


def test_distance_by_its_definition(files: LpipsFiles) -> None:
    """Normalised features of five layers, squared differences, weighted by channel, averaged over places."""
    a, b = noise(0, 80, 96), noise(1, 80, 96)
    network, lins = torch.load(files.backbone), torch.load(files.calibration)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 11, 4, 2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2),
        torch.nn.Conv2d(64, 192, 5, 1, 2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2),
        torch.nn.Conv2d(192, 384, 3, 1, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(384, 256, 3, 1, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(256, 256, 3, 1, 1),
        torch.nn.ReLU(),
    )
    layers.load_state_dict({name.removeprefix("features."): value for name, value in network.items()})
    x = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2) / 255.0 * 2 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(
        3, 1, 1
    )
    expected, level = 0.0, 0
    with torch.inference_mode():
        for index, layer in enumerate(layers):
            x = layer(x)
            if index in (1, 4, 7, 9, 11):
                unit = torch.nn.functional.normalize(x, dim=1, eps=1e-12)
                expected += float(
                    ((unit[0] - unit[1]) ** 2 * lins[f"lin{level}.model.1.weight"][0]).sum(0).mean()
                )
                level += 1
    assert Lpips(files).distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_equal_frames_and_symmetry(files: LpipsFiles) -> None:
    lpips, (a, b) = Lpips(files), (noise(0, 48, 80), noise(1, 48, 80))
    assert lpips.distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert lpips.distance(a, b) == pytest.approx(lpips.distance(b, a))


def test_weights_are_looked_for_where_torchvision_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert weights_folder() == tmp_path / "home" / "hub" / "checkpoints"
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "torch" / "hub" / "checkpoints"


def test_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(perceptual, "find_spec", lambda _: None)
    with pytest.raises(ModelFilesError, match="needs the package torchmetrics"):
        find_lpips()
    package = tmp_path / "torchmetrics"
    spec = importlib.machinery.ModuleSpec("torchmetrics", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(perceptual, "find_spec", lambda _: spec)
    with pytest.raises(ModelFilesError, match="no calibration of LPIPS"):
        find_lpips()
    models = package / "functional" / "image" / "lpips_models"
    made = make_files(models)
    with pytest.raises(ModelFilesError, match="the weights of AlexNet, which are not on the disk") as missing:
        find_lpips()
    assert missing.value.where == str(weights_folder() / BACKBONE_FILE)
    weights_folder().mkdir(parents=True)
    made.backbone.rename(weights_folder() / BACKBONE_FILE)
    assert find_lpips() == LpipsFiles(weights_folder() / BACKBONE_FILE, models / "alex.pth")


def test_damaged_and_foreign_weights(files: LpipsFiles, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pth"
    torn.write_bytes(files.backbone.read_bytes()[:1000])
    with pytest.raises(ModelFilesError, match="cannot read its weights"):
        Lpips(LpipsFiles(torn, files.calibration))
    with pytest.raises(ModelFilesError, match=r"no features\.0\.weight"):
        Lpips(LpipsFiles(files.calibration, files.calibration))
