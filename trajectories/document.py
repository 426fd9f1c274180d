"""YAML text to plain data that remembers the line and column of every key and value.

The composer is our own, on top of PyYAML's event stream, because a trajectory may come from anywhere: depth,
size and alias expansion are bounded while reading, tags build nothing, and duplicate keys are refused.
Scalars follow YAML 1.2 (`no` is a word, `1e-3` is a number, `1:30` is not sixty-based).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from trajectories.errors import YamlError

MAX_NODES = 100_000  # after aliases are expanded
MAX_DEPTH = 64

KeyPath = tuple[str | int, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


@dataclass(frozen=True)
class Position:
    """A place in the text; line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class _Node:
    position: Position
    scalar: object = None
    items: list[_Node] | None = None
    pairs: list[tuple[str, Position, _Node]] | None = None


@dataclass(frozen=True)
class Document:
    """Plain data together with where each part of it stands in the text."""

    label: str
    data: object
    values: dict[KeyPath, Position] = field(default_factory=dict)
    keys: dict[KeyPath, Position] = field(default_factory=dict)

    def where(self, path: KeyPath, *, at_key: bool = False) -> str:
        """Say where `path` stands, as `file:line:column (steps[3].turn.yaw_deg)`.

        A path that is not in the text (a missing key) is placed at its nearest ancestor.
        """
        found = self.keys.get(path) if at_key else None
        while found is None and path not in self.values:
            path = path[:-1]
        position = found or self.values[path]
        place = f"{self.label}:{position.line}:{position.column}"
        return f"{place} ({path_text(path)})" if path else place


def path_text(path: KeyPath) -> str:
    """Write a path as `steps[3].turn.yaw_deg`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def parse_document(text: str, *, label: str) -> Document:
    """Parse YAML text.

    Args:
        text: The text of the file.
        label: How error messages call the file.

    Raises:
        YamlError: Not YAML, or YAML with features that trajectories do not use.
    """
    root = _Composer(text, label).compose()
    document = Document(label=label, data=None)
    budget = [MAX_NODES]
    data = _expand(root, (), document, budget)
    return Document(label=label, data=data, values=document.values, keys=document.keys)


class _Composer:
    """Builds nodes from PyYAML events, with every size bounded."""

    def __init__(self, text: str, label: str) -> None:
        self._label = label
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=loader))
        self._anchors: dict[str, _Node] = {}

    def compose(self) -> _Node:
        self._next()  # stream start
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            raise YamlError("the file is empty", where=self._label, hint=_MINIMAL_HINT)
        root = self._node(self._next(), depth=0)
        self._next()  # document end
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error("a second document starts here", event, "one trajectory a file")
        return root

    def _next(self) -> yaml.Event:
        try:
            return next(self._events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self._label}:{mark.line + 1}:{mark.column + 1}" if mark else self._label
            raise YamlError(
                f"not valid YAML: {error.problem or error.context}", where=where, hint=_SYNTAX_HINT
            ) from error
        except yaml.YAMLError as error:
            first_line = str(error).splitlines()[0]
            raise YamlError(
                f"not valid YAML: {first_line}", where=self._label, hint="trajectories are plain text"
            ) from error

    def _error(self, problem: str, event: yaml.Event, hint: str) -> YamlError:
        position = _position(event)
        return YamlError(problem, where=f"{self._label}:{position.line}:{position.column}", hint=hint)

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(f"unknown anchor '*{event.anchor}'", event, "define it above with &")
            return self._anchors[event.anchor]
        # What remains starts a scalar, a list or a mapping; all three carry an anchor and a tag.
        tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
        if tag is not None and tag != "!":
            raise self._error(f"tag '{tag}' is not allowed", event, "write the plain value without a tag")
        if depth > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} deep", event, "use fewer levels")
        position = _position(event)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style in (None, "") and event.implicit[0]
            node = _Node(position, scalar=_resolve(event.value) if plain else event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(position, items=self._items(depth))
        else:
            node = _Node(position, pairs=self._pairs(depth))
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _items(self, depth: int) -> list[_Node]:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _pairs(self, depth: int) -> list[tuple[str, Position, _Node]]:
        pairs: list[tuple[str, Position, _Node]] = []
        seen: dict[str, Position] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error("a key must be a single word", event, "write `key: value`")
            key, position = event.value, _position(event)
            if key in seen:
                raise self._error(
                    f"duplicate key '{key}'",
                    event,
                    f"it is already on line {seen[key].line}; keep one of them",
                )
            seen[key] = position
            pairs.append((key, position, self._node(self._next(), depth + 1)))
        return pairs


_MINIMAL_HINT = "the least it needs: `version: 1` and `steps: [{turn: {yaw_deg: 90}}]`"
_SYNTAX_HINT = "check the indentation, colons and brackets on this line and the one above"


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)


def _resolve(text: str) -> object:
    """Resolve a plain scalar by the rules of YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    special = _SPECIAL.get(text.lower())
    return float(special) if special else text


def _expand(node: _Node, path: KeyPath, document: Document, budget: list[int]) -> object:
    """Turn nodes into plain data, noting positions; aliases are copied, within the budget."""
    budget[0] -= 1
    document.values[path] = node.position
    if budget[0] < 0 or len(path) > MAX_DEPTH:
        raise YamlError(
            f"more than {MAX_NODES} values or {MAX_DEPTH} levels, with aliases written out",
            where=f"{document.label}:{node.position.line}:{node.position.column}",
            hint="use `repeat` for what recurs",
        )
    if node.items is not None:
        return [_expand(item, (*path, index), document, budget) for index, item in enumerate(node.items)]
    if node.pairs is not None:
        data = {}
        for key, position, value in node.pairs:
            document.keys[*path, key] = position
            data[key] = _expand(value, (*path, key), document, budget)
        return data
    if node.scalar is None and path:
        name = f"'{path[-1]}'" if isinstance(path[-1], str) else "this list item"
        raise YamlError(
            f"{name} has no value", where=document.where(path), hint="write a value, or remove the key"
        )
    return node.scalar
