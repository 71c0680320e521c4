"""Families for the bench, written straight into the databases: as many as are asked for, in seconds.

Family n has a patient without money of his own and three relatives who pay a third each: two insured where he is, one
in the area beside it. Each relative has authorised a third of one bill, so after a payment ``refill`` must authorise
the next: without a limit the first would pay all. Settlement is given the projections that identity's and family's
events would have made, each ledger the accounts, their opening entries and the authorisations; the ecTokens are signed
with a key of the bench.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
from joserfc import jws
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode

from services.settlement.domain.credential import ALGORITHM, ISSUER, TOKEN_TYPE
from services.settlement.ledger.store.locking import LOCK_CLASS

Connection: TypeAlias = Any
"""An asyncpg connection (the driver publishes no types)."""

AREAS: Final = ("650100", "650500", "650200", "652300", "654000", "652800", "653100", "650400")
"""Those that a population takes its own from; each pair of neighbours serves the same families."""
HOSPITAL: Final = "H65010000017"
TERMINAL_NO: Final = "T01"
MDTRT_ID: Final = "M1"
FUNDERS: Final = 3
SHARE_FEN: Final = 300
BILL_FEN: Final = FUNDERS * SHARE_FEN
BALANCE_FEN: Final = 1_000_000_000
"""What each funder begins with: enough for every run."""
POLICY: Final = "area: '650000'\npolicy: {benefit: external}\n"
_TOKEN_LIFE: Final = timedelta(hours=20)
_BINDING: Final = 1
_AUTHORISATION: Final = 2
_CREDIT: Final = 3


def authorisation_id(family: int, place: int) -> UUID:
    """The authorisation of a family's funder; ``place`` counts from 0."""
    return _id(_AUTHORISATION, family, place)


def authorisation_in_sql(family: str, place: int) -> str:
    """Its text as an expression of SQL, over the expression of a family's number."""
    return f"'{_head(_AUTHORISATION)}' || lpad(to_hex({family} * 4 + {place}), 12, '0')"


def _id(kind: int, family: int, place: int) -> UUID:
    return UUID(f"{_head(kind)}{family * 4 + place:012x}")


def _head(kind: int) -> str:
    return f"5f0c3f3e-0000-4000-8{kind:03x}-"


