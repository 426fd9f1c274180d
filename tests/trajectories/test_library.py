"""The bundled trajectories keep what they promise."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trajectories
from tests.trajectories.make import make, pitch_deg
from trajectories.geometry import revisits, step_turns_deg
from trajectories.preview import write_plot
from trajectories.schema import json_schema
from trajectories.summary import summarise

NAMES = trajectories.library_names()


def test_library_has_what_the_documentation_names() -> None:
    wanted = {"loop", "look-around", "out-and-back", "figure-eight", "corridor-and-return", "long-patrol"}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_trajectory_is_compact_level_and_comes_back(name: str) -> None:
    made = trajectories.load(name)
    assert made.name == name
    assert "Revisits: " in made.description
    assert len(revisits(made.c2w)) >= 30
    assert np.abs(made.c2w[:, :3, 3] - made.c2w[0, :3, 3]).max() <= 4.0
    assert np.abs(pitch_deg(made)).max() < 1e-9
    assert step_turns_deg(made.c2w).max() <= 7.6


@pytest.mark.parametrize("name", ["loop", "look-around", "out-and-back", "figure-eight", "key-presses"])
def test_trajectory_ends_where_it_started(name: str) -> None:
    made = trajectories.load(name)
    np.testing.assert_allclose(made.c2w[-1], made.c2w[0], atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_bundled_trajectory_fills_whole_chunks_of_every_model(name: str) -> None:
    made = trajectories.load(name)
    assert made.fit_chunks(first_frames=9, later_frames=12, how="cut")[1] == 0
    assert made.fit_chunks(first_frames=3, later_frames=3, how="cut")[1] == 0


def test_loop_forgets_in_a_short_window_and_returns() -> None:
    made = trajectories.load("loop")
    assert 120 <= made.num_frames <= 150
    assert min(pair.gap_frames for pair in revisits(made.c2w)) >= 30


def test_long_patrol_is_long_and_sees_nearly_everything_again() -> None:
    made = trajectories.load("long-patrol")
    assert made.num_frames >= 2000
    assert len(revisits(made.c2w)) > 0.85 * made.num_frames


def test_summary_figures() -> None:
    summary = summarise(
        make("move: {forward_units: 2}", "turn: {yaw_deg: -90}", "mark: end", "hold: {frames: 3}")
    )
    assert summary.num_frames == 42
    assert summary.duration_s == pytest.approx(42 / 16)
    assert summary.path_length_units == pytest.approx(2)
    assert summary.total_turn_deg == pytest.approx(90)
    assert summary.move_units_per_frame == pytest.approx((0.1, 0.1))
    assert summary.turn_deg_per_frame == pytest.approx((5, 5))
    assert summary.extent_units == pytest.approx((0, 0, 2))
    assert summary.action_drift_units == pytest.approx(0, abs=1e-6)
    assert (summary.marks, summary.num_revisits, summary.revisits) == ({"end": 38}, 0, ())
    json.dumps(summary.as_dict())


def test_plots_are_valid_pictures(tmp_path: Path) -> None:
    for name in ("loop", "look-around"):
        made = trajectories.load(name)
        write_plot(made, summarise(made), tmp_path / f"{name}.svg")
        root = ET.parse(tmp_path / f"{name}.svg").getroot()
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert name in texts
    write_plot(made, summarise(made), tmp_path / "plot.PNG")
    with Image.open(tmp_path / "plot.PNG") as image:
        assert image.size == (1800, 1600)
        assert len(image.getcolors(1 << 22)) > 100


def test_plot_escapes_what_the_file_says(tmp_path: Path) -> None:
    made = make("turn: {yaw_deg: 20}", header='name: "<b>&"')
    write_plot(made, summarise(made), tmp_path / "plot.svg")
    assert "&lt;b&gt;&amp;" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


def test_shortest_and_longest_trajectories_can_be_drawn(tmp_path: Path) -> None:
    for steps in ("hold: {frames: 1}", "repeat: {times: 60, steps: [{turn: {yaw_deg: 360, frames: 500}}]}"):
        made = make(steps)
        summary = summarise(made)
        assert (summary.num_revisits is None) == (made.num_frames > 20_000)
        write_plot(made, summary, tmp_path / "plot.svg")


def test_json_schema_describes_every_step_and_allows_no_null() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    assert '"null"' not in text
    steps = schema["$defs"]["Step"]
    assert set(steps["properties"]) == {
        "turn", "move", "hold", "press", "keyframes", "orbit", "return_to", "mark", "repeat", "macro",
    }  # fmt: skip
    assert (steps["minProperties"], steps["maxProperties"], steps["additionalProperties"]) == (1, 1, False)
    assert (
        schema["$defs"]["Turn"]["properties"]["yaw_deg"]["description"]
        == "Degrees to the right; negative turns left."
    )
    assert schema["$defs"]["Mark"]["anyOf"][0] == {"type": "string"}
