"""Predicted peaks of a placement, part by part."""

from __future__ import annotations

from core.memory.footprint import Footprint
from core.placement import Placement
from core.schemas.forecast import Memory, Peak


def memory_forecast(placement: Placement, footprint: Footprint) -> Memory:
    """The peaks of device, host and disk, and the shapes that they follow from."""
    parts, budgets, plan = placement.parts, placement.budgets, placement.plan
    device = Peak(
        predicted_bytes=parts.device_bytes,
        reserve_bytes=budgets.reserve,
        budget_bytes=budgets.device,
        budget_source=None if budgets.device is None else budgets.device_source,
        parts=dict(parts.device),
        transient_parts=dict(parts.transient),
        loading_parts=dict(parts.loading_device),
    )
    host = Peak(
        predicted_bytes=parts.host_bytes,
        reserve_bytes=0,
        budget_bytes=budgets.host,
        budget_source=None if budgets.host is None else budgets.host_source,
        parts={name: size for name, size in parts.host.items() if size},
        transient_parts={},
        loading_parts=dict(parts.loading_host),
    )
    disk = Peak(
        predicted_bytes=placement.disk_bytes,
        reserve_bytes=0,
        budget_bytes=budgets.disk,
        budget_source=None if budgets.disk is None else "--disk-budget",
        parts={"bank": placement.disk_bytes} if placement.disk_bytes else {},
        transient_parts={},
        loading_parts={},
    )
    return Memory(
        device=device,
        host=host,
        disk=disk,
        parameter_bytes=footprint.parameter_bytes,
        kv_bytes_per_token_layer=footprint.kv_bytes_per_token // footprint.num_layers,
        num_layers=footprint.num_layers,
        window_tokens=plan.window_tokens,
        window_bytes=plan.window_bytes,
    )
