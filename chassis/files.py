"""YAML files become plain mappings, with the line of every key at hand for whoever has to complain.

Read as YAML 1.2 reads them: ``22:00`` and ``0650100`` are text, ``no`` and ``on`` are text, a key may stand once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from kernel.failures import Failure, Kind

FILE_BYTES_MAX: Final = 1 << 20
KeyPath: TypeAlias = tuple[str | int, ...]

_BOOL: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?$")
_INT: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's content and where each part of it stands."""

    name: str
    data: Mapping[str, Any]
    _lines: Mapping[KeyPath, int]

    def line_of(self, *path: str | int) -> int:
        """The line (from 1) of a key or list item; the nearest parent's if the path itself is not there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def read_yaml(path: Path) -> YamlFile:
    """A YAML file whose top is a mapping.

    Raises INVALID with ``file`` and, where there is one, ``line``: FILE_UNREADABLE, FILE_TOO_LARGE, FILE_MALFORMED
    (not YAML, not UTF-8, not a mapping) or FILE_KEY_TWICE (with ``key``).
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= FILE_BYTES_MAX else b""
    except OSError as error:
        raise Failure(Kind.INVALID, "FILE_UNREADABLE", file=str(path), problem=error.strerror or "") from None
    if size > FILE_BYTES_MAX:
        raise Failure(Kind.INVALID, "FILE_TOO_LARGE", file=str(path), bytes_max=FILE_BYTES_MAX)
    return parsed_yaml(content, name=str(path))


def parsed_yaml(content: bytes, *, name: str) -> YamlFile:
    """As ``read_yaml``, for content that is at hand already."""
    try:
        loader = _Loader(content.decode())
        try:
            node = loader.get_single_node()
            lines: dict[KeyPath, int] = {}
            _walk(node, (), lines, name)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, problem="not UTF-8") from None
    except RecursionError:
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, problem="nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or "not YAML")
        raise Failure(
            Kind.INVALID, "FILE_MALFORMED", file=name, line=mark.line + 1 if mark else 1, problem=problem
        ) from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, line=1, problem="the top is not a mapping")
    return YamlFile(name, data, lines)


class _Loader(yaml.SafeLoader):
    """Safe, and with the scalars of YAML 1.2's core schema instead of the surprises of 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012  PyYAML's own shape: one table for each class.
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] == "null"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML publishes no types for it.
            raise yaml.composer.ComposerError(None, None, "aliases are not used here", event.start_mark)
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def _walk(node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int], name: str) -> None:
    if node is None:
        return
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            text = str(key.value)
            line = key.start_mark.line + 1
            if text in seen:
                raise Failure(Kind.INVALID, "FILE_KEY_TWICE", file=name, line=line, key=text)
            seen.add(text)
            lines[(*path, text)] = line
            _walk(value, (*path, text), lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            _walk(item, (*path, position), lines, name)
