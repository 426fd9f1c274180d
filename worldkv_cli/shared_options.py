"""Commands that take the settings of `worldkv generate`: one definition, so that flags cannot drift apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def with_settings_of(
    other: Callable[..., None], *, without: frozenset[str] = frozenset()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command gets the options of another one before its own.

    The command itself takes its own options by name, and all the others as `**settings`.

    Args:
        other: The command whose options are taken over.
        without: Those that are not.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**arguments: Any) -> None:  # noqa: ANN401 - whatever the options are
            command(**arguments)

        own = _options(command)
        taken = {name: each for name, each in _options(other).items() if name not in without | own.keys()}
        run.__signature__ = inspect.Signature([*taken.values(), *own.values()])  # type: ignore[attr-defined]
        run.__doc__, run.__name__ = command.__doc__, command.__name__
        return run

    return decorate


def _options(command: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """Parameters with the annotations that make them options; `**settings` is none."""
    parameters = inspect.signature(command, eval_str=True).parameters
    kept = {name: each for name, each in parameters.items() if each.kind is not inspect.Parameter.VAR_KEYWORD}
    return {name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, each in kept.items()}
