"""Channels to the services of a running system, with every stub a person's app, a counter or a batch job uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from chassis.rpc.client import CALL_TIMEOUT_S, channel
from gongji.family.v1 import family_pb2_grpc, groups_pb2_grpc, uses_pb2_grpc
from gongji.identity.v1 import (
    attestations_pb2_grpc,
    credentials_pb2_grpc,
    identity_pb2_grpc,
    institutions_pb2_grpc,
    kinship_pb2_grpc,
    rights_pb2_grpc,
    sanctions_pb2_grpc,
)
from gongji.notify.v1 import notify_pb2_grpc
from gongji.settlement.v1 import (
    account_pb2_grpc,
    claims_pb2_grpc,
    premiums_pb2_grpc,
    settlement_pb2_grpc,
    wallets_pb2_grpc,
)
from kernel.callers import Caller


@dataclass(frozen=True, slots=True)
class Desks:
    """One stub for each service; calls raise the other side's ``Failure``."""

    identity: identity_pb2_grpc.IdentityServiceAsyncStub
    credentials: credentials_pb2_grpc.CredentialServiceAsyncStub
    attestations: attestations_pb2_grpc.AttestationServiceAsyncStub
    kinship: kinship_pb2_grpc.KinshipServiceAsyncStub
    sanctions: sanctions_pb2_grpc.SanctionServiceAsyncStub
    institutions: institutions_pb2_grpc.InstitutionServiceAsyncStub
    rights: rights_pb2_grpc.RightsServiceAsyncStub
    family: family_pb2_grpc.FamilyServiceAsyncStub
    groups: groups_pb2_grpc.GroupServiceAsyncStub
    uses: uses_pb2_grpc.UseServiceAsyncStub
    settlement: settlement_pb2_grpc.SettlementServiceAsyncStub
    accounts: account_pb2_grpc.AccountServiceAsyncStub
    wallets: wallets_pb2_grpc.WalletServiceAsyncStub
    premiums: premiums_pb2_grpc.PremiumServiceAsyncStub
    claims: claims_pb2_grpc.ClaimServiceAsyncStub
    notify: notify_pb2_grpc.NotifyServiceAsyncStub


@asynccontextmanager
async def desks_at(
    address_of: Callable[[str], str], *, caller: Caller, call_timeout_s: float = CALL_TIMEOUT_S
) -> AsyncIterator[Desks]:
    """Opens a channel to each service, ``address_of`` its name, and closes them all at the end.

    Every call says that it comes from ``caller``, which is kept with the look-ups it causes, and is given
    ``call_timeout_s`` unless it names another.
    """
    async with AsyncExitStack() as stack:
        identity, family, settlement, notify = [
            await stack.enter_async_context(channel(address_of(name), caller=caller, call_timeout_s=call_timeout_s))
            for name in ("identity", "family", "settlement", "notify")
        ]
        yield Desks(
            identity=identity_pb2_grpc.IdentityServiceStub(identity),
            credentials=credentials_pb2_grpc.CredentialServiceStub(identity),
            attestations=attestations_pb2_grpc.AttestationServiceStub(identity),
            kinship=kinship_pb2_grpc.KinshipServiceStub(identity),
            sanctions=sanctions_pb2_grpc.SanctionServiceStub(identity),
            institutions=institutions_pb2_grpc.InstitutionServiceStub(identity),
            rights=rights_pb2_grpc.RightsServiceStub(identity),
            family=family_pb2_grpc.FamilyServiceStub(family),
            groups=groups_pb2_grpc.GroupServiceStub(family),
            uses=uses_pb2_grpc.UseServiceStub(family),
            settlement=settlement_pb2_grpc.SettlementServiceStub(settlement),
            accounts=account_pb2_grpc.AccountServiceStub(settlement),
            wallets=wallets_pb2_grpc.WalletServiceStub(settlement),
            premiums=premiums_pb2_grpc.PremiumServiceStub(settlement),
            claims=claims_pb2_grpc.ClaimServiceStub(settlement),
            notify=notify_pb2_grpc.NotifyServiceStub(notify),
        )
