"""Settings that a model has no use for are refused, in one place and in the same words."""

from __future__ import annotations

from collections.abc import Mapping

from core.config import GenerateConfig
from core.errors import InputError


def refuse_foreign(config: GenerateConfig, reasons: Mapping[str, str], *, hint: str = "leave it out") -> None:
    """Refuse settings that differ from their default although the model ignores them.

    Args:
        config: The settings.
        reasons: Why the model has no use for a setting, by its key: the end of a sentence that begins with
            the model's name.
        hint: How to mend it.

    Raises:
        InputError: One of them is set.
    """
    for key, reason in reasons.items():
        if getattr(config, key) != GenerateConfig.model_fields[key].default:
            flag = f"--{key.replace('_', '-')}"
            raise InputError(f"{config.model} {reason}", where=flag, hint=hint)
