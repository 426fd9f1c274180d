"""Trains the learned part of the decoder: `python -m core.models.mini.train_sharpener train --steps 1500`.

It learns on what the trained network predicts from lightly noised latents with its memory at hand, so on the
errors that it will have to mend, and on clean latents. The network itself is not changed.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from core.models.mini.clips import render_batch
from core.models.mini.codec import PatchCodec
from core.models.mini.config import MiniConfig
from core.models.mini.export import SHARPENER_FILE, from_checkpoint
from core.models.mini.sharpen import Sharpener
from core.models.mini.train import TrainConfig, TrainStep

log = logging.getLogger(__name__)

CLEAN_SHARE = 0.3
LEVELS = (0.15, 0.36, 0.625)
CHUNKS = 8


def picture_loss(
    ours: Float[Tensor, "frames 3 height width"], truth: Float[Tensor, "frames 3 height width"]
) -> Float[Tensor, ""]:
    """Absolute error of colours and of their differences to the right and downwards: edges count."""
    loss = (ours - truth).abs().mean()
    for axis in (2, 3):
        loss = loss + (ours.diff(dim=axis) - truth.diff(dim=axis)).abs().mean()
    return loss


@torch.no_grad()
def predicted_latents(
    step_of: TrainStep, config: MiniConfig, codec: PatchCodec, step: int, clips: int
) -> tuple[Float[Tensor, "frames channels h w"], Float[Tensor, "frames 3 height width"]]:
    """Latents as the network would leave them, and the true pictures."""
    rng = np.random.default_rng((step_of.config.seed, 3, step))
    batch, pictures = render_batch(config, codec, rng, clips, CHUNKS, step_of.device)
    level = torch.from_numpy(rng.choice(LEVELS, (clips, CHUNKS))).float()
    flow, noise = step_of.predict(batch, level, torch.Generator().manual_seed(step))
    t = level.repeat_interleave(3, 1)[:, None, :, None, None].to(step_of.device)
    latents = (1 - t) * batch.latents + t * noise - t * flow.float()
    clean = torch.from_numpy(rng.random(clips) < CLEAN_SHARE).to(step_of.device)
    latents = torch.where(clean[:, None, None, None, None], batch.latents, latents)
    return latents.transpose(1, 2).flatten(0, 1), pictures.flatten(0, 1)


def run(folder: Path, steps: int, *, clips: int, device: torch.device, lr: float = 2e-3) -> Sharpener:
    """Train, and leave the weights beside the network's checkpoint."""
    model = from_checkpoint(folder)
    network, codec = model.network.to(device), model.codec.to(device)
    step_of = TrainStep(network, TrainConfig(seed=1), device=device)
    torch.manual_seed(0)
    sharpener = Sharpener().to(device)
    optimiser = torch.optim.AdamW(sharpener.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    before, after = [], []
    with tqdm(range(steps)) as bar:
        for step in bar:
            latents, truth = predicted_latents(step_of, model.config, codec, step, clips)
            plain = codec.decode(latents)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                added = sharpener(latents)
            loss = picture_loss(plain + added.float(), truth)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            before.append(float(F.mse_loss(plain, truth)))
            after.append(float(F.mse_loss((plain + added).detach().float(), truth)))
            if step % 20 == 19:
                gain = 10 * np.log10(np.mean(before[-20:]) / np.mean(after[-20:]))
                bar.set_postfix(loss=f"{float(loss.detach()):.4f}", gain_db=f"{gain:.2f}")
    save_file({k: v.contiguous() for k, v in sharpener.state_dict().items()}, folder / SHARPENER_FILE)
    (folder / "sharpener.json").write_text(json.dumps({"steps": steps, "clips": clips, "lr": lr}))
    return sharpener


def main() -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with the network's checkpoint.pt")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=4, help="clips a step")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(args.folder, args.steps, clips=args.clips, device=torch.device(args.device))


if __name__ == "__main__":
    main()
