"""`gongji pledge-text`: the texts of the 《个人账户家庭共济承诺书》 that people sign, put on record from a file."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.consent import Operator
from ops.options import HERE, Data, checked_address, give_up

if TYPE_CHECKING:
    from kernel.callers import Caller

pledge_text = typer.Typer(
    name="pledge-text", help="Texts of the family pledge: none is signed that is not on record.", no_args_is_help=True
)


@pledge_text.command("register")
def register(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The text, in UTF-8, as the app will show it.")],
    *,
    version: Annotated[str, typer.Option(help="Its version; another text is another version.")],
    language: Annotated[str, typer.Option(help="Its language, such as zh-CN, ug or en.")] = "zh-CN",
    address: Annotated[
        str,
        typer.Option(callback=checked_address, help="HOST:PORT of the family service, for one that runs elsewhere."),
    ] = "",
    operator: Operator = "",
    data: Data = HERE,
) -> None:
    """Register a text for good, and print its SHA-256 as SignPledge takes it; the same again changes nothing."""
    from kernel.failures import Failure  # noqa: PLC0415  So that every other command starts without it.
    from ops.reaching import address_of, operator_of  # noqa: PLC0415  As above.

    try:
        text = file.read_bytes().decode("utf-8")
        place = address or address_of("family", data)
        digest = asyncio.run(_register(text, version, language, place, caller=operator_of(operator)))
    except UnicodeDecodeError:
        give_up(f"{file} is no text in UTF-8")
    except OSError as problem:
        give_up(f"{file} cannot be read: {problem.strerror}")
    except Failure as problem:
        give_up(f"the family service refused: {problem}")
    sys.stdout.write(f"{digest.hex()}\n")


async def _register(text: str, version: str, language: str, address: str, *, caller: Caller) -> bytes:
    from chassis.rpc.client import channel  # noqa: PLC0415  So that every other command starts without it.
    from gongji.family.v1 import groups_pb2, groups_pb2_grpc  # noqa: PLC0415  As above.

    async with channel(address, caller=caller) as opened:
        answer = await groups_pb2_grpc.GroupServiceStub(opened).RegisterPledgeText(
            groups_pb2.RegisterPledgeTextRequest(
                text_version=version, language=language, text=text, opter=caller.rpartition(":")[2]
            )
        )
    return bytes(answer.registered.text_sha256)
