"""TCP that notices when nobody is there any more.

A cable that is pulled or a firewall that forgets a connection sends no word. Without these settings the system waits a
quarter of an hour for the other end to acknowledge what was sent, and for ever where nothing is to be sent.
"""

from __future__ import annotations

import socket
from typing import Final

KEEPALIVE_IDLE_S: Final = 5
"""How long a connection may be quiet before the other end is asked whether it is there."""
KEEPALIVE_INTERVAL_S: Final = 2
KEEPALIVE_PROBES: Final = 3
UNACKNOWLEDGED_MAX_S: Final = 10
"""How long what was sent may stay without acknowledgement by the other end's system."""
_OPTIONS: Final = (
    ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
    ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
    ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MAX_S * 1000),
)


def end_when_silent(end: socket.socket | None) -> None:
    """The system ends this connection when the other end's system is silent; only a TCP socket is touched."""
    if end is None or end.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        if (option := getattr(socket, name, None)) is not None:  # Not every system has all of them.
            end.setsockopt(socket.IPPROTO_TCP, option, value)
