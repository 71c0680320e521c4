"""Where the databases of a running system are: told by its data folder, or by URLs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chassis.addresses import PORT_MAX, has_possible_ports
from ops.embedded.runtime import read_running

SETTLEMENT_DATABASE: Final = "gongji_settlement"
OTHER_ROOMS: Final = ("identity", "family", "notify")
"""The rooms besides settlement that have a database."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the databases are. Who only looks needs no more than a role that may read."""

    coordinator_url: str
    ledger_urls: Mapping[str, str]
    """By area."""
    room_urls: Mapping[str, str] = field(default_factory=dict)
    """Identity, family and notify by name, those that are known."""


def find_places(
    *, data: Path, coordinator: str | None, ledgers: str | None, areas: str, rooms: str | None = None
) -> Places:
    """What ``gongji up`` wrote into its data folder; or, when a coordinator is named, what the other URLs say.

    ``ledgers`` holds {area}, ``rooms`` holds {room}, ``areas`` are parted by commas. CannotStart if nothing runs from
    the folder; ValueError if the URLs do not fit together.
    """
    if coordinator is not None:
        named = [area.strip() for area in areas.split(",") if area.strip()]
        if ledgers is None or "{area}" not in ledgers or not named:
            raise ValueError("--coordinator needs --ledgers with {area} in it, and --areas")
        if rooms is not None and "{room}" not in rooms:
            raise ValueError("--rooms needs {room} in it")
        for option, url in (("--coordinator", coordinator), ("--ledgers", ledgers), ("--rooms", rooms or "")):
            if not has_possible_ports(url):
                raise ValueError(f"{option} has a port that is not between 1 and {PORT_MAX}")
        return Places(
            coordinator,
            {area: ledgers.replace("{area}", area) for area in named},
            {} if rooms is None else {room: rooms.replace("{room}", room) for room in OTHER_ROOMS},
        )
    databases = read_running(data).get("databases")
    urls = {str(name): str(url) for name, url in databases.items()} if isinstance(databases, dict) else {}
    if SETTLEMENT_DATABASE not in urls:
        raise ValueError(f"{data} tells of no database {SETTLEMENT_DATABASE}")
    return Places(
        urls[SETTLEMENT_DATABASE],
        {name.rpartition("_ledger_")[2]: url for name, url in urls.items() if "_ledger_" in name},
        {room: urls[f"gongji_{room}"] for room in OTHER_ROOMS if f"gongji_{room}" in urls},
    )
