"""The town file: which institutions and terminals a simulated day is played at, and whose phones show codes there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gongji_terminal.channels import stays_here
from gongji_terminal.config import ConfigWrong

KEYS: Final = frozenset({"settlement", "identity", "institutions", "patients"})


@dataclass(frozen=True, slots=True)
class Desk:
    """A terminal of an institution; ``number`` stands in its msgids."""

    terminal_no: str
    number: int


@dataclass(frozen=True, slots=True)
class Institution:
    """An institution with the terminals that identity knows."""

    fixmedins_code: str
    desks: tuple[Desk, ...]


@dataclass(frozen=True, slots=True)
class SimulatedTown:
    """Addresses, institutions and patients. Identity gives out the codes, as it does to the patients' phones."""

    settlement: str
    identity: str
    institutions: tuple[Institution, ...]
    patients: tuple[str, ...]

    def part(self, *, institutions: int, terminals: int) -> SimulatedTown:
        """So many of its institutions with so many terminals together, spread evenly; ConfigWrong if it has fewer."""
        if not 0 < institutions <= terminals:
            raise ConfigWrong("every institution needs a terminal, and there must be one institution at least")
        chosen: list[Institution] = []
        for place, institution in enumerate(self.institutions[:institutions]):
            count = terminals // institutions + (place < terminals % institutions)
            if count > len(institution.desks):
                raise ConfigWrong(f"{institution.fixmedins_code} has {len(institution.desks)} terminals, not {count}")
            chosen.append(replace(institution, desks=institution.desks[:count]))
        if len(chosen) < institutions:
            raise ConfigWrong(f"the town has {len(chosen)} institutions, not {institutions}")
        return replace(self, institutions=tuple(chosen))


def read(file: Path) -> SimulatedTown:
    """The town as `gongji town` wrote it; ConfigWrong says what is missing."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigWrong(f"{file}: {problem.strerror}. `gongji town` writes it.") from None
    except ValueError:
        raise ConfigWrong(f"{file} is not JSON") from None
    if not isinstance(document, dict) or document.keys() != KEYS:
        raise ConfigWrong(f"{file} must have {', '.join(sorted(KEYS))}, and nothing else")
    try:
        town = SimulatedTown(
            settlement=str(document["settlement"]),
            identity=str(document["identity"]),
            institutions=tuple(map(_institution, document["institutions"])),
            patients=tuple(map(str, document["patients"])),
        )
    except (KeyError, TypeError, ValueError):
        raise ConfigWrong(f"{file} is no town file: `gongji town` writes one") from None
    if not town.institutions or not town.patients:
        raise ConfigWrong(f"{file} names no institution or no patient")
    for address in (town.settlement, town.identity):
        # Invented people live in a system of one's own machine; a simulated day belongs nowhere else.
        if not stays_here(address):
            raise ConfigWrong(f"{address} is not on this machine: a day is simulated where nobody real is served")
    return town


def written(town: SimulatedTown) -> str:
    """The town as a file says it."""
    document: dict[str, Any] = {
        "settlement": town.settlement,
        "identity": town.identity,
        "institutions": [
            {
                "fixmedins_code": institution.fixmedins_code,
                "terminals": [{"terminal_no": desk.terminal_no, "number": desk.number} for desk in institution.desks],
            }
            for institution in town.institutions
        ],
        "patients": list(town.patients),
    }
    return json.dumps(document, indent=1) + "\n"


def journals_of(folder: Path, fixmedins_code: str) -> Sequence[Path]:
    """Every journal that an institution's terminals have kept in this folder."""
    return sorted(folder.glob(f"{fixmedins_code}-*.sqlite"))


def journal_of(folder: Path, fixmedins_code: str, terminal_no: str) -> Path:
    """The journal of one terminal."""
    return folder / f"{fixmedins_code}-{terminal_no}.sqlite"


def _institution(document: dict[str, Any]) -> Institution:
    desks = [Desk(str(one["terminal_no"]), int(one["number"])) for one in document["terminals"]]
    return Institution(str(document["fixmedins_code"]), tuple(desks))
