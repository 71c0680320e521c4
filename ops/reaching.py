"""Where a running service is, and who asks it."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Final

from kernel.callers import Caller, parsed_caller
from kernel.failures import Failure
from ops.embedded.processes import CannotStart
from ops.embedded.runtime import read_running
from ops.options import give_up

_UNFIT: Final = re.compile(r"[^0-9A-Za-z_-]")
_NAME_LENGTH_MAX: Final = 32


def address_of(service: str, data: Path) -> str:
    """HOST:PORT of the service of this name that runs from this folder; ends the command if none does."""
    try:
        addresses = read_running(data).get("addresses")
    except (CannotStart, OSError, ValueError) as problem:
        give_up(problem)
    if not isinstance(addresses, dict) or service not in addresses:
        give_up(f"{data} tells of no {service} service; name it with --address")
    return str(addresses[service])


def operator_of(name: str) -> Caller:
    """Who runs the command, for the audit records: the name given, or the account of this machine."""
    given = name.strip() or _UNFIT.sub("_", getpass.getuser())[:_NAME_LENGTH_MAX]
    try:
        return parsed_caller(f"operator:{given}")
    except Failure:
        give_up("--operator is one word of letters, digits, - and _, at most 32 of them")
