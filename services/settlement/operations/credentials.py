"""Who stands at the desk, by the tokens that identity signed: the patient, and whoever fetches the medicine for him."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kernel.failures import Failure, Kind
from services.settlement.domain.credential import (
    AGENT_FIELD,
    Claims,
    SigningKey,
    check_agent,
    key_id_of,
    token_digest,
    verified_claims,
)
from services.settlement.domain.plan import VisitFacts
from services.settlement.domain.visit import Presented
from services.settlement.store import projections as projected


@dataclass(frozen=True, slots=True)
class Agent:
    """代买药: what a token says of the agent; it is judged once the patient is known to stand there."""

    claims: Claims
    name_masked: str
    token_digest: str

    def check(self, visit: Presented, *, now: datetime) -> None:
        """Failures: those of ``check_agent``."""
        check_agent(
            self.claims,
            patient=visit.psn_no,
            fixmedins_code=visit.fixmedins_code,
            terminal_no=visit.terminal_no,
            mdtrt_id=visit.mdtrt_id,
            now=now,
        )

    def noted_in(self, facts: VisitFacts) -> VisitFacts:
        """The facts with who it was, and the evidence."""
        return replace(
            facts,
            agent_psn_no=self.claims.psn_no,
            agent_name_masked=self.name_masked,
            agent_token_digest=self.token_digest,
        )


def signed_claims(token: str, key: SigningKey | None, *, now: datetime) -> Claims:
    """What the token says, signed by a key that identity announced; EC_TOKEN_INVALID otherwise."""
    if key is None:
        raise Failure(Kind.UNAUTHENTICATED, "EC_TOKEN_INVALID", because="an unknown key")
    return verified_claims(token, key, now=now)


async def agent_of(connection: Any, token: str, *, now: datetime) -> Agent:  # noqa: ANN401  Untyped driver.
    """Who fetches the medicine; as ``signed_claims``, with the field that is meant."""
    try:
        claims = signed_claims(token, await projected.find_signing_key(connection, key_id_of(token)), now=now)
    except Failure as refusal:
        raise Failure(refusal.kind, refusal.reason, **{**refusal.metadata, "field": AGENT_FIELD}) from None
    known = (await projected.people(connection, [claims.psn_no], now=now)).get(claims.psn_no)
    return Agent(claims, "" if known is None else known.name_masked, token_digest(token))
