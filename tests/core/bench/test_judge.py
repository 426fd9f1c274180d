"""The judge of the embedded model: what it measures, and what it writes."""

import numpy as np
import pytest

from core.bench.judge import MEASURES, Judge, held_out_world, true_video
from core.bench.play import play, true_latents
from core.bench.scripts import QUALITY_SCRIPTS, SIX_RETURNS, STUDY_SCRIPTS, Script
from core.bench.setting import Setting
from core.models.mini.config import LATENT_CHANNELS, MiniConfig
from core.models.mini.evaluate import write_into_card
from core.models.mini.model import MiniModel
from core.models.mini.report import claims_table, quality_table, returns_table, token_table
from core.models.mini.sharpen import Sharpener
from core.models.mini.train import fit_codec, initialise
from core.models.wan.network import WanNetwork
from core.schemas.bench_cell import Costs, Score
from trajectories.geometry import revisits

SHORT = Script("short", (*STUDY_SCRIPTS[0].steps[:2], "hold: {frames: 2}"), 3)


@pytest.fixture(scope="module")
def model():
    config = MiniConfig()
    network = WanNetwork(config.network)
    initialise(network, 0)
    return MiniModel(config, network.eval().requires_grad_(False), fit_codec(config, 0, batches=1))


@pytest.mark.parametrize("script", [*STUDY_SCRIPTS, *QUALITY_SCRIPTS, SIX_RETURNS], ids=lambda s: s.name)
def test_scripts_fill_chunks_and_come_back(script):
    trajectory = script.trajectory()
    assert trajectory.num_frames % 3 == 0
    assert script.given_chunks * 3 < trajectory.num_frames
    found = revisits(trajectory.c2w, min_gap_frames=script.min_gap_frames)
    assert any(r.frame >= script.given_chunks * 3 > r.first_frame for r in found)


def test_score_has_one_value_a_world(model):
    judge = Judge(model, num_worlds=3, batch=2)
    free = judge.score(SHORT, Setting(name="rays", tokens=20))
    given = judge.score(SHORT, Setting(name="rays", tokens=20), given=True)
    for score in (free, given):
        names = ("self_psnr_db", "sharpness") + (("control_psnr_db", "gain_psnr_db") if score is free else ())
        for name in names:
            assert len(score.measures[name]) == 3
            assert np.isfinite(score.measures[name]).all()
        assert score.costs.cpu_ms > 0
    assert len(given.measures["truth_psnr_db"]) == 3
    assert "truth_psnr_db" not in free.measures
    assert 0 < free.costs.stored_share < 1
    assert free.costs.retrieve_tokens == 20
    assert set(free.measures) | set(given.measures) == set(MEASURES)
    tables = (quality_table([free], [given]), returns_table([free]), token_table([free]))
    assert all("rays" in table for table in tables)


def made_up(setting, tokens, psnr, script="s"):
    """A score of three worlds with the given revisit PSNRs."""
    numbers = dict.fromkeys(Costs.model_fields, 1)
    costs = Costs.model_validate({**numbers, "retrieve_tokens": tokens})
    measures = dict.fromkeys(MEASURES, psnr) if psnr else {}
    return Score(script=script, setting=setting, given=False, costs=costs, measures=measures)


def test_claims_are_paired_over_worlds():
    grain = [
        made_up("full", 0, [30.0, 31.0, 32.0]),
        made_up("sliding", 0, [20.0, 21.0, 22.0]),
        made_up("3 whole chunks, pose", 135, [30.0, 31.0, 32.0]),
        made_up("3 chunks, keep 0.25, key", 69, [27.0, 28.0, 29.0]),
        made_up("rays, older first", 69, [29.5, 30.5, 31.5]),
        made_up("rays, older first", 45, [29.0, 30.0, 31.0]),
    ]
    returns = [
        made_up("full", 0, [20.0, 30.0, 25.0], "r"),
        made_up("worldkv, rays 45", 45, [23.0, 33.0, 28.0], "r"),
    ]
    given = [
        made_up("full", 0, [28.0, 29.0, 30.0], "g"),
        made_up("sliding", 0, [18.0, 19.0, 20.0], "g"),
        made_up("worldkv, rays 45", 45, [26.0, 27.0, 28.0], "g"),
    ]
    table = claims_table(grain, returns, given)
    assert "g, worldkv, rays 45 | 80% | 80% to 80% |" in table
    assert "| 90% | 90% to 90% |" in table
    assert "| +2.50 | +2.50 to +2.50 |" in table
    assert "| +3.00 | +3.00 to +3.00 |" in table
    assert "| - |" in token_table([made_up("full", 0, [])])


def test_batch_size_does_not_change_scores(model):
    one, three = (
        Judge(model, num_worlds=3, batch=b).score(SHORT, Setting(name="full", mode="full")) for b in (1, 3)
    )
    assert one.measures["self_psnr_db"] == pytest.approx(three.measures["self_psnr_db"], abs=0.1)


def test_worlds_are_numbered(model):
    """Numbers, not places in the list, choose room and noise: other batches hold the same worlds."""
    both = Judge(model, num_worlds=2, first_world=5).score(SHORT, Setting(tokens=20))
    second = Judge(model, num_worlds=1, first_world=6).score(SHORT, Setting(tokens=20))
    assert both.measures["self_psnr_db"][1] == pytest.approx(second.measures["self_psnr_db"][0], abs=0.1)


def test_what_is_given_is_shown(model):
    worlds = [held_out_world(model, SHORT, number) for number in (0, 1)]
    legs = [true_latents(model, world, 2) for world in worlds]
    played = play(model, SHORT.trajectory(), worlds, Setting(tokens=20), given=legs)
    shown = model.decoder().push(legs[1][None])[0]
    assert np.array_equal(played.videos[1][:6], shown)
    assert played.cpu_s > 0


def test_truth_repeats_itself(model):
    """In the true world a revisit is a copy: the ceiling of every table."""
    trajectory = SHORT.trajectory()
    video = true_video(model, SHORT, 0)
    pairs = [r for r in revisits(trajectory.c2w, min_gap_frames=12) if r.distance < 1e-6]
    assert pairs
    for pair in pairs:
        assert np.abs(video[pair.frame].astype(int) - video[pair.first_frame]).max() <= 1


def test_an_untrained_sharpener_adds_nothing(model):
    latents = model.encode(model.world(SHORT.trajectory(), 0).pictures(0, 2))
    assert latents.shape == (2, LATENT_CHANNELS, 6, 10)
    assert not Sharpener()(latents).any()


def test_card_keeps_its_text(tmp_path):
    card = tmp_path / "CARD.md"
    card.write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    write_into_card(card, "| new |\n")
    assert card.read_text() == "before\n<!-- tables -->\n| new |\n<!-- end of tables -->\nafter\n"
