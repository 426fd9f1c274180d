"""Trains the embedded model: `python -m core.models.mini.train --out train --steps 6000`.

Teacher forcing on clips of procedural rooms. Resumable (run the same command again) and deterministic by seed
on one kind of machine. Runs in bfloat16 on two CPU cores and on a GPU (`--device cuda`).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from core.errors import InputError
from core.models.mini.clips import ClipBatch, ClipPool, render_clips
from core.models.mini.codec import PatchCodec
from core.models.mini.conditioning import image_condition
from core.models.mini.config import CHUNK_FRAMES, LATENT_CHANNELS, MiniConfig
from core.models.mini.muon import Muon
from core.models.mini.teacher_forcing import TeacherForcing, visible_clean_tokens
from core.models.mini.trips import sample_clip
from core.models.wan.block import CameraModulation
from core.models.wan.network import WanNetwork
from core.models.wan.rope import RotaryTable, Rotation

log = logging.getLogger(__name__)

FREQUENT_LEVELS = (1.0, 0.9375, 0.8333, 0.625, 0.36)  # few-step samplers work near these


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Recipe. Source of the ideas: Diffusion forcing with clean context, arXiv:2407.01392; Muon.

    Attributes:
        steps: Optimiser steps in all; the learning rate falls linearly over the last `decay_share` of them.
        batch: Clips a step.
        fresh: Clips rendered anew for each step.
        pool: Clips kept and trained on again with fresh noise.
        chunks: Chunks of a clip.
        lr: Peak learning rate of Muon; AdamW takes `adam_share` of it.
        context_noise: Largest noise level put on clean context, against drift in long rollouts.
        drop: Share of samples whose older context is thinned out.
        level_share: Share of noise levels drawn from FREQUENT_LEVELS; the others are uniform.
    """

    steps: int = 5100
    batch: int = 8
    fresh: int = 2
    pool: int = 256
    chunks: int = 8
    lr: float = 3e-3
    adam_share: float = 0.5
    warmup: int = 40
    decay_share: float = 0.4
    ema: float = 0.995
    clip: float = 1.0
    context_noise: float = 0.2
    context_noise_share: float = 0.7
    drop: float = 0.35
    level_share: float = 0.6
    seed: int = 0


