"""What an address looks like. A port above 65535 would be taken modulo 65536 by the transport: another one's door."""

from __future__ import annotations

import re
from typing import Final

PORT_MAX: Final = 65535
_HOST_AND_PORT: Final = re.compile(r"\S+:([0-9]{1,5})")
_UNIX: Final = "unix:"


def is_address(text: str) -> bool:
    """Whether a service can be reached so: ``HOST:PORT``, ``dns:///HOST:PORT`` or ``unix:PATH``."""
    found = _HOST_AND_PORT.fullmatch(text)
    return text.startswith(_UNIX) or (found is not None and 0 < int(found[1]) <= PORT_MAX)
