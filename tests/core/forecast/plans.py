"""Short ways to forecasts in tests."""

from __future__ import annotations

from core.config import resolve
from core.forecast.make import Foretold, foretell


def foretold(**settings: object) -> Foretold:
    """As the command foretells."""
    return foretell(resolve(settings, {}))


def of_flags(flags: str) -> dict[str, object]:
    """Settings as a way out writes them: `--retrieve 1 --allow int8,int4`."""
    words = flags.split()
    names = [word.removeprefix("--").replace("-", "_") for word in words[::2]]
    return dict(zip(names, words[1::2], strict=True))
