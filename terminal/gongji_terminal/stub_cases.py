"""Case files: what a consumer of the contract asks, and what it counts on in the answer.

A case is a dialogue in YAML. A request is exactly what is written; of an answer at least what is written: what a case
does not state is not promised to its consumer. ``$name`` stands for a value that nobody can foretell: the first time
it takes what is there, later it must be the same. ``sent`` and ``made`` say what form such values have, and who makes
them.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from google.protobuf import json_format
from google.protobuf.message import Message

from gongji_terminal.failures import is_reason
from gongji_terminal.msgid import SHANGHAI

SHIPPED: Final = Path(__file__).parent / "cases"
"""The terminals' own cases: the services are tested with them, and the stub answers from them."""
NO_YAML: Final = "case files need PyYAML: pip install 'gongji-terminal[stub]'"
_SOON: Final = timedelta(minutes=10)
_UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
FORMS: Final[Mapping[str, str]] = {
    "uuid": _UUID,
    "bytes16": "[A-Za-z0-9+/]{22}==",
    "bytes32": "[A-Za-z0-9+/]{43}=",
    "year": "[0-9]{4}",
    "next_year": "[0-9]{4}",
    "time": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z",
    "text": ".+",
    "count": "[0-9]+",
    "msgid": "[HP][1-9][0-9]{28}",
    "visit": "[0-9A-Za-z_-]{1,30}",
    "day": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "month_before_last": "[0-9]{4}-[0-9]{2}",
}
"""What a value of this form looks like. ``code of`` and ``token of`` a person may look like anything."""


class CaseWrong(Exception):  # noqa: N818  It says what is wrong with the file.
    """A case file that cannot be read, with the file and what is wrong."""


class Differs(Exception):  # noqa: N818  It is what a comparison found.
    """A message is not what a case states: ``path`` is the first field where it is not."""

    def __init__(self, path: str, stated: object, found: object) -> None:
        super().__init__(f"{path or 'the message'}: stated {stated!r}, found {found!r}")
        self.path = path

    @classmethod
    def from_case(cls, case: Case, differs: Differs) -> Differs:
        """The same, saying which case it is of."""
        found = cls(differs.path, None, None)
        found.args = (f"{case.consumer}/{case.name}: {differs}",)
        return found


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that is refused: the reason, and what of the metadata is counted on."""

    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A call with its answer or refusal; or something that happens at the provider; or an event that must be told."""

    call: str = ""
    request: Any = None
    answer: Any = None
    refusal: Refusal | None = None
    happens: Any = None
    event: Any = None

    @property
    def is_call(self) -> bool:
        """Whether a consumer asks something."""
        return bool(self.call)

    @property
    def method(self) -> str:
        """PreSettle, say."""
        return self.call.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Case:
    """One dialogue of one consumer. ``at`` is the institution and its terminal, where the consumer is one."""

    name: str
    consumer: str
    says: str
    at: str
    given: tuple[Mapping[str, Any], ...]
    sent: Mapping[str, str]
    made: Mapping[str, str]
    steps: tuple[Step, ...]


def read_cases(folder: Path) -> list[Case]:
    """Every case below the folder, by consumer (its folder) and name (its file); CaseWrong names a wrong one."""
    if cases := [read_case(file) for file in sorted(folder.glob("*/*.yaml"))]:
        return cases
    raise CaseWrong(f"{folder} holds no case")


def read_case(file: Path) -> Case:
    """One case; CaseWrong if it is none."""
    try:
        import yaml  # noqa: PLC0415  The base install goes without it; only the stub reads cases.
    except ImportError:
        raise CaseWrong(NO_YAML) from None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        case = Case(
            name=file.stem,
            consumer=file.parent.name,
            says=content.pop("says"),
            at=content.pop("at", ""),
            given=tuple(content.pop("given", ())),
            sent=content.pop("sent", {}),
            made=content.pop("made", {}),
            steps=tuple(_step(**step) for step in content.pop("steps")),
        )
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CaseWrong(f"{file}: {error}") from error
    if content:
        raise CaseWrong(f"{file}: unknown keys {', '.join(sorted(content))}")
    if unknown := [step.refusal.reason for step in case.steps if step.refusal and not is_reason(step.refusal.reason)]:
        raise CaseWrong(f"{file}: no reason of this contract: {', '.join(unknown)}")
    if undeclared := sorted(set(_names_in(content_of(case))) - case.sent.keys() - case.made.keys()):
        raise CaseWrong(f"{file}: neither sent nor made: {', '.join(undeclared)}")
    return case


def _step(refusal: Mapping[str, Any] | None = None, **content: Any) -> Step:  # noqa: ANN401  As the file has it.
    return Step(refusal=None if refusal is None else Refusal(**refusal), **content)


