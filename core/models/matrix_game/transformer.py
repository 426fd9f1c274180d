"""Matrix-Game's network from its file: known from the header, compared with ours, then loaded.

The file's names carry a prefix, and it holds the gains of the action norms, which the released networks were
run without. Source: golden/matrix_game README, sections 13 and 14.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from core.errors import ModelFilesError
from core.models.checkpoint import sizes
from core.models.checkpoint.shards import Weights, open_weights
from core.models.matrix_game.config import Variant, infer_config
from core.models.wan.network_files import TransformerFiles, check_network, load_transformer

__all__ = ["TransformerFiles", "load_transformer", "open_transformer"]

PREFIX: Final = "model."
_UNUSED: Final = re.compile(r"blocks\.\d+\.action_model\.(img|key)_attn_[qk]_norm\.weight")


def open_transformer(path: Path, variant: Variant) -> TransformerFiles:
    """Look whether a network's file is whole and of a variant, from its header alone.

    Args:
        path: The weights' file, or a folder that holds no other.
        variant: The variant that it must be.

    Raises:
        ModelFilesError: The file is missing, cut short or unreadable, or holds something else.
    """
    stored = open_weights(path)
    weights = network_weights(stored)
    recorded = sizes.read_recorded(stored.source.parent, owner="Matrix-Game")
    config = infer_config(weights.shapes, variant, recorded, where=str(stored.source))
    return check_network(config, weights, stored)


def network_weights(stored: Weights) -> Weights:
    """What the network uses of a file, by the network's names; the prefix may be missing.

    Raises:
        ModelFilesError: Two tensors of the file have one name.
    """
    names = {name: name.removeprefix(PREFIX) for name in stored.tensors}
    used = {name: own for name, own in names.items() if not _UNUSED.fullmatch(own)}
    twice = [name for name, own in used.items() if name != own and own in used]
    if twice:
        problem = f"the file holds {twice[0]} and {names[twice[0]]}, which are one tensor"
        raise ModelFilesError(problem, where=str(stored.source), hint="fetch the checkpoint again")
    return stored.renamed(used)
