"""``gongji town``: invented institutions, terminals and families in a running system, for `gongji-terminal simulate`.

It works where a sandbox may vouch for faces, so never where real people are served (SANDBOX_VERIFIER_REFUSED).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ops.options import HERE, Data, give_up

if TYPE_CHECKING:
    from gongji_terminal.simulation.town import Institution, SimulatedTown
    from kernel.ids import AdmDvs, PsnNo
    from kernel.money import Fen
    from ops.desks import Desks

OPTER: Final = "gongji"
PHARMACY_EVERY: Final = 5
"""So many institutions have one pharmacy among them."""
EACH_FEN: Final[Fen] = 200_000
AUTHORISED_FEN: Final[Fen] = 10_000_000
INSUTYPE: Final = "310"
AT_ONCE: Final = 4
BORN_FROM: Final = date(1960, 1, 1)
BORN_DAYS: Final = 29 * 365
PREFECTURES, COUNTIES = 43, 29
"""As high as Xinjiang's codes go, for certificates. One county alone has too few: who builds a town a day would soon
draw the number of somebody of an earlier one."""
SERIALS: Final = (100_000_000, 999_999_999)
INSTITUTION_SERIALS: Final = (10_000, 99_999)
TERMINALS_MAX: Final = 99


def town(
    file: Annotated[Path, typer.Argument(help="Where the town is written down for `gongji-terminal simulate`.")],
    *,
    data: Data = HERE,
    institutions: Annotated[int, typer.Option(min=1, max=100, help="Every fifth is a pharmacy.")] = 5,
    terminals: Annotated[int, typer.Option(min=1, help="In all of them together.")] = 20,
    patients: Annotated[int, typer.Option(min=1, max=1000, help="Each with two funders, in the areas in turn.")] = 20,
) -> None:
    """Register invented institutions, terminals and families in a running `gongji up`, and write them down in FILE."""
    from chassis.private_files import write_private  # noqa: PLC0415  So that every other command starts without it.
    from gongji_terminal.simulation.town import written  # noqa: PLC0415  As above.
    from kernel.failures import Failure  # noqa: PLC0415  As above.

    if terminals < institutions or -(-terminals // institutions) > TERMINALS_MAX:
        give_up(f"an institution has from 1 to {TERMINALS_MAX} terminals")
    try:
        made = asyncio.run(_made(data, institutions, terminals, patients))
    except Failure as failure:
        give_up(failure.reason)
    write_private(file, written(made))
    typer.echo(f"{file}: {institutions} institutions, {terminals} terminals, {patients} patients")


async def _made(data: Path, institutions: int, terminals: int, patients: int) -> SimulatedTown:
    from functools import partial  # noqa: PLC0415  As above.

    from kernel.callers import parsed_caller  # noqa: PLC0415  As above.
    from kernel.ids import AdmDvs  # noqa: PLC0415  As above.
    from ops.desks import desks_at  # noqa: PLC0415  As above.
    from ops.embedded.processes import CannotStart  # noqa: PLC0415  As above.
    from ops.embedded.runtime import read_running  # noqa: PLC0415  As above.
    from ops.told import wait_until_told  # noqa: PLC0415  As above.

    try:
        running = read_running(data)
    except (CannotStart, OSError, ValueError) as problem:
        give_up(problem)
    addresses, databases, areas = running.get("addresses"), running.get("databases"), running.get("areas")
    if not (isinstance(addresses, dict) and isinstance(databases, dict) and isinstance(areas, list)):
        give_up(f"{data} does not say what runs there")
    told = partial(
        wait_until_told,
        databases=[str(databases[f"gongji_{room}"]) for room in ("identity", "family", "settlement")],
        nats_url=str(running["nats_url"]),
        bus_prefix=str(running["bus_prefix"]),
    )
    async with desks_at(lambda name: str(addresses[name]), caller=parsed_caller("operator:town")) as desks:
        return await build_town(
            desks,
            lambda name: str(addresses[name]),
            areas=[AdmDvs(str(area)) for area in areas],
            told=told,
            institutions=institutions,
            terminals=terminals,
            patients=patients,
            chance=random.Random(),  # noqa: S311  Invented numbers, no secrets.
        )


async def build_town(
    desks: Desks,
    address_of: Callable[[str], str],
    *,
    areas: Sequence[AdmDvs],
    told: Callable[[], Awaitable[None]],
    institutions: int,
    terminals: int,
    patients: int,
    chance: random.Random,
) -> SimulatedTown:
    """Everything through gRPC; ``told`` returns once every room has heard what the others said."""
    from gongji_terminal.simulation.town import SimulatedTown  # noqa: PLC0415  As above.

    codes = chance.sample(range(*INSTITUTION_SERIALS), institutions)
    serials = chance.sample(range(*SERIALS), 3 * patients)
    gate = asyncio.Semaphore(AT_ONCE)
    places = [
        await _institution(
            desks,
            f"{'P' if (place + 1) % PHARMACY_EVERY == 0 else 'H'}{areas[place % len(areas)]}{code}",
            terminals // institutions + (place < terminals % institutions),
        )
        for place, code in enumerate(codes)
    ]

    async def each(work: Callable[[int], Awaitable[None]], count: int) -> None:
        async def one(number: int) -> None:
            async with gate:
                await work(number)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))
        await told()

    families = _Families(desks, areas, serials, chance)
    await each(families.register, 3 * patients)
    await each(families.credit, 3 * patients)
    await each(families.bind, patients)
    numbers = tuple(str(families.number_of(3 * place)) for place in range(patients))
    return SimulatedTown(address_of("settlement"), address_of("identity"), tuple(places), numbers)


async def _institution(desks: Desks, code: str, terminals: int) -> Institution:
    from gongji.identity.v1 import institutions_pb2  # noqa: PLC0415  As above.
    from gongji_terminal.simulation.town import Desk, Institution  # noqa: PLC0415  As above.
    from kernel.ids import FixmedinsCode  # noqa: PLC0415  As above.
    from ops import household  # noqa: PLC0415  As above.

    name = "模拟药店" if code.startswith("P") else "模拟医院"
    await household.register_institution(desks, fixmedins_code=FixmedinsCode(code), name=name)
    made = [Desk(f"T{number:02d}", number) for number in range(1, terminals + 1)]
    for desk in made:
        await desks.institutions.RegisterTerminal(
            institutions_pb2.RegisterTerminalRequest(
                fixmedins_code=code,
                terminal_no=desk.terminal_no,
                terminal_name=f"{desk.number:02d}号窗口",
                opter=OPTER,
            )
        )
    return Institution(code, tuple(made))


class _Families:
    """Threes: a patient and two siblings who fund, insured in the areas in turn. Each person has a place in a row."""

    def __init__(self, desks: Desks, areas: Sequence[AdmDvs], serials: Sequence[int], chance: random.Random) -> None:
        self._desks = desks
        self._areas = areas
        self._serials = serials
        self._born = [BORN_FROM + timedelta(days=chance.randrange(BORN_DAYS)) for _ in serials]
        self._born_in = [f"65{chance.randint(1, PREFECTURES):02d}{chance.randint(1, COUNTIES):02d}" for _ in serials]

    def number_of(self, place: int) -> PsnNo:
        """The 人员编号 of who stands there."""
        from kernel.ids import PsnNo  # noqa: PLC0415  As above.

        return PsnNo(f"{self._area_of(place)}{self._serials[place]}")

    def _area_of(self, place: int) -> AdmDvs:
        return self._areas[(place + place // 3) % len(self._areas)]

    async def register(self, place: int) -> None:
        """Invented, with a certificate number of valid form."""
        from ops import household  # noqa: PLC0415  As above.
        from services.identity.domain.certificate import check_character  # noqa: PLC0415  As above.

        seventeen = f"{self._born_in[place]}{self._born[place]:%Y%m%d}{self._serials[place] % 1000:03d}"
        await household.register_person(
            self._desks,
            psn_no=self.number_of(place),
            name=f"模拟{chr(0x4E00 + self._serials[place] % 8000)}",
            certno=seventeen + check_character(seventeen),
            insutype=INSUTYPE,
            area=self._area_of(place),
        )

    async def credit(self, place: int) -> None:
        """The money to begin with."""
        from ops import household  # noqa: PLC0415  As above.

        await household.credit(
            self._desks,
            psn_no=self.number_of(place),
            area=self._area_of(place),
            past_fen=EACH_FEN,
            current_fen=EACH_FEN,
        )

    async def bind(self, number: int) -> None:
        """The patient's group with the two funders in it, each bound for the patient."""
        from ops import household  # noqa: PLC0415  As above.

        patient = self.number_of(3 * number)
        group_id = await household.found_group(self._desks, founder=patient)
        for place in (3 * number + 1, 3 * number + 2):
            funder = self.number_of(place)
            await household.prove_relation(self._desks, person=funder, other=patient, relation="SIBLING")
            await household.bring_in(
                self._desks, group_id=group_id, inviter=patient, invitee=funder, relation="SIBLING"
            )
            await household.bind(
                self._desks, group_id=group_id, funder=funder, beneficiary=patient, authorised_fen=AUTHORISED_FEN
            )
