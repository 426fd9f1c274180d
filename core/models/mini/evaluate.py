"""Judges the embedded model: `python -m core.models.mini.evaluate --out report`.

Every setting plays the same scripts in the same held-out worlds with the same noise. Written: a JSON file for
each part (every number), tables.md (what the model card holds) and, on request, contact sheets. Parts can be
played by several processes side by side; the last one, with no parts left, makes the tables.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.bench.judge import Judge, held_out_world, true_video
from core.bench.play import play as play_worlds
from core.bench.play import true_latents
from core.bench.scripts import MANY_RETURNS, QUALITY_SCRIPTS, SIX_RETURNS, STUDY_SCRIPTS, Script
from core.bench.setting import Setting, make_setting
from core.contact_sheet import SheetRow, contact_sheet
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.model import WEIGHTS, MiniModel
from core.models.mini.report import claims_table, quality_table, returns_table, token_table
from core.schemas.bench_cell import Score

log = logging.getLogger(__name__)

CARD_MARKS = ("<!-- tables -->", "<!-- end of tables -->")


def _pose(
    name: str, chunks: int = 3, rule: str = "none", keep: float = 1.0, *, pooled: bool = False
) -> Setting:
    """Chunks by pose, whole or pruned."""
    values = {"strategy": "pose", "chunks": chunks, "prune": rule, "keep_ratio": keep, "pooled": pooled}
    return make_setting({"name": name, **values})


PAPER = _pose("worldkv, paper", rule="key", keep=0.25)
RAYS = Setting(name="worldkv, rays 45", tokens=45)
FULL, SLIDING = Setting(name="full", mode="full"), Setting(name="sliding", mode="sliding")
MODES = (
    FULL,
    SLIDING,
    Setting(name="sink", mode="sink"),
    PAPER,
    RAYS,
    Setting(name="worldkv, rays 135", tokens=135),
)

TOKEN_SETTINGS = (
    FULL,
    _pose("3 whole chunks, pose"),
    Setting(name="3 whole chunks, coverage", strategy="coverage", tokens=135),
    _pose("6 whole chunks, pose", 6),
    *(_pose(f"3 chunks, keep 0.25, {rule}", 3, rule, 0.25) for rule in ("key", "random", "stride", "view")),
    _pose("3 chunks, keep 0.25, key, pooled", 3, "key", 0.25, pooled=True),
    *(_pose(f"6 chunks, keep 0.25, {rule}", 6, rule, 0.25) for rule in ("key", "random", "view")),
    *(_pose(f"3 chunks, keep 0.5, {rule}", 3, rule, 0.5) for rule in ("key", "random", "view")),
    Setting(name="rays, older first", tokens=135),
    Setting(name="rays, older first", tokens=69),
    Setting(name="rays, older first", tokens=45),
    Setting(name="rays, older first", tokens=23),
    Setting(name="rays, newer first", tokens=69, order="newer"),
    Setting(name="rays, contiguous", tokens=69, positions="contiguous"),
    SLIDING,
)


def draw(judge: Judge, script: Script, world: int, path: Path, *, columns: int = 9) -> None:
    """Contact sheet of one world: truth and every mode, the first leg given."""
    trajectory, model = script.trajectory(), judge.model
    room = held_out_world(model, script, world)
    times = np.linspace(0, trajectory.num_frames - 1, columns).round().astype(int)
    rows = [SheetRow("truth", [true_video(model, script, world)[t] for t in times])]
    leg = true_latents(model, room, script.given_chunks)
    for setting in MODES:
        played = play_worlds(model, trajectory, [room], setting, given=[leg], first_seed=world)
        rows.append(SheetRow(setting.name, [played.videos[0][t] for t in times]))
    labels = [f"frame {t}" + (" (given)" if t < script.given_chunks * CHUNK_FRAMES else "") for t in times]
    contact_sheet(rows, labels, title=f"{script.name}: one world, one noise").save(path)


def jobs(part: str, num_worlds: int, token_worlds: int) -> list[tuple[int, Script, Setting, bool]]:
    """What is played for a part: worlds, script, setting, and whether the first leg is given."""
    few = min(8, num_worlds)
    every = [(script, setting) for script in QUALITY_SCRIPTS for setting in MODES]
    return {
        "free": [(num_worlds, *pair, False) for pair in every],
        "given": [(num_worlds, *pair, True) for pair in every],
        "returns": [
            (worlds, script, setting, False)
            for worlds, script in ((num_worlds, SIX_RETURNS), (few, MANY_RETURNS))
            for setting in MODES
        ],
        "tokens": [(token_worlds, script, s, False) for s in TOKEN_SETTINGS for script in STUDY_SCRIPTS],
    }[part]


PARTS = ("free", "given", "returns", "tokens")


def play(model: MiniModel, part: str, out: Path, *, num_worlds: int, token_worlds: int) -> None:
    """Score one part of the report and write its numbers."""
    scores = []
    for worlds, script, setting, given in tqdm(jobs(part, num_worlds, token_worlds), desc=part):
        scores.append(Judge(model, worlds).score(script, setting, given=given))
    numbers = [score.model_dump() for score in scores]
    (out / f"{part}.json").write_text(json.dumps(numbers, indent=1) + "\n")


def tables(out: Path) -> str:
    """The tables of all parts that have been played."""
    scores = {
        part: [Score.model_validate(row) for row in json.loads((out / f"{part}.json").read_text())]
        for part in PARTS
        if (out / f"{part}.json").exists()
    }
    found = []
    if "free" in scores and "given" in scores:
        worlds = len(scores["free"][0].measures["self_psnr_db"])
        title = f"## Quality, {worlds} held-out worlds"
        found.append(f"{title}\n\n{quality_table(scores['free'], scores['given'])}")
    if {"returns", "tokens", "given"} <= set(scores):
        claims = claims_table(scores["tokens"], scores["returns"], scores["given"])
        found.append(f"## Claims\n\n{claims}")
    if "returns" in scores:
        found.append(f"## Long rollouts\n\n{returns_table(scores['returns'])}")
    if "tokens" in scores:
        worlds = len(scores["tokens"][0].measures["self_psnr_db"])
        title = f"## Which tokens are worth keeping, {worlds} worlds, revisit PSNR"
        found.append(f"{title}\n\n{token_table(scores['tokens'])}")
    return "\n\n".join(found) + "\n"


def write_into_card(card: Path, tables: str) -> None:
    """Replace what stands between the card's two marks."""
    text = card.read_text()
    head, _, rest = text.partition(CARD_MARKS[0])
    _, _, tail = rest.partition(CARD_MARKS[1])
    card.write_text(f"{head}{CARD_MARKS[0]}\n{tables.rstrip()}\n{CARD_MARKS[1]}{tail}")


def main() -> None:
    """Command line of the evaluation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report")
    parser.add_argument("--worlds", type=int, default=32, help="worlds of the quality tables")
    parser.add_argument("--token-worlds", type=int, default=16, help="worlds of the token table")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="what to play")
    parser.add_argument("--pictures", action="store_true", help="draw contact sheets of four worlds")
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    model = MiniModel.load(path=args.weights)
    for part in args.parts:
        play(model, part, args.out, num_worlds=args.worlds, token_worlds=args.token_worlds)
    for world in range(4 if args.pictures else 0):
        for script in STUDY_SCRIPTS[2:4]:
            name = f"contact-{script.name.replace(' ', '-')}-{world}.png"
            draw(Judge(model, 1), script, world, args.out / name)
    (args.out / "tables.md").write_text(tables(args.out))
    if args.card is not None:
        write_into_card(args.card, tables(args.out))


if __name__ == "__main__":
    main()
