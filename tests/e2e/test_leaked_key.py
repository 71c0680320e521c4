"""A signing key leaked and was ended: settlement takes nothing that it signed, and bills are paid on (domain §1)."""

from __future__ import annotations

from typing import Final

from joserfc import jws

from gongji.identity.v1 import credentials_pb2
from tests.e2e.test_sanctions_in_force import BY_NATS_MAX_S, AtTheDesk
from tests.e2e.town import Town

REFUSED: Final = [("", "EC_TOKEN_INVALID")]


def key_of(desk: AtTheDesk) -> str:
    """The key that signed the token of this visit."""
    return str(jws.extract_compact(desk.visit.ec_token.encode()).headers()["kid"])


async def test_an_ended_keys_tokens_are_refused_within_a_second_and_the_next_ones_count(town: Town) -> None:
    """The visit's own token, good a moment before, is refused for good; shown anew, the patient is planned for."""
    family = await town.couple()
    desk = await AtTheDesk.of(town, family)
    assert await desk.says() == []
    leaked = key_of(desk)
    await town.desks.credentials.EndSigningKey(
        credentials_pb2.EndSigningKeyRequest(kid=leaked, opter="zhang01", cause="备份介质遗失")
    )
    assert await desk.seconds_until(lambda told: told == REFUSED) < BY_NATS_MAX_S
    again = await AtTheDesk.of(town, family)
    assert key_of(again) != leaked
    assert await again.seconds_until(lambda told: told == []) < BY_NATS_MAX_S
    assert await desk.says() == REFUSED
