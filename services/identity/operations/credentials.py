"""What the patient shows at the desk, judged by itself: a code, a card, an identity card; and codes for one's phone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, assert_never
from uuid import UUID

from chassis import telemetry
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from kernel.values import value
from services.identity.domain.certificate import Certificate, Sex
from services.identity.domain.credential import (
    CODE_TYPE,
    EC_TOKEN_TYPE,
    CertType,
    Code,
    EcToken,
    checked_code,
    code_claims,
    ec_token_claims,
    new_code,
)
from services.identity.domain.decoding import (
    CardShown,
    CertificateShown,
    CodeShown,
    Presented,
    Shown,
    Visit,
    agent_place,
)
from services.identity.domain.holder import check_holder
from services.identity.domain.name import same_name
from services.identity.domain.person import Person
from services.identity.domain.sealing import NONCE_BYTES, Sealed, Seals
from services.identity.operations import lookups
from services.identity.operations.cards import CardRoom, holder_of, try_pin
from services.identity.operations.drawn import new_bytes
from services.identity.operations.sealed import name_of
from services.identity.operations.signing_keys import SigningKeys
from services.identity.operations.wards import check_shows
from services.identity.store import people
from services.identity.store.holders import find_holder
from services.identity.store.people import SealedPerson

ISSUED: Final = "CODE_ISSUED"
"""The purpose in the audit, where it was refused: a code that is issued shows nobody."""
_UUID_BITS: Final = 128


@value
class Decoded:
    """What a desk gets: the ecToken, whose it is, and by what he showed it."""

    expires_at: datetime
    person: Person
    mdtrt_cert_type: CertType
    ec_token: str = field(repr=False)


async def issue_code(
    *,
    database: Database,
    keys: SigningKeys,
    psn_no: PsnNo,
    guardian: PsnNo | None,
    lifetime_s: int,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> tuple[str, Code]:
    """A code, signed. Refusals as ``KeyRing.signer``; as ``check_holder``, for a guardian's phone ``check_shows``."""
    signer = keys.ring.signer(now=now)
    async with lookups.refusals_on_record(database, purpose=ISSUED, asked_by=asked_by, now=now) as met:
        met.add(psn_no)
        if guardian is None:
            async with database.driver_connection() as connection:
                check_holder(await find_holder(connection, psn_no))
        else:
            await check_shows(database=database, guardian=guardian, ward=psn_no, now=now)
    code = new_code(psn_no, jti=_drawn_id(randomness), now=now, lifetime_s=lifetime_s, shown_by=guardian)
    return signer.sign(code_claims(code), as_type=CODE_TYPE), code


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a desk shows us, each time exchanged for a token; one for each replica."""

    cards: CardRoom
    keys: SigningKeys
    ec_token_lifetime: timedelta

    async def decode(self, presented: Presented, visit: Visit, *, now: datetime) -> Decoded:
        """What the patient shows, exchanged for this visit's ecToken; a refusal that may be misuse is kept.

        Refusals of a code: as ``SigningKeys.ring_for``, ``KeyRing.signer``, ``KeyRing.verify``, ``checked_code``; of a
        card: as ``KeyRing.signer``, ``check_desk``, ``try_pin``; of an identity card: as ``KeyRing.signer``,
        ``check_desk``, IDENTITY_CARD_UNKNOWN. Then as ``Decoder.use``.
        """
        decoder = self.cards.decoder
        psn_no, jti = None, None  # Whose it claims to be and which code, as far as that is known when it is refused.
        try:
            ring = await self.keys.ring_for(presented.code) if isinstance(presented, CodeShown) else self.keys.ring
            signer = ring.signer(now=now)  # Before a code is used up, or a PIN tried, for what it shall sign.
            match presented:
                case CodeShown():
                    signed = ring.verify(presented.code, now=now)
                    if signed.type == CODE_TYPE:
                        psn_no, jti = PsnNo(signed.claims["sub"]), UUID(signed.claims["jti"])
                    code = checked_code(signed.type, signed.claims, now=now)
                    shown = self._shown(code.psn_no, visit, CertType.CODE, jti=code.jti, shown_by=code.shown_by)
                case CardShown():
                    await decoder.check_desk(visit.desk, now=now)
                    psn_no = await holder_of(self.cards, card_no=presented.card_no)
                    card = await try_pin(self.cards, card_no=presented.card_no, pin=presented.pin)
                    shown = self._shown(card.psn_no, visit, CertType.CARD)
                case CertificateShown():
                    await decoder.check_desk(visit.desk, now=now)
                    sealed = await self._sealed_holder(presented.certificate)
                    psn_no = None if sealed is None else sealed.psn_no
                    shown = self._shown(self._named(sealed, presented.name), visit, CertType.IDENTITY_CARD)
                case _:
                    assert_never(presented)
            person = await decoder.use(shown)
        except Failure as failure:
            await decoder.keep_refused(failure, visit.desk, psn_no=psn_no, jti=jti)
            raise
        token = _token_for(shown, person.sex, now=now, lifetime=self.ec_token_lifetime)
        ec_token = signer.sign(ec_token_claims(token), as_type=EC_TOKEN_TYPE)
        return Decoded(token.expires_at, person, shown.mdtrt_cert_type, ec_token)

    async def _sealed_holder(self, certificate: Certificate) -> SealedPerson | None:
        async with self.cards.database.transaction() as connection:
            return await people.sealed_holder_of(connection, self.cards.seals.blind_index(certificate))

    def _named(self, sealed: SealedPerson | None, name: str) -> PsnNo:
        """The holder, if that is his name.

        A number with another's name is refused as one that nobody has, after the same statements, so that nobody finds
        out who is on record.
        """
        if sealed is None or not same_name(name_of(sealed, seals=self.cards.seals), name):
            raise Failure(Kind.NOT_FOUND, "IDENTITY_CARD_UNKNOWN", field="identity_card")
        return sealed.psn_no

    def _shown(
        self,
        psn_no: PsnNo,
        visit: Visit,
        mdtrt_cert_type: CertType,
        *,
        jti: UUID | None = None,
        shown_by: PsnNo | None = None,
    ) -> Shown:
        token_jti = _drawn_id(self.cards.randomness)
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


def _token_for(shown: Shown, sex: Sex, *, now: datetime, lifetime: timedelta) -> EcToken:
    issued_at = now.replace(microsecond=0)
    return EcToken(
        psn_no=shown.psn_no,
        fixmedins_code=shown.desk.fixmedins_code,
        terminal_no=shown.desk.terminal_no,
        mdtrt_cert_type=shown.mdtrt_cert_type,
        business_type=shown.business_type,
        mdtrt_id=shown.mdtrt_id,
        sex=sex,
        jti=shown.token_jti,
        issued_at=issued_at,
        expires_at=issued_at + lifetime,
    )


def _drawn_id(randomness: Randomness) -> UUID:
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
