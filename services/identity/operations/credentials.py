"""What the patient shows at the desk, judged by itself: a code, a card, an identity card; and codes for one's phone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from chassis import telemetry
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.credential import (
    CODE_TYPE,
    CertType,
    Code,
    EcToken,
    checked_code,
    new_code,
)
from services.identity.domain.decoding import CertificateShown, Shown, Visit, agent_place
from services.identity.domain.holder import check_holder
from services.identity.domain.name import same_name
from services.identity.domain.person import Person
from services.identity.domain.sealing import NONCE_BYTES, Sealed, Seals
from services.identity.domain.signing import Signed
from services.identity.operations import lookups
from services.identity.operations.cards import CardRoom, holder_of, try_pin
from services.identity.operations.decoding import Decoder
from services.identity.operations.drawn import new_bytes
from services.identity.operations.sealed import name_of
from services.identity.operations.wards import check_shows
from services.identity.store import people
from services.identity.store.holders import find_holder

ISSUED: Final = "CODE_ISSUED"
"""The purpose in the audit, where it was refused: a code that is issued shows nobody."""
_UUID_BITS: Final = 128


@dataclass(slots=True)
class Claimed:
    """Whose it is and which code, as far as that was known when it was refused."""

    psn_no: PsnNo | None = None
    jti: UUID | None = None


async def issue_code(
    *,
    database: Database,
    psn_no: PsnNo,
    guardian: PsnNo | None,
    lifetime_s: int,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Code:
    """A code to be signed; refusals as ``check_holder``, for a guardian's phone as ``check_shows``."""
    async with lookups.refusals_on_record(database, purpose=ISSUED, asked_by=asked_by, now=now) as met:
        met.add(psn_no)
        if guardian is None:
            async with database.driver_connection() as connection:
                check_holder(await find_holder(connection, psn_no))
        else:
            await check_shows(database=database, guardian=guardian, ward=psn_no, now=now)
    return new_code(psn_no, jti=drawn_id(randomness), now=now, lifetime_s=lifetime_s, shown_by=guardian)


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a desk shows us, each time made into a token's holder; one for each replica."""

    decoder: Decoder
    cards: CardRoom

    async def code(self, signed: Signed, visit: Visit, claimed: Claimed, *, now: datetime) -> tuple[Shown, Person]:
        """The holder of a code whose signature was checked; refusals as ``checked_code``, then as ``Decoder.use``."""
        if signed.type == CODE_TYPE:
            claimed.psn_no, claimed.jti = PsnNo(signed.claims["sub"]), UUID(signed.claims["jti"])
        code = checked_code(signed.type, signed.claims, now=now)
        shown = self._shown(code.psn_no, visit, CertType.CODE, jti=code.jti, shown_by=code.shown_by)
        return shown, await self.decoder.use(shown)

    async def card(
        self, card_no: str, pin: str, visit: Visit, claimed: Claimed, *, now: datetime
    ) -> tuple[Shown, Person]:
        """The holder of a card shown with its PIN; refusals as ``check_desk``, ``try_pin``, then ``Decoder.use``."""
        await self.decoder.check_desk(visit.desk, now=now)
        claimed.psn_no = await holder_of(self.cards, card_no=card_no)
        card = await try_pin(self.cards, card_no=card_no, pin=pin)
        shown = self._shown(card.psn_no, visit, CertType.CARD)
        return shown, await self.decoder.use(shown)

    async def identity_card(
        self, stated: CertificateShown, visit: Visit, claimed: Claimed, *, now: datetime
    ) -> tuple[Shown, Person]:
        """The holder of a certificate; refusals as ``check_desk``, IDENTITY_CARD_UNKNOWN, then as ``Decoder.use``.

        A number with another's name is refused as one that nobody has, after the same statements, so that nobody finds
        out who is on record.
        """
        await self.decoder.check_desk(visit.desk, now=now)
        async with self.cards.database.transaction() as connection:
            sealed = await people.sealed_holder_of(connection, self.cards.seals.blind_index(stated.certificate))
        claimed.psn_no = None if sealed is None else sealed.psn_no
        if sealed is None or not same_name(name_of(sealed, seals=self.cards.seals), stated.name):
            raise Failure(Kind.NOT_FOUND, "IDENTITY_CARD_UNKNOWN", field="identity_card")
        shown = self._shown(sealed.psn_no, visit, CertType.IDENTITY_CARD)
        return shown, await self.decoder.use(shown)

    def _shown(
        self,
        psn_no: PsnNo,
        visit: Visit,
        mdtrt_cert_type: CertType,
        *,
        jti: UUID | None = None,
        shown_by: PsnNo | None = None,
    ) -> Shown:
        token_jti = drawn_id(self.cards.randomness)
        agent = None
        if visit.agent is not None:
            agent = _sealed_agent(visit.agent, token_jti, self.cards.seals, self.cards.randomness)
        return Shown(
            psn_no=psn_no,
            jti=jti or token_jti,
            token_jti=token_jti,
            desk=visit.desk,
            mdtrt_cert_type=mdtrt_cert_type,
            business_type=visit.business_type,
            mdtrt_id=visit.mdtrt_id,
            shown_by=shown_by,
            agent=agent,
            trace_id=telemetry.trace_id(),
        )


def token_for(shown: Shown, *, now: datetime, lifetime: timedelta) -> EcToken:
    """The ecToken of what was shown, to be signed."""
    issued_at = now.replace(microsecond=0)
    return EcToken(
        psn_no=shown.psn_no,
        fixmedins_code=shown.desk.fixmedins_code,
        terminal_no=shown.desk.terminal_no,
        mdtrt_cert_type=shown.mdtrt_cert_type,
        business_type=shown.business_type,
        mdtrt_id=shown.mdtrt_id,
        jti=shown.token_jti,
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
    )


def drawn_id(randomness: Randomness) -> UUID:
    """Random throughout: a code's id tells nobody when or how many were issued."""
    return UUID(int=randomness.getrandbits(_UUID_BITS), version=4)


def _sealed_agent(agent: CertificateShown, token_jti: UUID, seals: Seals, randomness: Randomness) -> Sealed:
    stated = {
        "psn_cert_type": agent.certificate.kind.value,
        "certno": agent.certificate.number,
        "psn_name": agent.name,
    }
    return seals.seal(
        json.dumps(stated, ensure_ascii=False).encode(),
        place=agent_place(token_jti),
        nonce=new_bytes(randomness, NONCE_BYTES),
    )
