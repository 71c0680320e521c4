"""A NATS server behind the permissions of deploy/nats/values.yaml, and what its log says of who said what."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ops.embedded.nats import EmbeddedNats

VALUES: Final = Path(__file__).resolve().parents[3] / "deploy" / "nats" / "values.yaml"
OBSERVER: Final = "observer"
_UNQUOTED: Final = re.compile(r'"<<\s+(.*?)\s+>>"')
_TRACED: Final = re.compile(r"cid:(\d+)\b.* - <<- \[([A-Z]+) ?(.*)\]$")
_VIOLATION: Final = re.compile(r"(Publish|Subscription) Violation")


class GuardedNats(EmbeddedNats):
    """Configured as the chart does it: the values' ``merge`` as it stands, ``<< $VARIABLE >>`` without its quotes.

    The test itself is the user ``observer``, who may do anything; every protocol line is traced.
    """

    def __init__(self, folder: Path, users: Mapping[str, str]) -> None:
        super().__init__(folder)
        self._users = users

    async def start(self) -> None:
        """As ever, with the public keys in the environment, as the chart gives them to its container."""
        with _environment({f"GONGJI_{process.upper()}_NKEY": key for process, key in self._users.items()}):
            await super().start()

    @property
    def observer_url(self) -> str:
        """Where the test itself connects."""
        return f"nats://{OBSERVER}:{self._password}@{self.address}"

    def _configuration(self, folder: Path, ports: Path) -> str:
        values: dict[str, Any] = yaml.safe_load(VALUES.read_text(encoding="utf-8"))["config"]
        made = json.loads(super()._configuration(folder, ports))
        made |= values["merge"]
        made["jetstream"] |= values["jetstream"]["merge"]
        made["authorization"]["users"].append({"user": OBSERVER, "password": self._password})
        return _UNQUOTED.sub(r"\1", json.dumps({**made, "trace": True}, indent=1)) + "\n"


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class Heard:
    """What one client said, by its name: the subjects it published to and subscribed to, answers left out."""

    published: set[str] = field(default_factory=set)
    subscribed: set[str] = field(default_factory=set)


def heard(log: Path) -> dict[str, Heard]:
    """Each client's subjects, out of the trace."""
    names: dict[str, str] = {}
    found: dict[str, Heard] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if (traced := _TRACED.search(line)) is None:
            continue
        client, verb, rest = traced.groups()
        if verb == "CONNECT":
            names[client] = json.loads(rest).get("name", "")
        one = found.setdefault(names.get(client, ""), Heard())
        if verb in {"PUB", "HPUB"}:
            one.published.add(rest.split()[0])
        if verb == "SUB":
            one.subscribed.add(rest.split()[0])
    return found


def violations(log: Path) -> list[str]:
    """What the server refused for want of a permission."""
    return [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if _VIOLATION.search(line)]


def matches(permitted: str, subject: str) -> bool:
    """Whether a permission covers a subject."""
    wanted, given = permitted.split("."), subject.split(".")
    for place, word in enumerate(wanted):
        if word == ">":
            return len(given) > place
        if place >= len(given) or word not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)
