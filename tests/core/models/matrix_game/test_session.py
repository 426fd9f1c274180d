"""A session: what it conditions the network on, and how it says the network is best run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.memory.layout import WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode, frame_shifts, sink_start
from core.memory.step import ChunkStep
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.pictures import cropped
from core.models.wan.clip import encode_image
from core.models.wan.codec import StreamingEncoder
from core.models.wan.vae import load_vae
from core.placement import Turns
from core.video.reader import read_image, read_video
from tests.core.models.matrix_game.sessions import SIZE, VARIANTS, prepared, write_inputs, write_models
from tests.tiny_matrix_game import CLIP, VAE

CPU = torch.device("cpu")
WINDOW = {"universal": 6, "gta_drive": 4, "templerun": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("session")
    write_inputs(made, (SIZE[0], SIZE[1] + 32))  # must be cropped
    for name, frames in (("short", 8), ("hold", 20)):
        (made / f"{name}.yaml").write_text(f"version: 1\nsteps: [{{hold: {{frames: {frames}}}}}]\n")
    return write_models(made)


def loaded(folder: Path, **settings: object):
    """A model with its weights, by default for a single chunk."""
    job = prepared(folder, folder, **{"traj": str(folder / "short.yaml"), "fit": "pad", **settings})
    return job.session.load(CPU, torch.float32, Turns())


class TestFirstPicture:
    def test_is_followed_by_grey_frames(self, folder: Path) -> None:
        """Bit by bit what one encoder makes of the whole clip; not zero latents."""
        channels = loaded(folder, traj=str(folder / "hold.yaml")).controls._picture
        ours = torch.cat([channels.channels(range(i, i + 3)) for i in (0, 3)], dim=2)
        clip = torch.zeros(1, 3, 21, SIZE[1], SIZE[0])
        clip[:, :, 0] = cropped(read_image(folder / "first.png")[None], SIZE)
        whole = StreamingEncoder(load_vae(folder / VAE, device=CPU)).push(clip)
        assert torch.equal(ours[:, 4:], whole)
        assert ours[:, :4, 0].eq(1).all()
        assert ours[:, :4, 1:].eq(0).all()
        assert whole[:, :, 1:].abs().mean() > 0.1

    def test_tokens_are_those_of_the_same_picture(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []

        def watched(picture: torch.Tensor, path: Path, **named: object) -> torch.Tensor:
            seen.append(picture)
            return encode_image(picture, path, **named)

        monkeypatch.setattr("core.models.matrix_game.session.encode_image", watched)
        model = loaded(folder)
        picture = cropped(read_image(folder / "first.png")[None], SIZE)
        assert torch.equal(seen[0], picture)
        tokens = encode_image(picture, folder / CLIP, device=CPU, dtype=torch.float32)
        network = model.controls._network
        with torch.inference_mode():
            expected = network.embed_image(tokens)
        for ours, theirs in zip(model.controls._context, expected, strict=True):
            assert torch.equal(ours.k, theirs.k)
            assert torch.equal(ours.v, theirs.v)

    def test_of_a_clip(self, folder: Path) -> None:
        """Its chunks are given, its first frame is the picture."""
        model = loaded(folder, prefix=folder / "clip.mp4", prefix_traj=str(folder / "hold.yaml"))
        frames = cropped(read_video(folder / "clip.mp4"), SIZE)
        whole = StreamingEncoder(load_vae(folder / VAE, device=CPU)).push(frames.transpose(0, 1)[None])
        given = [model.given(chunk) for chunk in range(3)]
        assert given[2] is None
        assert torch.equal(torch.cat(given[:2], dim=2), whole)
        assert torch.equal(model.controls._picture.channels(range(3))[:, 4:, :1], whole[:, :, :1])

    def test_both_codecs_count(self, folder: Path) -> None:
        """The one that encodes a clip stays, in float32, while another one decodes; else it goes."""
        clip = {"prefix": folder / "clip.mp4", "prefix_traj": str(folder / "hold.yaml")}
        narrow = load_vae(folder / VAE, device=CPU, dtype=torch.bfloat16).parameter_bytes
        for start, more in ((clip, narrow), ({}, -narrow)):  # wide ones are twice as large
            wide, both = (
                loaded(folder, **start, decode_dtype=dtype).parameter_bytes
                for dtype in ("float32", "bfloat16")
            )
            assert both - wide == more


class TestSlots:
    """Keys never stand further back than the network was trained to look."""

    @staticmethod
    def furthest(plan: MemoryPlan, mode: PositionMode, trained: int) -> int:
        """Latent frames between the newest frame and the furthest that is retrieved or in the sink."""
        back = [0]
        for step in plan.steps:
            newest = step.frames + plan.layout.chunk_frames - 1
            positions = _retrieved_positions(mode, step, plan.layout, trained)
            if step.chunk:
                start = sink_start(mode, step, plan.layout, trained_frames=trained)
                positions = np.append(positions, start)
            back += [int(newest - at) for at in positions]
            assert (positions <= newest).all()
        return max(back)

    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("settings", [{}, {"strategy": "rays"}, {"recent": 6, "retrieve": 2}], ids=str)
    def test_by_default(self, folder: Path, variant: str, settings: dict[str, object]) -> None:
        job = prepared(folder, folder, variant=variant, traj="loop", **settings)
        assert job.positions is PositionMode.SLOT
        assert job.session.trained_frames == WINDOW[variant]
        assert job.plan.retrieved_tokens > 0
        assert self.furthest(job.plan, job.positions, WINDOW[variant]) < WINDOW[variant]

    def test_not_so_if_absolute(self, folder: Path) -> None:
        job = prepared(folder, folder, traj="loop", positions="absolute")
        assert self.furthest(job.plan, job.positions, 6) > 30


def _retrieved_positions(
    mode: PositionMode, step: ChunkStep, layout: WindowLayout, trained: int
) -> np.ndarray:
    moved = frame_shifts(mode, step, layout, trained_frames=trained)
    return step.retrieved_sources // layout.tokens_per_frame + moved


@pytest.mark.parametrize("variant", VARIANTS)
class TestDefaults:
    def test_window(self, folder: Path, variant: str) -> None:
        """Recent and current frames are the native window."""
        layout = prepared(folder, folder, variant=variant).plan.layout
        assert layout.recent_frames + layout.chunk_frames == WINDOW[variant]
        assert (layout.sink_frames, layout.retrieve_tokens) == (3, 9 * layout.tokens_per_frame)

    @pytest.mark.slow
    def test_actions_reach_as_far_as_natively(self, folder: Path, variant: str) -> None:
        """Also where keys and values reach much further."""
        model = loaded(folder, variant=variant, memory="full")
        config, cache = find_variant(variant), model.controls.cache
        assert cache.frames == cache.keyboard_kv.shape[3] == WINDOW[variant]
        assert cache.mouse_kv.shape[3:5] == (24 if config.mouse else 0, WINDOW[variant])

    def test_sampler(self, folder: Path, variant: str) -> None:
        timesteps = loaded(folder, variant=variant).levels.timesteps
        few = [1000, 908.8427, 713.9794] if variant != "templerun" else [1000, 937.5, 833.3333, 625]
        assert timesteps == pytest.approx(few, abs=1e-3)


def test_what_is_loaded_is_told(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    job = prepared(folder, folder, traj=str(folder / "short.yaml"))
    job.session.load(CPU, torch.float32, Turns(), lambda *each: told.append(each))
    words = list(dict.fromkeys(what for what, _, _ in told))
    assert words == ["image encoder", "codec", "first picture", "transformer"]
    done = [(done, total) for what, done, total in told if what == "transformer"]
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1] > 0
