"""What the user leaves open is settled as was measured on the model."""

import pytest

from core.config import resolve
from core.memory_settings import memory_settings
from core.models.registry import model_entry
from core.script import load_script


@pytest.mark.parametrize(
    ("model", "made", "rule"),
    [
        ("mini", {}, "view"),  # better than key there, which is worse than chance
        ("mini", {"prune": "key"}, "key"),
        ("mini", {"memory_preset": "worldkv-paper"}, "key"),
        ("lingbot", {}, "key"),  # the paper's, as long as nothing else was measured
        ("matrix-game", {}, "key"),
    ],
)
def test_which_tokens_of_a_pruned_chunk_stay(model: str, made: dict[str, object], rule: str) -> None:
    given = {"model": model, "traj": "loop", "strategy": "pose", "keep_ratio": 0.25, **made}
    resolved = resolve(given, {})
    entry = model_entry(model)
    outline = entry.outliner()(resolved.config, load_script(resolved.config, entry))
    assert memory_settings(resolved, outline).pruning.rule == rule
