"""Where a running service is, who asks it, and one question of a command's."""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from kernel.callers import Caller, parsed_caller
from kernel.failures import Failure
from ops.embedded.processes import CannotStart
from ops.embedded.runtime import read_running
from ops.options import give_up

if TYPE_CHECKING:
    from grpc.aio import Channel

Stub = TypeVar("Stub")
Result = TypeVar("Result")

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


def asked_of_settlement(
    stub_of: Callable[[Channel], Stub],
    ask: Callable[[Stub, str], Awaitable[Result]],
    *,
    address: str,
    operator: str,
    data: Path,
) -> Result:
    """What ``ask`` brings from settlement, asked as this operator; ends the command where it refuses or is away.

    ``address`` empty: the service that runs from the folder ``data``.
    """
    from chassis.rpc.client import channel  # noqa: PLC0415  So that what asks nobody starts without it.
    from chassis.rpc.failures import PeerError  # noqa: PLC0415  As above.

    caller = operator_of(operator)

    async def talk() -> Result:
        async with channel(address or address_of("settlement", data), caller=caller) as line:
            return await ask(stub_of(line), caller.partition(":")[2])

    try:
        return asyncio.run(talk())
    except (Failure, PeerError, OSError, TimeoutError) as problem:
        give_up(problem)
