"""What a model consists of and where it can be had: words for the catalogs. Plain data, no network."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from core.errors import InputError

Layout = Literal["raw", "diffusers"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a model, all of whose files lie in one repository.

    Attributes:
        name: The word for it on the command line.
        repo: Repository on the Hugging Face hub, owner/name.
        patterns: What is needed of the repository, as paths in it; `*` stays within one folder.
        approx_bytes: Size of these files, roughly; the hub knows it exactly.
        licence: What is known of the licence.
        home: Folder of this part among several checkpoints, as in `WORLDKV_CHECKPOINTS`.
        target: Folder inside `home` under which the repository's paths are laid out; empty for `home` itself.
        variant: The only variant of the model that needs it; empty if all do.
    """

    name: str
    repo: str
    patterns: tuple[str, ...]
    approx_bytes: int
    licence: str
    home: str
    target: str = ""
    variant: str = ""

    @property
    def url(self) -> str:
        """Page of the repository, for people: its model card tells the licence."""
        return f"https://huggingface.co/{self.repo}"

    def wants(self, path: str) -> bool:
        """Whether a file of the repository belongs to this part; what would leave the folder never does."""
        folders = path.split("/")
        if "\\" in path or not {"", ".", ".."}.isdisjoint(folders):
            return False
        for pattern in self.patterns:
            words = pattern.split("/")
            if len(words) == len(folders) and all(map(fnmatchcase, folders, words)):
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class Download:
    """A model in one layout.

    Attributes:
        model: The model's name in the registry.
        layout: How its files are laid out.
        parts: All that a run needs, for every variant.
    """

    model: str
    layout: Layout
    parts: tuple[Part, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants of the model, the usual one first; none if there is only one network."""
        return tuple(dict.fromkeys(part.variant for part in self.parts if part.variant))

    @property
    def usual(self) -> tuple[Part, ...]:
        """What a run of the usual variant needs."""
        return tuple(part for part in self.parts if part.variant in ("", *self.variants[:1]))

    @property
    def approx_bytes(self) -> int:
        """Size of the usual parts, roughly."""
        return sum(part.approx_bytes for part in self.usual)

    @property
    def command(self) -> str:
        """What fetches it."""
        suffix = "" if self.layout == "raw" else f" --layout {self.layout}"
        return f"worldkv models pull {self.model}{suffix}"

    def select(self, names: Iterable[str]) -> tuple[Part, ...]:
        """The parts of these names, in the model's order.

        Raises:
            InputError: There is no such part.
        """
        known = [part.name for part in self.parts]
        wanted = list(names)
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                meant = f"did you mean {near[0]}? " if near else ""
                hint = f"{meant}known: {', '.join(known)}"
                raise InputError(f"{self.model} has no part {name!r}", where="--part", hint=hint)
        return tuple(part for part in self.parts if part.name in wanted)
