"""YAML files become plain mappings, with the line of every key at hand for whoever has to complain.

Read as YAML 1.2 reads them: ``22:00`` and ``0650100`` are text, ``no`` and ``on`` are text, a key may stand once.
An alias stands for what it names, as long as the whole stays small: a file cannot blow up in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import yaml

from kernel.failures import Failure, Kind

FILE_BYTES_MAX: Final = 1 << 20
VALUES_MAX: Final = 100_000
"""How many values a file may hold, each counted as often as aliases repeat it."""
DEPTH_MAX: Final = 64
KeyPath: TypeAlias = tuple[str | int, ...]
Built = TypeVar("Built")

_STEP: Final = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")

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

    def line_of_field(self, field: str) -> int:
        """The line of a field as refusals name it, such as ``persons[2].past``; as ``line_of`` otherwise."""
        return self.line_of(*(int(step[1]) if step[1] else step[2] for step in _STEP.finditer(field)))


def read_yaml(path: Path) -> YamlFile:
    """A YAML file whose top is a mapping.

    Raises INVALID with ``file`` and, where there is one, ``line``: FILE_UNREADABLE, FILE_TOO_LARGE, FILE_MALFORMED
    (not YAML, not UTF-8, not a mapping, too many values) or FILE_KEY_TWICE (with ``key``).
    """
    return parsed_yaml(_content(path), name=str(path))


def read_yaml_folder(folder: Path) -> dict[str, YamlFile]:
    """Every ``*.yaml`` file of a folder by its name, in order, without hidden ones; refusals as of both parts."""
    return {name: parsed_yaml(content, name=str(folder / name)) for name, content in yaml_contents(folder).items()}


def yaml_contents(folder: Path) -> dict[str, bytes]:
    """What the ``*.yaml`` files of a folder hold, by name, in order, without hidden ones.

    FILE_TOO_LARGE; FILE_UNREADABLE also if the folder is none or has none, and for a file that was surely meant
    (``.yml``, ``.YAML``).
    """
    contents: dict[str, bytes] = {}
    try:
        paths = sorted(folder.glob("[!.]*"))
    except OSError as error:  # No right to look into it, a stale handle: the folder itself cannot be read.
        raise Failure(Kind.INVALID, "FILE_UNREADABLE", file=str(folder), problem=error.strerror or "") from None
    for path in paths:
        if path.suffix == ".yaml":
            contents[path.name] = _content(path)
        elif path.suffix.lower() in {".yaml", ".yml"}:
            raise Failure(Kind.INVALID, "FILE_UNREADABLE", file=str(path), problem="its name must end in .yaml")
    if not contents:
        raise Failure(Kind.INVALID, "FILE_UNREADABLE", file=str(folder), problem="no folder with .yaml files")
    return contents


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Failure(Kind.INVALID, "FILE_UNREADABLE", file=str(path), problem=error.strerror or "") from None
    if len(content) > FILE_BYTES_MAX:
        raise Failure(Kind.INVALID, "FILE_TOO_LARGE", file=str(path), bytes_max=FILE_BYTES_MAX)
    return content


def built_from(files: Mapping[str, YamlFile], build: Callable[[Mapping[str, Any]], Built]) -> Built:
    """What ``build`` makes of the files' contents by name.

    A refusal that tells its ``source`` (a file's name) and ``field`` leaves here with ``file`` and ``line`` as well.
    """
    try:
        return build({name: file.data for name, file in files.items()})
    except Failure as failure:
        file = files.get(failure.metadata.get("source", ""))
        if file is not None:
            line = file.line_of_field(failure.metadata.get("field", ""))
            failure.metadata |= {"file": file.name, "line": str(line)}
        raise


def parsed_yaml(content: bytes, *, name: str) -> YamlFile:
    """As ``read_yaml``, for content that is at hand already."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, line=line, problem="not UTF-8") from None
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[KeyPath, int] = {}
            _walk(node, (), lines, name)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, problem="nested too deeply") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, line=line, problem=error.reason) from None
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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  PyYAML's own shape.
        """As PyYAML does; what its constructors let through (a scalar that is not what its tag promises) has a line."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, TypeError, AttributeError):
            problem = "a value is not what its tag says"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def _walk(node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int], name: str) -> None:
    if node is None:
        return
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > DEPTH_MAX:
        line = node.start_mark.line + 1
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, line=line, problem="nested too deeply")
    if len(lines) > VALUES_MAX:
        raise Failure(Kind.INVALID, "FILE_MALFORMED", file=name, problem=f"more than {VALUES_MAX} values")
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
