"""Judges the embedded model: `python -m core.models.mini.evaluate --out report`.

Every setting plays the same scripts in the same held-out worlds with the same noise. Written: results.json
(every number), tables.md (what the model card holds), contact-*.png (truth and modes over time).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.contact_sheet import SheetRow, contact_sheet
from core.fidelity import bootstrap_ci
from core.models.mini.judge import FIRST_WORLD_SEED, Judge, Score, true_video
from core.models.mini.model import WEIGHTS, MiniModel
from core.models.mini.scripts import MANY_RETURNS, SCRIPTS, SIX_RETURNS, Script
from core.models.mini.settings import Setting, generate_worlds

log = logging.getLogger(__name__)

CARD_MARKS = ("<!-- tables -->", "<!-- end of tables -->")

PAPER = Setting(name="worldkv, paper", strategy="pose", prune="key", keep_ratio=0.25)
RAYS = Setting(name="worldkv, rays 45", tokens=45)
FULL, SLIDING = Setting(name="full", mode="full"), Setting(name="sliding", mode="sliding")
MODES = (FULL, SLIDING, Setting(name="sink", mode="sink"), PAPER, RAYS)

TOKEN_SETTINGS = (
    FULL,
    Setting(name="3 whole chunks, pose", strategy="pose"),
    Setting(name="3 whole chunks, coverage", strategy="coverage"),
    Setting(name="6 whole chunks, pose", strategy="pose", chunks=6),
    *(
        Setting(name=f"3 chunks, keep 0.25, {rule}", strategy="pose", prune=rule, keep_ratio=0.25)
        for rule in ("key", "random", "stride", "view")
    ),
    Setting(
        name="3 chunks, keep 0.25, key, pooled", strategy="pose", prune="key", keep_ratio=0.25, pooled=True
    ),
    *(
        Setting(name=f"6 chunks, keep 0.25, {rule}", strategy="pose", chunks=6, prune=rule, keep_ratio=0.25)
        for rule in ("key", "random", "view")
    ),
    *(
        Setting(name=f"3 chunks, keep 0.5, {rule}", strategy="pose", prune=rule, keep_ratio=0.5)
        for rule in ("key", "random", "view")
    ),
    Setting(name="rays, older first", tokens=135),
    Setting(name="rays, older first", tokens=69),
    Setting(name="rays, older first", tokens=45),
    Setting(name="rays, older first", tokens=23),
    Setting(name="rays, newer first", tokens=69, order="newer"),
    Setting(name="rays, contiguous", tokens=69, positions="contiguous"),
    SLIDING,
)


def _cell(values: Sequence[float]) -> str:
    """Mean and half-width of the 95% interval over worlds."""
    low, high = bootstrap_ci(values, num_resamples=2000)
    return f"{np.mean(values):.1f} ±{(high - low) / 2:.1f}"


def quality_table(free: Sequence[Score], given: Sequence[Score]) -> str:
    """Modes against scripts: self-consistency, control, and truth where the view had been given."""
    lines = [
        "| script | mode | revisit PSNR | SSIM | control PSNR | given view, against truth | sharpness |",
        "|---|---|---|---|---|---|---|",
    ]
    for a, b in zip(free, given, strict=True):
        lines.append(
            f"| {a.script} | {a.setting} | {_cell(a.self_psnr_db)} | {np.mean(a.self_ssim):.3f} | "
            f"{np.mean(a.control_psnr_db):.1f} | {_cell(b.truth_psnr_db)} | {np.mean(a.sharpness):.2f} |"
        )
    return "\n".join(lines)


def token_table(scores: Sequence[Score], scripts: Sequence[Script]) -> str:
    """Settings against scripts, revisit PSNR with the interval over worlds."""
    names = [s.name for s in scripts]
    lines = [
        "| retrieval | tokens | stored | " + " | ".join(names) + " | mean |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    keys = dict.fromkeys((s.setting, s.tokens) for s in scores)
    for setting, tokens in keys:
        row = {s.script: s for s in scores if (s.setting, s.tokens) == (setting, tokens)}
        share = np.mean([s.stored_share for s in row.values()])
        mean = np.mean([np.mean(s.self_psnr_db) for s in row.values()])
        cells = " | ".join(_cell(row[name].self_psnr_db) for name in names)
        lines.append(f"| {setting} | {tokens} | {share:.0%} | {cells} | {mean:.2f} |")
    return "\n".join(lines)


def returns_table(scores: Sequence[Score]) -> str:
    """Scripts that come back many times: all revisits, and those of the last quarter."""
    lines = ["| script | mode | all revisits | last quarter | sharpness |", "|---|---|---|---|---|"]
    for s in scores:
        cells = f"{_cell(s.self_psnr_db)} | {_cell(s.late_psnr_db)} | {np.mean(s.sharpness):.2f}"
        lines.append(f"| {s.script} | {s.setting} | {cells} |")
    return "\n".join(lines)


def draw(judge: Judge, script: Script, world: int, path: Path, *, columns: int = 9) -> None:
    """Contact sheet of one world: truth and every mode, the first leg given."""
    trajectory = script.trajectory()
    true_world = judge.model.world(trajectory, FIRST_WORLD_SEED + world)
    times = np.linspace(0, trajectory.num_frames - 1, columns).round().astype(int)
    rows = [SheetRow("truth", [true_video(true_world, trajectory.num_frames)[t] for t in times])]
    for setting in MODES:
        video, _ = generate_worlds(
            judge.model,
            trajectory,
            [true_world],
            setting,
            given_chunks=script.given_chunks,
            first_seed=world,
        )
        rows.append(SheetRow(setting.name, [video[0][t] for t in times]))
    labels = [f"frame {t}" + (" (given)" if t < script.given_chunks * 3 else "") for t in times]
    contact_sheet(rows, labels, title=f"{script.name}: one world, one noise").save(path)


def evaluate(judge: Judge, token_judge: Judge, out: Path) -> None:
    """Score everything and write the report."""
    few = Judge(judge.model, min(8, judge.num_worlds))
    with tqdm(total=len(MODES) * (2 * len(SCRIPTS) + 2) + len(TOKEN_SETTINGS) * len(SCRIPTS)) as bar:

        def play(who: Judge, script: Script, setting: Setting, *, given: bool = False) -> Score:
            bar.set_postfix_str(f"{script.name}, {setting.name}")
            score = who.score(script, setting, given=given)
            bar.update()
            return score

        combinations = [(script, setting) for script in SCRIPTS for setting in MODES]
        free = [play(judge, *pair) for pair in combinations]
        given = [play(judge, *pair, given=True) for pair in combinations]
        returns = [play(judge, SIX_RETURNS, setting) for setting in MODES]
        returns += [play(few, MANY_RETURNS, setting) for setting in MODES]
        grain = [play(token_judge, script, s) for s in TOKEN_SETTINGS for script in SCRIPTS]
    parts = {"free": free, "given": given, "returns": returns, "tokens": grain}
    numbers = {name: [asdict(score) for score in scores] for name, scores in parts.items()}
    (out / "results.json").write_text(json.dumps(numbers, indent=1) + "\n")
    tables = {
        f"Quality, {judge.num_worlds} held-out worlds": quality_table(free, given),
        f"Long rollouts, {judge.num_worlds} and {few.num_worlds} worlds": returns_table(returns),
        f"Which tokens are worth keeping, {token_judge.num_worlds} worlds": token_table(grain, SCRIPTS),
    }
    text = "\n\n".join(f"## {title}\n\n{table}" for title, table in tables.items())
    (out / "tables.md").write_text(text + "\n")


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
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    parser.add_argument("--only-pictures", action="store_true", help="draw contact sheets, score nothing")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    model = MiniModel.load(path=args.weights)
    judge = Judge(model, args.worlds)
    for world in range(4):
        for script in SCRIPTS[2:4]:
            draw(judge, script, world, args.out / f"contact-{script.name.replace(' ', '-')}-{world}.png")
    if not args.only_pictures:
        evaluate(judge, Judge(model, args.token_worlds), args.out)
    if args.card is not None:
        write_into_card(args.card, (args.out / "tables.md").read_text())


if __name__ == "__main__":
    main()