@dataclass(frozen=True, slots=True)
class Population:
    """Who lives where: families by number, over an even count of areas."""

    areas: tuple[str, ...] = AREAS[:2]
    sharing: int = 1
    """So many families have their first funder in common: a hot account."""

    def home(self, family: int) -> str:
        """Where the patient and the first two funders of a family are insured."""
        return self.areas[2 * (family % (len(self.areas) // 2))]

    def funder_area(self, family: int, place: int) -> str:
        """Where the funder in this place is insured, the last one in the area beside the family's."""
        beside = 2 * (family % (len(self.areas) // 2)) + 1
        return self.home(family) if place < FUNDERS - 1 else self.areas[beside]

    def patient_no(self, family: int) -> str:
        """The patient of a family."""
        return f"{self.home(family)}{family:08d}0"

    def funder_no(self, family: int, place: int) -> str:
        """A funder of a family; ``place`` from 0."""
        owner = family - family % self.sharing if place == 0 else family
        return f"{self.funder_area(owner, place)}{owner:08d}{place + 1}"

    def owns(self, family: int, place: int) -> bool:
        """Whether this is the family under whose number the funder is written."""
        return place > 0 or family % self.sharing == 0


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs ecTokens as identity does."""

    kid: str
    key: OKPKey

    @classmethod
    def new(cls) -> Signer:
        """With a fresh key."""
        return cls("bench", OKPKey.generate_key("Ed25519"))

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        stated = self.key.as_dict(private=False)
        return urlsafe_b64decode(str(stated["x"]).encode("ascii"))

    def token(self, psn_no: str, now: datetime) -> str:
        """This patient's visit at the bench's terminal."""
        claims = {
            "iss": ISSUER,
            "sub": psn_no,
            "aud": HOSPITAL,
            "trm": TERMINAL_NO,
            "mct": "01",
            "biz": "01301",
            "vis": MDTRT_ID,
            "iat": int(now.timestamp()),
            "exp": int((now + _TOKEN_LIFE).timestamp()),
            "jti": f"bench-{psn_no}",
        }
        header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self.kid}
        return str(jws.serialize_compact(header, json.dumps(claims).encode(), self.key, algorithms=[ALGORITHM]))


async def populate(
    population: Population,
    *,
    settlement_url: str,
    ledger_urls: Mapping[str, str],
    families: range,
    signer: Signer,
    now: datetime,
) -> None:
    """Writes the families; call it again with a later range for more of them."""
    connection = await asyncpg.connect(settlement_url)
    try:
        async with connection.transaction():
            await _write_projections(connection, population, families, signer, now)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    for area, url in ledger_urls.items():
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await write_ledger(connection, population, area, families, now)
            await connection.execute("VACUUM ANALYZE")
        finally:
            await connection.close()


async def refill(ledger_urls: Mapping[str, str]) -> None:
    """Each funder authorises a third of the next bill, where the last one has been paid."""
    for area, url in ledger_urls.items():
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                # As every writer of a ledger does: it writes back the rows that it has read.
                await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(area))
                await connection.execute(
                    "UPDATE authorisations SET authorised_fen = used_fen + held_fen + $1"
                    " WHERE authorised_fen < used_fen + held_fen + $1",
                    SHARE_FEN,
                )
        finally:
            await connection.close()


async def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Any]) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=rows)


async def _write_projections(
    connection: Connection, population: Population, families: range, signer: Signer, now: datetime
) -> None:
    later, earlier = now + timedelta(days=30), now - timedelta(days=1)
    await connection.execute(
        "INSERT INTO institutions VALUES ($1, 1, 'DESIGNATED', false) ON CONFLICT DO NOTHING", HOSPITAL
    )
    await connection.execute(
        "INSERT INTO terminals VALUES ($1, $2, 1, 'ACTIVE', 'bench', $3) ON CONFLICT DO NOTHING",
        HOSPITAL, TERMINAL_NO, later,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO signing_keys VALUES ($1, 1, $2, $3, $4) ON CONFLICT DO NOTHING",
        signer.kid, signer.public_key, earlier, later,
    )  # fmt: skip

    def people() -> Iterator[tuple[str, str]]:
        for family in families:
            yield population.patient_no(family), population.home(family)
            for place in range(FUNDERS):
                if population.owns(family, place):
                    yield population.funder_no(family, place), population.funder_area(family, place)

    await _copy(
        connection, "persons", ("psn_no", "version", "name_masked", "brdy"),
        ((psn_no, 1, "王**", "1980-01-01") for psn_no, _ in people()),
    )  # fmt: skip
    await _copy(
        connection, "enrolments", ("psn_no", "insutype", "insuplc_admdvs", "psn_insu_stas"),
        ((psn_no, "310", area, "1") for psn_no, area in people()),
    )  # fmt: skip
    await _copy(
        connection,
        "bindings",
        ("binding_id", "version", "funder_psn_no", "beneficiary_psn_no", "state", "cause", "relation",
         "authorised_fen", "deduct_order", "bound_at", "authorisation_id", "funder_area"),
        (
            (_id(_BINDING, family, place), 1, population.funder_no(family, place), population.patient_no(family),
             "ACTIVE", "", "SIBLING", SHARE_FEN, place + 1, earlier, authorisation_id(family, place),
             population.funder_area(family, place))
            for family in families
            for place in range(FUNDERS)
        ),
    )  # fmt: skip


async def write_ledger(
    connection: Connection, population: Population, area: str, families: range, now: datetime
) -> None:
    """One area's accounts with what they begin with, and its authorisations, into an empty ledger's tables."""

    def funders() -> Iterator[tuple[int, int, str]]:
        for family in families:
            for place in range(FUNDERS):
                if population.funder_area(family, place) == area:
                    yield family, place, population.funder_no(family, place)

    def owners() -> Iterator[tuple[UUID, str]]:
        return (
            (_id(_CREDIT, family, place), psn_no)
            for family, place, psn_no in funders()
            if population.owns(family, place)
        )

    def balances() -> Iterator[tuple[str, int]]:
        yield from ((psn_no, BALANCE_FEN) for _, psn_no in owners())
        yield from ((population.patient_no(family), 0) for family in families if population.home(family) == area)

    await _copy(
        connection, "accounts",
        ("psn_no", "kind", "year", "past_fen", "current_fen", "held_past_fen", "held_current_fen", "frozen", "state"),
        ((psn_no, "PERSONAL", now.year, 0, fen, 0, 0, False, "OPEN") for psn_no, fen in balances()),
    )  # fmt: skip
    await _copy(
        connection, "authorisations",
        ("authorisation_id", "state", "funder_psn_no", "beneficiary_psn_no", "authorised_fen", "used_fen", "held_fen",
         "version", "opened_used_fen"),
        (
            (authorisation_id(family, place), "OPEN", psn_no, population.patient_no(family), SHARE_FEN, 0, 0, 1, 0)
            for family, place, psn_no in funders()
        ),
    )  # fmt: skip
    await _copy(
        connection, "credits", ("credit_id", "purpose", "digest", "booked_at"),
        ((credit_id, "MONTHLY", b"\x00" * 16, now) for credit_id, _ in owners()),
    )  # fmt: skip
    await _copy(
        connection, "credit_legs",
        ("credit_id", "leg_no", "psn_no", "account_kind", "past_fen", "current_fen", "year", "suspense",
         "after_past_fen", "after_current_fen", "after_held_past_fen", "after_held_current_fen", "after_year",
         "after_frozen", "after_state"),
        (
            (credit_id, 1, psn_no, "PERSONAL", 0, BALANCE_FEN, now.year, False,
             0, BALANCE_FEN, 0, 0, now.year, False, "OPEN")
            for credit_id, psn_no in owners()
        ),
    )  # fmt: skip
    await _copy(
        connection, "entries",
        ("source_id", "leg_no", "kind", "book", "psn_no", "part", "amount_fen", "balance_after_fen", "booked_at"),
        (
            entry
            for credit_id, psn_no in owners()
            for entry in (
                (credit_id, 1, "MONTHLY", "PERSONAL", psn_no, "CURRENT", BALANCE_FEN, BALANCE_FEN, now),
                (credit_id, 0, "MONTHLY", "FUND_INFLOW", None, None, -BALANCE_FEN, None, now),
            )
        ),
    )  # fmt: skip


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
