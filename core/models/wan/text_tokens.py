"""From a prompt to tokens: cleaning as the models were trained with, and the tokenizer of a local folder.

transformers' AutoTokenizer is not used: from version 5 on it rebuilds a T5 tokenizer from its vocabulary
alone, loses the byte fallback, and turns every letter that is no piece of its own into the unknown token.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from core.errors import ModelFilesError

FAST = "tokenizer.json"
SENTENCEPIECE = "spiece.model"
END = "</s>"
EXTRA_HINT = 'pip install "worldkv[wan]"'
_HINT = "get the google/umt5-xxl folder again: worldkv models pull"


@runtime_checkable
class Tokenizer(Protocol):
    """Turns text into token ids."""

    @property
    def num_tokens(self) -> int:
        """Tokens that it knows; ids are smaller."""
        ...

    def ids(self, text: str) -> list[int]:
        """Token ids with the end token."""
        ...


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids.

    Attributes:
        ids: What the encoder gets: not longer than asked for, the end token last.
        num_total: Tokens of the whole prompt, the end token included.
    """

    ids: tuple[int, ...]
    num_total: int


def clean_prompt(text: str) -> str:
    """Mend broken encodings, unescape HTML twice, and make every run of white space one blank.

    Raises:
        ModelFilesError: ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError as error:
        raise missing_package("ftfy", error) from None
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended.strip())


def tokenize(prompt: str, tokenizer: Tokenizer, *, max_tokens: int = 512) -> Tokens:
    """Tokens of a cleaned prompt, cut to `max_tokens` of which the last is the end token."""
    ids = tokenizer.ids(prompt)
    kept = ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]
    return Tokens(tuple(kept), len(ids))


def tokenizer_file(folder: Path) -> Path:
    """The file of a folder that tokens come from: `tokenizer.json` before `spiece.model`.

    Raises:
        ModelFilesError: Neither is there.
    """
    for name in (FAST, SENTENCEPIECE):
        if (folder / name).is_file():
            return folder / name
    problem = f"the tokenizer is missing: neither {FAST} nor {SENTENCEPIECE} is there"
    raise ModelFilesError(problem, where=str(folder), hint=_HINT)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a local folder.

    Raises:
        ModelFilesError: It is missing, damaged, or its library is not installed.
    """
    path = tokenizer_file(folder)
    return FastTokenizer(path) if path.name == FAST else SentencePieceTokenizer(path)


class FastTokenizer:
    """A `tokenizer.json`, taken word for word.

    Raises:
        ModelFilesError: The file is damaged or knows no end token.
    """

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer as Loaded
        except ImportError as error:
            raise missing_package("tokenizers", error) from None
        try:
            self._tokenizer = Loaded.from_file(str(path))
        except Exception as error:  # the library raises nothing more specific
            raise _damaged(path, error) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._end = _end_token(self._tokenizer.token_to_id(END), path)

    @property
    def num_tokens(self) -> int:
        """Tokens that it knows."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def ids(self, text: str) -> list[int]:
        """Token ids with the end token; a special token written in the text is that token."""
        ids = list(self._tokenizer.encode(text).ids)
        return ids if ids[-1:] == [self._end] else [*ids, self._end]


class SentencePieceTokenizer:
    """A `spiece.model` alone.

    Raises:
        ModelFilesError: The file is damaged or knows no end token.
    """

    def __init__(self, path: Path) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise missing_package("sentencepiece", error) from None
        try:
            self._pieces: Any = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise _damaged(path, error) from None
        end = int(self._pieces.eos_id())
        self._end = _end_token(end if end >= 0 else None, path)

    @property
    def num_tokens(self) -> int:
        """Tokens that it knows."""
        return int(self._pieces.get_piece_size())

    def ids(self, text: str) -> list[int]:
        """Token ids with the end token; a special token written in the text is plain text."""
        return [*self._pieces.encode(text), self._end]


def missing_package(name: str, error: ImportError) -> ModelFilesError:
    """The error of an optional package that is not installed."""
    return ModelFilesError(f"the text encoder needs {name}: {error}", where="prompt", hint=EXTRA_HINT)


def _end_token(found: int | None, path: Path) -> int:
    if found is None:
        raise ModelFilesError(f"the tokenizer knows no end token {END}", where=str(path), hint=_HINT)
    return found


def _damaged(path: Path, reason: object) -> ModelFilesError:
    first_line = (str(reason).strip().splitlines() or [""])[0]
    return ModelFilesError(f"the tokenizer cannot be read: {first_line}", where=str(path), hint=_HINT)
