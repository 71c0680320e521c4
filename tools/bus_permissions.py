"""What each process says and hears on NATS, read from its code, and the permissions that follow from it.

Read are the calls themselves: a publisher of the outbox owns the room's stream, a consumer reads the streams it names,
``serve(f"{...prefix}....")`` serves a subject, and every other subject built from the prefix is asked.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from chassis.bus import Stream

ROOT: Final = Path(__file__).resolve().parent.parent
MODULES: Final = {
    "identity": "services.identity.app",
    "family": "services.family.app",
    "settlement": "services.settlement.app",
    "ledger": "services.settlement.ledger.app",
    "notify": "services.notify.app",
}
INNER_ROOMS: Final = {"settlement": "ledger"}
"""A room that lies in another's folder and is a process of its own."""

OWNER_CALLS: Final = ("$JS.API.STREAM.INFO.{stream}", "$JS.API.STREAM.CREATE.{stream}")
READER_CALLS: Final = (
    "$JS.API.STREAM.INFO.{stream}",
    "$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{durable}",
    "$JS.API.CONSUMER.INFO.{stream}.{durable}",
    "$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
    "$JS.ACK.{stream}.{durable}.>",
)
"""The JetStream calls behind ``Bus.ensure_stream`` and ``Consumer``, as the client library makes them."""


class Unclear(Exception):  # noqa: N818  It is an answer to a person: what in the code cannot be read off.
    """The code speaks in a way that this tool cannot read; the message says where and what would be readable."""


@dataclass
class Speech:
    """What one process says and hears. Subjects have the prefix left out and ``*`` for every variable part."""

    owns: str | None = None
    """The service whose events it says."""
    reads: set[tuple[str, str]] = field(default_factory=set)
    """(service, durable consumer) of each stream it follows."""
    serves: set[str] = field(default_factory=set)
    asks: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Permissions:
    """What NATS must let a process do, and nothing more."""

    publish: frozenset[str]
    subscribe: frozenset[str]
    allow_responses: bool


def speeches() -> dict[str, Speech]:
    """Every process's speech. Unclear if a consumer's streams cannot be told, or asked and served do not match."""
    owners = {_name_of(process): process for process in MODULES if _calls(process, "OutboxPublisher")}
    found = {process: Speech(owns=name if name in owners else None) for process, name in _names().items()}
    for process, speech in found.items():
        for file, function in _functions(process):
            consumers = [call for call in _calls_in(function) if _called(call) == "Consumer"]
            if consumers:
                speech.reads |= _reads(file, function, consumers, others=owners.keys() - {_name_of(process)})
        for call, subject in _subjects(process):
            (speech.serves if call == "serve" else speech.asks).add(subject)
    asked = {subject for speech in found.values() for subject in speech.asks}
    served = {subject for speech in found.values() for subject in speech.serves}
    if asked != served:
        raise Unclear(f"asked but served by nobody, or served and never asked: {', '.join(sorted(asked ^ served))}")
    return found


@cache
def permissions(prefix: str) -> dict[str, Permissions]:
    """What NATS must allow each process when all subjects begin with ``prefix``."""
    return {process: _permissions(process, speech, prefix) for process, speech in speeches().items()}


def _permissions(process: str, speech: Speech, prefix: str) -> Permissions:
    publish = {f"{prefix}.{subject}" for subject in speech.asks}
    if speech.owns is not None:
        own = Stream(prefix, speech.owns)
        publish |= {own.subject(">"), *(call.format(stream=own.name) for call in OWNER_CALLS)}
    for service, durable in speech.reads:
        stream = Stream(prefix, service).name
        publish |= {call.format(stream=stream, durable=durable) for call in READER_CALLS}
    served = {f"{prefix}.{subject}" for subject in speech.serves}
    inbox = f"_INBOX.{prefix}.{_name_of(process)}.>"
    return Permissions(frozenset(publish), frozenset(served | {inbox}), allow_responses=bool(served))


