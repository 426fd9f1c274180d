"""The log of cameras and kept tokens."""

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import resolve
from core.errors import InputError, OutputError
from core.generate import prepare
from core.memory.prune import KeptTally, kept_by_key
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.noise import seeded_noise
from core.rollout import rollout
from core.viewlog import SCHEMA_PATH, ViewLog, chunk_view, read_views, view_json_schema
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w
from tests.core.memory.tiny import CPU, LEVELS, TinyControls, make_plan, new_memory, there_and_back

SCRIPT = """
version: 1
name: out-and-back
fps: 16
steps:
  - mark: home
  - turn: {yaw_deg: 90}
  - return_to: {mark: home, path: retrace}
"""
VIEWS = viewpoints(yaw_c2w(np.arange(6.0), np.zeros((6, 3))))


def line(chunk: int = 0, kept: int = 0, num_layers: int = 4):
    counts = np.full(VIEWS.tokens_per_chunk, kept, dtype=np.int32)
    return chunk_view(VIEWS, chunk, VIEWS.c2w[:2] + 0.125, counts, num_layers)


class TestLines:
    def test_comes_back_as_it_was(self, tmp_path: Path) -> None:
        with ViewLog(tmp_path / "views.jsonl") as log:
            log.append(line(0, kept=4))
            log.append(line(1, kept=1))
        first, second = read_views(tmp_path / "views.jsonl")
        assert np.array_equal(first.viewpoints, VIEWS.c2w[:3])
        assert np.array_equal(second.viewpoints, VIEWS.c2w[3:])
        assert np.array_equal(first.cameras[:, :3], VIEWS.c2w[:2, :3] + 0.125)
        assert first.kept.shape == (3, *VIEWS.grid)
        assert (first.kept == 255).all()
        assert (second.kept == 64).all()  # one layer of four

    def test_one_layer_of_many_is_not_none(self, tmp_path: Path) -> None:
        with ViewLog(tmp_path / "views.jsonl") as log:
            log.append(line(kept=1, num_layers=300))
        (view,) = read_views(tmp_path / "views.jsonl")
        assert (view.kept == 1).all()

    @pytest.mark.parametrize("batch", [1, 2])
    def test_shares_of_any_depth(self, tmp_path: Path, batch: int) -> None:
        with ViewLog(tmp_path / "views.jsonl") as log:
            for depth in range(1, 101):
                places = depth * batch
                counts = np.arange(VIEWS.tokens_per_chunk, dtype=np.int32) % (places + 1)
                counts[-1] = places
                log.append(chunk_view(VIEWS, 0, VIEWS.c2w[:2], counts, depth, batch=batch))
        for depth, view in enumerate(read_views(tmp_path / "views.jsonl"), start=1):
            places = depth * batch
            counts = np.arange(VIEWS.tokens_per_chunk) % (places + 1)
            counts[-1] = places
            expected = [math.ceil(Fraction(255 * int(count), places)) for count in counts]
            assert view.kept.reshape(-1).tolist() == expected

    def test_more_than_there_are_is_refused(self) -> None:
        with pytest.raises(InputError, match="a token is stored 8 times in 4 layers of 1 worlds"):
            line(kept=8)

    def test_a_torn_last_line_is_left_out(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "views.jsonl"
        with ViewLog(path) as log:
            log.append(line(0))
            log.append(line(1))
        path.write_bytes(path.read_bytes()[:-20])
        assert [view.chunk for view in read_views(path)] == [0]
        assert "views.jsonl:2 is torn" in caplog.text

    @pytest.mark.parametrize(
        "text", ['{"chunk":0}\n', line().model_dump_json().replace(line().kept, "AAAA") + "\n"]
    )
    def test_damage_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "views.jsonl").write_text(text)
        with pytest.raises(InputError, match="the log of views is damaged") as caught:
            list(read_views(tmp_path / "views.jsonl"))
        assert caught.value.where.endswith("views.jsonl:1")

    def test_a_full_disk_is_told(self) -> None:
        with (
            ViewLog(Path("/dev/full")) as log,
            pytest.raises(OutputError, match="the log of views cannot be written"),
        ):
            log.append(line())

    def test_no_file_before_the_first_chunk(self, tmp_path: Path) -> None:
        with ViewLog(tmp_path / "views.jsonl"):
            assert not list(tmp_path.iterdir())

    def test_the_committed_schema_is_up_to_date(self) -> None:
        command = "from core.viewlog import write_view_json_schema as w; w()"
        assert json.loads(SCHEMA_PATH.read_text()) == view_json_schema(), f'run: python -c "{command}"'


class TestKeptCounts:
    def counts(self, *, batch: int = 1, **how) -> list[np.ndarray]:
        views = there_and_back(8)
        plan = make_plan(views, sink=1, recent=4, **how)
        memory = new_memory(plan, batch=batch)
        noise = seeded_noise(5, (batch, 4, 3, 6, 8), CPU)
        results = rollout(TinyControls(views), plan, memory, levels=LEVELS, noise=noise)
        return [memory.kept_counts(result.step) for result in results]

    def test_of_rules_without_keys_every_layer_keeps_the_planned_tokens(self) -> None:
        how = {"strategy": strategy("rays")(), "tokens": 30}
        plan = make_plan(there_and_back(8), sink=1, recent=4, **how)
        for step, counts in zip(plan.steps, self.counts(**how), strict=True):
            assert np.array_equal(np.flatnonzero(counts), step.store_tokens)
            assert set(counts) <= {0, 2}  # layers

    @pytest.mark.parametrize("batch", [1, 2])
    def test_by_keys_every_layer_counts(self, batch: int) -> None:
        pruning = Pruning(rule="key", keep_ratio=0.25)
        counts = self.counts(strategy=strategy("pose")(num_chunks=2), chunks=2, pruning=pruning, batch=batch)
        kept = [each for each in counts if each.any()]
        assert kept
        for each in kept:
            assert (each[:12] == 2 * batch).all()  # the anchor, whole in both layers
            assert each[12:24].sum() == each[24:].sum() == 3 * 2 * batch  # a quarter of 12 tokens a frame

    def test_the_tally_is_what_was_chosen(self) -> None:
        keys = torch.randn(2, 3, 12, 3, 16, generator=torch.Generator().manual_seed(0))
        chosen = kept_by_key(keys, keep=4, pooled=False)
        tally = KeptTally(36, CPU)
        tally.add(chosen)
        expected = np.bincount(chosen.flatten().numpy(), minlength=36)
        assert np.array_equal(tally.counts(), expected)
        tally.clear()
        assert not tally.counts().any()


def test_a_run_leaves_cameras_and_kept_tokens(tmp_path: Path) -> None:
    (tmp_path / "out-and-back.yaml").write_text(SCRIPT)
    settings = {
        "traj": str(tmp_path / "out-and-back.yaml"),
        "out": tmp_path / "run",
        "scale": 1,
        "dtype": "float32",
    }
    job = prepare(resolve(settings, {}))
    job.run()
    views = list(read_views(tmp_path / "run" / "views.jsonl"))
    assert [view.chunk for view in views] == list(range(job.num_chunks))
    cameras = np.concatenate([view.cameras for view in views])
    assert np.array_equal(cameras, job.session.trajectory.c2w)
    stored = [int((view.kept == 255).sum()) for view in views]
    assert stored == [step.num_stored for step in job.plan.steps]
    assert any(stored)