def content_of(case: Case) -> list[Any]:
    """Everything the case's steps say, for a look through it."""
    return [part for step in case.steps for part in (step.request, step.answer, step.event) if part is not None]


def _names_in(value: Any) -> Iterator[str]:  # noqa: ANN401  Any part of a file.
    match value:
        case dict():
            for inner in value.values():
                yield from _names_in(inner)
        case list():
            for inner in value:
                yield from _names_in(inner)
        case str() if value.startswith("$"):
            yield value[1:]


# Comparing ----------------------------------------------------------------------------------------------------------


def as_stated(message: Message) -> Any:  # noqa: ANN401  JSON.
    """The message as case files write one: proto field names, every field that has a default there."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def compared(  # noqa: C901  One line for each kind of value.
    stated: Any,  # noqa: ANN401  A part of a case file.
    found: Any,  # noqa: ANN401  A part of a message, as ``as_stated`` writes it.
    known: Mapping[str, str],
    forms: Mapping[str, str],
    *,
    exactly: bool,
    path: str = "",
) -> dict[str, str]:
    """What the names stand for after the comparison; Differs at the first field that is not as stated.

    ``exactly``: fields that are not stated must be empty.
    """
    names = dict(known)
    match stated:
        case dict() if isinstance(found, dict):
            for key, value in stated.items():
                inner = f"{path}.{key}".lstrip(".")
                names = compared(value, found.get(key), names, forms, exactly=exactly, path=inner)
            for key in found.keys() - stated.keys() if exactly else ():
                if not _is_empty(found[key]):
                    raise Differs(f"{path}.{key}".lstrip("."), None, found[key])
        case list() if isinstance(found, list) and len(stated) == len(found):
            for place, (one, other) in enumerate(zip(stated, found, strict=True)):
                names = compared(one, other, names, forms, exactly=exactly, path=f"{path}[{place}]")
        case str() if stated.startswith("$"):
            _take(names, stated[1:], found, forms, path)
        case None:
            if not _is_empty(found):
                raise Differs(path, stated, found)
        case _:
            if isinstance(found, dict | list) or _plain(stated) != _plain(found):
                raise Differs(path, stated, found)
    return names


def _take(names: dict[str, str], name: str, found: Any, forms: Mapping[str, str], path: str) -> None:  # noqa: ANN401
    if found is None or isinstance(found, dict | list) or names.setdefault(name, str(found)) != str(found):
        raise Differs(path, names.get(name, f"${name}"), found)
    form = FORMS.get(forms[name])
    if form is not None and re.fullmatch(form, str(found)) is None:
        raise Differs(path, f"${name}: {forms[name]}", found)


def _plain(value: Any) -> str:  # noqa: ANN401  A scalar.
    """Numbers of 64 bits are texts in JSON."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _is_empty(value: Any) -> bool:  # noqa: ANN401  Any part of a message.
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value in (None, False, 0, "", "0", [], {}) or (isinstance(value, str) and value.endswith("_UNSPECIFIED"))


# Filling in ---------------------------------------------------------------------------------------------------------


def filled(stated: Any, names: dict[str, str], forms: Mapping[str, str]) -> Any:  # noqa: ANN401  A part of a file.
    """The same with every name's value; what has none yet is made in its form and kept in ``names``."""
    match stated:
        case dict():
            return {key: filled(value, names, forms) for key, value in stated.items() if value is not None}
        case list():
            return [filled(value, names, forms) for value in stated]
        case str() if stated.startswith("$"):
            name = stated[1:]
            if name not in names:
                names[name] = made_up(forms[name])
            return names[name]
        case _:
            return stated


def made_up(form: str) -> str:  # noqa: PLR0911  One line for each form.
    """A value of this form that nobody has made before."""
    match form:
        case "uuid":
            return str(uuid4())
        case "bytes16" | "bytes32":
            return base64.b64encode(secrets.token_bytes(int(form.removeprefix("bytes")))).decode()
        case "year":
            return f"{datetime.now(SHANGHAI):%Y}"
        case "next_year":
            return f"{datetime.now(SHANGHAI).year + 1}"
        case "day":
            return f"{datetime.now(SHANGHAI) - timedelta(days=1):%Y-%m-%d}"
        case "month_before_last":
            first = datetime.now(SHANGHAI).replace(day=1)
            return f"{(first - timedelta(days=1)).replace(day=1) - timedelta(days=1):%Y-%m}"
        case "time":
            return (datetime.now(UTC) + _SOON).isoformat().replace("+00:00", "Z")
        case "count":
            return str(secrets.randbelow(10**9))
        case "visit":
            return f"M{secrets.token_hex(10)}"
        case _:
            return secrets.token_hex(12)
