"""What retrieval takes beside window and bank, known from the plan."""

from __future__ import annotations

from core.memory.plan import MemoryPlan
from core.memory.row_bytes import row_bytes
from core.memory.tiers import ID_BYTES

WIDE_BYTES = 4
TALLY_BYTES = 4

INTEGERS_BYTES = 384
"""Of a token on its way: where it comes from, where it goes, its place in time and space."""

MAKING_BYTES = 24
"""Of a token and a head's number while cosines and sines are made of float64 angles."""

BLOCK_TOKENS = 2048
"""Tokens that are turned at once, and that are on their way from the pool where they cannot go straight."""


def staging_bytes(plan: MemoryPlan) -> int:
    """Bytes on the device where rows of one layer arrive, all the time."""
    ids = ID_BYTES if plan.pruning.keys_on_store else 0
    return max((step.num_read for step in plan.steps), default=0) * (_row_bytes(plan) + ids)


def tally_bytes(plan: MemoryPlan) -> int:
    """Bytes on the device where kept tokens are counted, if keys decide what is stored."""
    return (plan.footprint.tokens_per_chunk + 1) * TALLY_BYTES if plan.pruning.keys_on_store else 0


def read_ahead_bytes(plan: MemoryPlan) -> int:
    """Bytes in host memory for what one chunk reads from disk."""
    return plan.shares.most_ahead_tokens * plan.bank_token_bytes


def read_now_bytes(plan: MemoryPlan) -> int:
    """Bytes in host memory for what a chunk reads of one layer of the chunk before, which cannot be ahead."""
    return plan.shares.most_just_stored_tokens * plan.bank_token_bytes // plan.footprint.num_layers


def write_behind_bytes(plan: MemoryPlan) -> int:
    """Bytes in host memory through which tokens go to disk."""
    return plan.shares.most_to_disk_tokens * plan.bank_token_bytes


def insertion_bytes(plan: MemoryPlan, *, sink_follows: bool) -> int:
    """Bytes that come and go on the device when tokens are put back into the window.

    Of one layer and some tokens at a time: keys and values, where they are quantised, and the keys in
    float32, turned, and cast back; or rows on their way from the pool. What turns the keys is made for all
    tokens before. Frames that stay visible beyond recent are moved in all layers at once.

    Args:
        plan: What is put back when.
        sink_follows: Whether the sink's keys are turned anew, too.
    """
    footprint, narrow = plan.footprint, plan.footprint.kv_element_bytes
    read = max((step.num_read for step in plan.steps), default=0)
    block = min(read, footprint.tokens_per_chunk if plan.pruning.keys_on_use else BLOCK_TOKENS)
    turned = 2 * WIDE_BYTES + narrow if narrow < WIDE_BYTES else WIDE_BYTES
    width, angles = footprint.num_heads * footprint.head_dim, footprint.head_dim * WIDE_BYTES
    unpacked = 0 if plan.precision == "native" else 2 * width * narrow
    put_back = block * max(_row_bytes(plan), unpacked + width * turned) + read * (angles + INTEGERS_BYTES)
    own = footprint.tokens_per_chunk  # what turns the chunk's own keys is there, or made just so
    made = max(read, own) * (MAKING_BYTES * footprint.head_dim + INTEGERS_BYTES)
    sink = plan.layout.sink_frames * footprint.tokens_per_frame * (width * turned + angles)
    carried = max(len(step.carried_frames) for step in plan.steps) * footprint.tokens_per_frame
    carried_bytes = carried * footprint.kv_bytes_per_token // 2
    return own * angles + max(put_back, made, sink if sink_follows else 0, carried_bytes)


def _row_bytes(plan: MemoryPlan) -> int:
    shape = plan.footprint
    return row_bytes(plan.precision, shape.num_heads, shape.head_dim, shape.kv_element_bytes)
