"""What an address looks like. A port above 65535 would be taken modulo 65536 by the transport: another one's door."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

PORT_MAX: Final = 65535
_HOST_AND_PORT: Final = re.compile(r"\S+:([0-9]{1,5})")
_UNIX: Final = "unix:"

_PORT_AT_END: Final = re.compile(r":([0-9]+)$")


def is_address(text: str) -> bool:
    """Whether a service can be reached so: ``HOST:PORT``, ``dns:///HOST:PORT`` or ``unix:PATH``."""
    found = _HOST_AND_PORT.fullmatch(text)
    return text.startswith(_UNIX) or (found is not None and 0 < int(found[1]) <= PORT_MAX)


def has_possible_ports(url: str) -> bool:
    """Whether no host of a URL, which may name several, has a port that there cannot be. The rest is its driver's."""
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",")
    ports = [int(found[1]) for host in hosts if (found := _PORT_AT_END.search(host)) is not None]
    return all(0 < port <= PORT_MAX for port in ports)