class TrainStep:
    """Loss of one batch; compiles nothing and keeps nothing but the network."""

    def __init__(self, network: WanNetwork, config: TrainConfig, *, device: torch.device) -> None:
        self.network, self.config, self.device = network, config, device
        self.rotary = RotaryTable(network.config.head_dim, device=device)

    def __call__(self, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted velocity error of the noisy chunks."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        level = self._levels(len(batch.latents), generator)
        flow, noise = self.predict(batch, level, generator)
        t = level.repeat_interleave(CHUNK_FRAMES, 1).to(self.device)
        error = (flow.float() - (noise - batch.latents)).square().mean((1, 3, 4))
        loss = (error / (0.3 + t)).mean()
        at_start = t == 1.0
        stats = {"x0_at_1": float((error.detach() * at_start).sum() / at_start.sum().clamp(min=1))}
        return loss, stats

    def predict(
        self, batch: ClipBatch, level: Float[Tensor, "batch chunks"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch channels frames h w"], Float[Tensor, "batch channels frames h w"]]:
        """Predicted flow of every chunk at its own noise level, and the noise that was added."""
        x0 = batch.latents
        count, _, frames, h, w = x0.shape
        clean_frames = frames - CHUNK_FRAMES
        t = level.repeat_interleave(CHUNK_FRAMES, 1).to(self.device)
        noise = torch.randn(x0.shape, generator=generator).to(self.device)
        t_map = t[:, None, :, None, None]
        noisy = (1 - t_map) * x0 + t_map * noise
        clean = self._context(x0[:, :, :clean_frames], generator)
        condition = self._condition(batch, h, w)
        inputs = torch.cat(
            (
                torch.cat((clean, noisy), dim=2),
                torch.cat((condition[:, :, :clean_frames], condition), dim=2),
            ),
            dim=1,
        )
        timestep = torch.cat((torch.zeros_like(t[:, :clean_frames]), t), dim=1) * 1000
        chunk_tokens = CHUNK_FRAMES * (h // 2) * (w // 2)
        visible = visible_clean_tokens(
            count, frames // CHUNK_FRAMES, chunk_tokens, generator, drop=self.config.drop
        )
        mask = TeacherForcing(
            self._rotation(batch.times, clean_frames, (h // 2, w // 2)),
            visible.to(self.device),
            torch.bfloat16,
        )
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            camera = [
                CameraModulation(*(torch.cat((m[:, :clean_frames], m), dim=1) for m in modulation))
                for modulation in self.network.camera_modulations(batch.rays)
            ]
            flow = self.network(inputs, timestep, cache=mask, camera=camera)
        return flow[:, :, clean_frames:], noise

    def _levels(self, count: int, generator: torch.Generator) -> Float[Tensor, "batch chunks"]:
        shape = (count, self.config.chunks)
        pick = torch.randint(len(FREQUENT_LEVELS), shape, generator=generator)
        uniform = torch.rand(shape, generator=generator).clamp(min=0.02)
        from_sampler = torch.rand(shape, generator=generator) < self.config.level_share
        return torch.where(from_sampler, torch.tensor(FREQUENT_LEVELS)[pick], uniform)

    def _context(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Clean context with light noise, still labelled t = 0."""
        count = x0.shape[0]
        level = torch.rand(count, generator=generator) * self.config.context_noise
        level = level * (torch.rand(count, generator=generator) < self.config.context_noise_share)
        level = level.to(self.device)[:, None, None, None, None]
        return (1 - level) * x0 + level * torch.randn(x0.shape, generator=generator).to(self.device)

    def _condition(self, batch: ClipBatch, h: int, w: int) -> Tensor:
        """The picture at frame 0, for the clips that hold frame 0."""
        frames = batch.latents.shape[2]
        condition = image_condition(batch.latents[:, :, 0], range(frames), (len(batch.latents), h, w))
        return condition * (batch.times[:, 0] == 0)[:, None, None, None, None]

    def _rotation(self, times: Tensor, clean_frames: int, grid: tuple[int, int]) -> Rotation:
        rows, cols = grid
        both = torch.cat((times[:, :clean_frames], times), dim=1)
        frame = both.repeat_interleave(rows * cols, 1)
        index = torch.arange(rows * cols, device=times.device).repeat(both.shape[1])
        row, col = (index // cols).expand_as(frame), (index % cols).expand_as(frame)
        angles = self.rotary.angles(frame.flatten(), row.flatten(), col.flatten())
        return Rotation.from_angles(angles.view(*frame.shape, -1))


def initialise(network: WanNetwork, seed: int) -> None:
    """Small random weights; gates and output start near zero so that every block starts as the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in network.named_parameters():
        if p.ndim >= 2 and "modulation" not in name:
            fan_in = p[0].numel()
            std = 0.02 if "time_projection" in name or "cam_s" in name else fan_in**-0.5
            p.data.copy_(torch.randn(p.shape, generator=generator) * std)
        elif name.endswith("bias"):
            p.data.zero_()
    for block in network.blocks:
        block.modulation.data.zero_()  # type: ignore[operator]
        block.modulation.data[:, [2, 5]] = 0.3  # type: ignore[operator]
    network.head.modulation.data.zero_()
    network.head.head.weight.data.mul_(0.1)


def fit_codec(config: MiniConfig, seed: int, batches: int = 12) -> PatchCodec:
    """Principal components of pictures of rooms that training never sees again."""
    rng = np.random.default_rng((seed, 2))
    pictures = []
    for i in range(batches):
        clips = [sample_clip(rng, 8) for _ in range(8)]
        size = (config.width_px, config.height_px)
        pictures.append(render_clips(clips, seed * 1000 + i, size, torch.device("cpu"))[0].flatten(0, 1))
    return PatchCodec.fit(torch.cat(pictures), LATENT_CHANNELS)


class Trainer:
    """Network, optimisers, running average and their checkpoint."""

    def __init__(self, config: MiniConfig, train: TrainConfig, device: torch.device) -> None:
        self.config, self.train, self.device = config, train, device
        self.codec = fit_codec(config, train.seed).to(device)
        self.network = WanNetwork(config.network)
        initialise(self.network, train.seed)
        self.network.to(device)
        self.average = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        matrices = [p for n, p in self.network.named_parameters() if "blocks" in n and p.ndim == 2]
        others = [p for n, p in self.network.named_parameters() if not ("blocks" in n and p.ndim == 2)]
        self.muon = Muon(matrices, lr=train.lr)
        self.adam = torch.optim.AdamW(
            others, lr=train.lr * train.adam_share, betas=(0.9, 0.97), weight_decay=0.0
        )
        self.step = 0
        self.seconds = 0.0

    def lr_factor(self) -> float:
        """Warm-up, plateau, linear decay to nothing."""
        left = (self.train.steps - self.step) / max(1.0, self.train.decay_share * self.train.steps)
        return min(1.0, (self.step + 1) / self.train.warmup, max(left, 0.0))

    def update(self, loss: Tensor) -> float:
        """One optimiser step; returns the gradient's norm."""
        factor = self.lr_factor()
        for group in (*self.muon.param_groups, *self.adam.param_groups):
            group["lr"] = (
                factor * self.train.lr * (1.0 if group in self.muon.param_groups else self.train.adam_share)
            )
        self.muon.zero_grad(set_to_none=True)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.train.clip)
        self.muon.step()
        self.adam.step()
        decay = min(self.train.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        self.step += 1
        return float(norm)

    def save(self, folder: Path) -> None:
        """Checkpoint, replaced in one rename."""
        state = {
            "config": asdict(self.config),
            "train": asdict(self.train),
            "codec": self.codec.state_dict(),
            "network": self.network.state_dict(),
            "average": self.average,
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = folder / "checkpoint.pt.tmp"
        torch.save(state, partial)
        partial.replace(folder / "checkpoint.pt")

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(folder / "checkpoint.pt", map_location=self.device, weights_only=True)
        changed = {k: v for k, v in state["train"].items() if getattr(self.train, k) != v and k != "steps"}
        if changed:
            raise InputError(
                f"the checkpoint was trained otherwise: {changed}",
                where=str(folder),
                hint="go on with the same settings, or train into another folder",
            )
        self.codec.load_state_dict(state["codec"])
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.seconds = state["step"], state["seconds"]


def run(
    config: MiniConfig,
    train: TrainConfig,
    *,
    out: Path,
    device: torch.device,
    save_every: int = 200,
    compiled: bool = False,
) -> Trainer:
    """Train until `train.steps`, saving now and then; goes on where a checkpoint in `out` stands.

    Args:
        config: What is trained.
        train: How.
        out: Folder of checkpoint and journal.
        device: Where.
        save_every: Steps between checkpoints.
        compiled: Compile the blocks: 28% faster steps on two CPU cores after a minute of compiling.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, train, device)
    if (out / "checkpoint.pt").exists():
        trainer.load(out)
        log.info("resuming at step %d", trainer.step)
    if compiled:
        for block in trainer.network.blocks:
            block.compile(dynamic=False)
    pool = ClipPool(
        config,
        trainer.codec,
        chunks=train.chunks,
        capacity=train.pool,
        fresh=train.fresh,
        seed=train.seed,
        device=device,
    )
    loss_of = TrainStep(trainer.network, train, device=device)
    recent: list[tuple[float, float]] = []
    with (out / "log.jsonl").open("a") as journal, tqdm(total=train.steps, initial=trainer.step) as bar:
        while trainer.step < train.steps:
            began = time.perf_counter()
            loss, stats = loss_of(pool.batch(trainer.step, train.batch), trainer.step)
            norm = trainer.update(loss)
            trainer.seconds += time.perf_counter() - began
            recent.append((float(loss.detach()), stats["x0_at_1"]))
            bar.update()
            if trainer.step % 20 == 0:
                mean_loss, mean_x0 = (float(np.mean(v)) for v in zip(*recent, strict=True))
                recent.clear()
                line = {"step": trainer.step, "loss": mean_loss, "x0_at_1": mean_x0, "norm": norm}
                journal.write(json.dumps({**line, "seconds": round(trainer.seconds, 1)}) + "\n")
                journal.flush()
                bar.set_postfix(loss=f"{mean_loss:.4f}", x0=f"{mean_x0:.3f}")
            if trainer.step % save_every == 0:
                trainer.save(out)
    trainer.save(out)
    return trainer


def main() -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("train"), help="folder of checkpoint and log")
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--batch", type=int, default=TrainConfig.batch)
    parser.add_argument("--fresh", type=int, default=TrainConfig.fresh)
    parser.add_argument("--seed", type=int, default=TrainConfig.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile the blocks (needs a C++ compiler)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train = TrainConfig(steps=args.steps, batch=args.batch, fresh=args.fresh, seed=args.seed)
    run(MiniConfig(), train, out=args.out, device=torch.device(args.device), compiled=args.compile)


if __name__ == "__main__":
    main()
