"""What an address looks like. A port above 65535 would be taken modulo 65536 by the transport: another one's door."""

from __future__ import annotations

import re
from typing import Final

PORT_MAX: Final = 65535
_HOST_AND_PORT: Final = re.compile(r"\S+:([0-9]{1,5})")


def is_host_and_port(text: str, *, port_min: int = 1) -> bool:
    """Whether it is HOST:PORT, the port between ``port_min`` and PORT_MAX."""
    found = _HOST_AND_PORT.fullmatch(text)
    return found is not None and port_min <= int(found[1]) <= PORT_MAX
