import weakref
from pathlib import Path

import pytest
import torch

from core.config import resolve
from core.generate import Job, prepare
from core.hardware import NOTHING_HELD, Held, budgets
from core.host_memory import HostMemory
from core.models.mini.decoder_bytes import decoder_bytes
from core.models.mini.model import MiniModel
from core.models.session import LoadedModel
from core.models.weight_cache import WeightCache
from core.placement import Parts
from tests.core.models.lingbot import sessions as lingbot
from tests.core.models.matrix_game import sessions as matrix_game
from tests.tiny_lingbot import write_checkpoint

CPU = torch.device("cpu")
SHORT = "version: 1\nname: short\nsteps:\n  - turn: {yaw_deg: 40, frames: 8}\n"


class Weights:
    """Something that can be collected."""


def loaded(cache: WeightCache, key: str, held: Held = NOTHING_HELD) -> Weights:
    return cache.get(key, CPU, Weights, lambda _: held)


def video(job: Job, cache: WeightCache | None = None) -> bytes:
    """What a job makes."""
    _, folder = job.run(weights=cache)
    return (folder / "video.mp4").read_bytes()


def mini(tmp_path: Path, name: str, **settings: object) -> Job:
    (tmp_path / "short.yaml").write_text(SHORT)
    ours = {"traj": str(tmp_path / "short.yaml"), "out": tmp_path / name, "scale": 1, "device": "cpu"}
    return prepare(resolve({**ours, **settings}, {}))


class TestCache:
    def test_the_same_is_loaded_once(self) -> None:
        cache = WeightCache()
        assert loaded(cache, "a") is loaded(cache, "a")
        assert cache.num_loads == 1

    def test_others_are_freed_before(self) -> None:
        cache = WeightCache()
        first = weakref.ref(loaded(cache, "a", Held(device=5)))

        def load() -> Weights:
            assert first() is None
            assert cache.held == NOTHING_HELD
            return Weights()

        cache.get("b", CPU, load, lambda _: Held(device=7, host=2))
        assert (cache.held, cache.num_loads) == (Held(device=7, host=2), 2)

    def test_loading_that_fails_keeps_nothing(self) -> None:
        cache = WeightCache()
        loaded(cache, "a", Held(device=5))
        with pytest.raises(ZeroDivisionError):
            cache.get("b", CPU, lambda: 1 // 0, lambda _: NOTHING_HELD)
        assert cache.held == NOTHING_HELD

    @pytest.mark.parametrize(
        ("encoder", "host", "stays"), [(0, 0, True), (40, 3, True), (41, 0, False), (0, 4, False)]
    )
    def test_what_comes_before_fits_beside_or_it_is_freed(self, encoder: int, host: int, stays: bool) -> None:
        cache = WeightCache()
        loaded(cache, "a", Held(device=60, host=2))
        parts = Parts(
            device={"weights": 60, "window": 40},
            host={"weights": 2, "bank": 3},
            loading_device={"text": encoder},
            loading_host={"text": host},
        )
        cache.make_room(parts)
        assert (cache.held != NOTHING_HELD) is stays

    def test_kept_weights_count_as_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a GPU that nobody has asked about, which need not be there."""
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (30, 100))
        monkeypatch.setattr("core.hardware.host_memory", lambda: HostMemory(None, 50))
        config = resolve({"traj": "loop"}, {}).config
        found = budgets(config, torch.device("cuda:0"), Held(device=60, host=7))
        assert (found.device, found.host) == (90, 57)
        asked = resolve({"traj": "loop", "vram_budget": "1GB", "ram_budget": "2GB"}, {}).config
        found = budgets(asked, torch.device("cuda:0"), Held(device=60, host=7))
        assert (found.device, found.host) == (10**9, 2 * 10**9)


def kept(job: Job, cache: WeightCache) -> LoadedModel:
    """The job's model, from weights that are kept."""
    return job.session.load(CPU, job.dtype, job.placement.turns, None, cache)


class TestMini:
    def test_same_videos_from_one_load(self, tmp_path: Path) -> None:
        cache = WeightCache()
        settings = ({"seed": 0}, {"seed": 1, "memory": "sink"}, {"seed": 0, "prefix": 1})
        shared = [video(mini(tmp_path, f"shared{i}", **s), cache) for i, s in enumerate(settings)]
        alone = [video(mini(tmp_path, f"alone{i}", **s)) for i, s in enumerate(settings)]
        assert shared == alone
        assert len(set(shared)) == 3
        again = mini(tmp_path, "again")
        assert again.session.passes == kept(again, cache).levels.num_steps
        assert cache.num_loads == 1
        weights = mini(tmp_path, "x").session.footprint(torch.float32).parameter_bytes
        assert cache.held.device == weights + decoder_bytes()

    def test_another_precision_is_another_load(self, tmp_path: Path) -> None:
        cache = WeightCache()
        video(mini(tmp_path, "a"), cache)
        video(mini(tmp_path, "b", dtype="bfloat16"), cache)
        assert cache.num_loads == 2

    def test_without_a_cache_nothing_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        models: list[weakref.ref[MiniModel]] = []
        load = MiniModel.load

        def watched(**where: object) -> MiniModel:
            model = load(**where)
            models.append(weakref.ref(model))
            return model

        monkeypatch.setattr(MiniModel, "load", watched)
        video(mini(tmp_path, "a"))
        assert [model() for model in models] == [None]


@pytest.mark.slow
def test_lingbot_from_one_load(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model")
    lingbot.write_inputs(tmp_path)
    cache = WeightCache()

    def job(name: str, **settings: object) -> Job:
        return lingbot.open_run(tmp_path / "model", tmp_path, out=tmp_path / name, **settings).job

    first = video(job("first"), cache)
    second = video(job("second", memory="sink"), cache)
    again = job("again")
    assert again.session.passes == kept(again, cache).levels.num_steps
    assert cache.num_loads == 1
    assert second == video(job("alone", memory="sink")) != first


@pytest.mark.slow
def test_matrix_game_from_one_load(tmp_path: Path) -> None:
    matrix_game.write_models(tmp_path / "model", ("universal",))
    matrix_game.write_inputs(tmp_path)
    cache = WeightCache()

    def job(name: str, **settings: object) -> Job:
        return matrix_game.prepared(tmp_path / "model", tmp_path, out=tmp_path / name, **settings)

    first = video(job("first"), cache)
    second = video(job("second", memory="sink", seed=1), cache)
    again = job("again")
    assert again.session.passes == kept(again, cache).levels.num_steps
    assert cache.num_loads == 1
    assert second == video(job("alone", memory="sink", seed=1)) != first
