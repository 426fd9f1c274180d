"""Muon: momentum whose update is made orthogonal, for the matrices of the transformer blocks.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks". Matrices of one shape
are orthogonalised together: at this model's size, launching hundreds of small products would cost more than
the sums.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(
    matrices: Float[Tensor, "count rows cols"], steps: int = 5
) -> Float[Tensor, "count rows cols"]:
    """Nearest orthogonal matrices, roughly, by a quintic Newton-Schulz iteration in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = x.transpose(1, 2) if tall else x
    return orthogonal.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled to the size of an Adam update.

    Args:
        params: Matrices only.
        lr: Learning rate, on AdamW's scale.
        momentum: Decay of the momentum.
        weight_decay: Decoupled decay.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        """Update all matrices."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for shape, params in by_shape.items():
                updates = torch.stack([self._nesterov(p, group["momentum"]) for p in params])
                scale = 0.2 * max(shape) ** 0.5  # RMS of an Adam update, Liu et al. 2025, arXiv:2502.16982
                for p, update in zip(params, orthogonalise(updates), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update, alpha=-group["lr"] * scale)

    def _nesterov(self, p: nn.Parameter, momentum: float) -> Tensor:
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        grad = p.grad if p.grad is not None else torch.zeros_like(p)
        buffer: Tensor = state["momentum"]
        buffer.mul_(momentum).add_(grad)
        return grad + momentum * buffer