def findings(values: Mapping[str, Any], prefix: str, where: str) -> Iterator[str]:
    """Each permission in the NATS chart's values that no code needs, and each that code needs and nobody has."""
    users = {user["nkey"]: user["permissions"] for user in values["config"]["merge"]["authorization"]["users"]}
    environment = values["container"]["env"]
    try:
        needed = permissions(prefix)
    except Unclear as unclear:
        yield f"the code: {unclear}"
        return
    keys = {f"<< $GONGJI_{process.upper()}_NKEY >>": process for process in needed}
    yield from (f"{where}: the user {nkey} is no process of ours" for nkey in sorted(users.keys() - keys.keys()))
    for nkey, process in keys.items():
        variable = nkey.strip("<>$ ")
        source = environment.get(variable, {}).get("valueFrom", {}).get("configMapKeyRef", {})
        if source != {"name": "gongji-bus-users", "key": process}:
            yield f"{where}: {variable} does not come from the key {process} of gongji-bus-users"
        if nkey not in users:
            yield f"{where}: there is no user for {process}"
            continue
        given = users[nkey]
        for verb in ("publish", "subscribe"):
            have, need = set(given.get(verb, [])), set(getattr(needed[process], verb))
            yield from (f"{where}: {process} must {verb} {one}, but may not" for one in sorted(need - have))
            yield from (f"{where}: {process} may {verb} {one}, but no code does" for one in sorted(have - need))
        if bool(given.get("allow_responses")) is not needed[process].allow_responses:
            yield f"{where}: allow_responses of {process} should be {needed[process].allow_responses}"


# Reading the code ----------------------------------------------------------------------------------------------------


def _names() -> dict[str, str]:
    return {process: _name_of(process) for process in MODULES}


def _name_of(process: str) -> str:
    """The name under which a process connects and says its events."""
    return str(importlib.import_module(MODULES[process]).NAME)


def _files(process: str) -> Iterator[Path]:
    folder = ROOT / Path(*MODULES[process].split(".")[:-1])
    inner = folder / INNER_ROOMS.get(process, "migrations")
    for file in sorted(folder.rglob("*.py")):
        if not file.is_relative_to(inner) and "migrations" not in file.parts:
            yield file


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _functions(process: str) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in _files(process):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node


def _calls_in(node: ast.AST) -> Iterator[ast.Call]:
    return (one for one in ast.walk(node) if isinstance(one, ast.Call))


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _calls(process: str, name: str) -> bool:
    return any(_called(call) == name for file in _files(process) for call in _calls_in(_tree(file)))


def _reads(file: Path, function: ast.AST, consumers: list[ast.Call], *, others: set[str]) -> set[tuple[str, str]]:
    """The streams named in a function that makes consumers, each with the durable name it is read under."""
    module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    values = {_value(node, module) for node in ast.walk(function) if isinstance(node, ast.expr)}
    durables = {_value(word.value, module) for call in consumers for word in call.keywords if word.arg == "name"}
    services = {value for value in values if value in others}
    if not services or None in durables:
        where = f"{file.relative_to(ROOT)}:{consumers[0].lineno}"
        raise Unclear(f"{where}: name the stream and the consumer by constants in the function that makes the consumer")
    return {(str(service), str(durable)) for service in services for durable in durables}


def _value(node: ast.expr, module: ModuleType) -> str | None:
    """The text that a constant, a module's name or an imported module's attribute stands for."""
    found: object = None
    match node:
        case ast.Constant(value=value):
            found = value
        case ast.Name(id=name):
            found = getattr(module, name, None)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            found = getattr(getattr(module, owner, None), name, None)
    return found if isinstance(found, str) else None


def _subjects(process: str) -> Iterator[tuple[str, str]]:
    """(what is called with it, subject) of every text that begins with the bus's prefix."""
    for file in _files(process):
        tree = _tree(file)
        caller = {id(one): _called(call) for call in _calls_in(tree) for one in call.args}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and (subject := _subject(node)) is not None:
                yield caller.get(id(node), ""), subject


def _subject(text: ast.JoinedStr) -> str | None:
    match text.values:
        case [ast.FormattedValue(value=ast.Attribute(attr="prefix" | "bus_prefix")), ast.Constant(value=str(rest)), *_]:
            if not rest.startswith("."):
                return None
            parts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in text.values[1:]]
            return "".join(parts).removeprefix(".")
        case _:
            return None
