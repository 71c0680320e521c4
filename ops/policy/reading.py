"""Policy files and scenarios, read whole; what is wrong is told by file, line and reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.files import YamlFile, built_from, read_yaml, read_yaml_folder
from chassis.rpc.catalogue import texts_of
from kernel.failures import Failure
from kernel.policy import PolicyBook
from ops.scenario import Scenario, parsed_scenario

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE: Final = frozenset({"file", "line", "source", "field"})


def read_book(paths: Sequence[Path], *, preset: str | None) -> PolicyBook:
    """The policies of these files and folders together; refusals as ``read_yaml`` and ``PolicyBook.of_documents``."""
    files: dict[str, YamlFile] = {}
    for path in paths:
        found: Mapping[str, YamlFile] = read_yaml_folder(path) if path.is_dir() else {path.name: read_yaml(path)}
        files |= {str(path.parent / name) if path.is_file() else str(path / name): file for name, file in found.items()}
    return built_from(files, lambda documents: PolicyBook.of_documents(documents, preset=preset))


def read_scenarios(folder: Path) -> dict[str, Scenario]:
    """Every scenario of a folder by its file's name; refusals as of ``read_yaml`` and ``parsed_scenario``."""
    found: dict[str, Scenario] = {}
    for path in sorted(folder.glob("*.yaml")):
        source = read_yaml(path)
        try:
            found[path.name] = parsed_scenario(source.data)
        except Failure as failure:
            line = source.line_of_field(failure.metadata.get("field", ""))
            failure.metadata |= {"file": str(path), "line": str(line)}
            raise
    return found


def told(failure: Failure) -> str:
    """``file:line: field: REASON`` with its facts, and what the catalogue says of it in both languages."""
    metadata = failure.metadata
    place = metadata.get("file", "")
    if place and "line" in metadata:
        place += f":{metadata['line']}"
    facts = "".join(f" {key}={value}" for key, value in metadata.items() if key not in _PLACE)
    texts = texts_of(failure.reason)
    first = ": ".join(part for part in (place, metadata.get("field", ""), failure.reason) if part)
    return f"{first}{facts}\n  {texts.zh}\n  {texts.en}"
