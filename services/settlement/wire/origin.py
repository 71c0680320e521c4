"""What a ledger keeps of a payment for its coordinator: enough to make the coordinator's row anew after a restore.

The ledger never reads it. The payment's first ledger keeps the plan too, from which the terminal's answer follows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg, leg_document, leg_of
from services.settlement.saga.payment import Payment, PaymentKind

_VERSION: Final = 1
_FAST: Final = 1
_WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5
"""Of zlib, for documents of few KiB: it is done for each payment, and most of the time would go into clearing the
quarter of a MiB that zlib takes for long ones."""
BYTES_MAX: Final = 8_192
"""As the contract says; a longer one is left out rather than the payment."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A coordinator's row as far as it was fixed when the payment began; ``plan`` is None where it is not kept."""

    kind: PaymentKind
    key: Key
    request_hash: bytes
    psn_no: PsnNo
    year: int
    legs: tuple[PlanLeg, ...]
    plan_id: PlanId | None
    original_id: PaymentId | None
    created_at: datetime | None
    plan: Mapping[str, Any] | None

    @property
    def areas(self) -> tuple[AdmDvs, ...]:
        """The payment's ledgers, in the order of its legs."""
        return tuple(dict.fromkeys(leg.area for leg in self.legs))


def origin_of(payment: Payment, area: AdmDvs, plan: Mapping[str, Any] | None) -> bytes:
    """What this ledger shall keep; empty if it would be longer than BYTES_MAX."""
    document: dict[str, Any] = {
        "v": _VERSION,
        "kind": payment.kind.value,
        "key": list(payment.key),
        "hash": payment.request_hash.hex(),
        "psn": payment.psn_no,
        "year": payment.year,
        "plan_id": None if payment.plan_id is None else str(payment.plan_id),
        "original": None if payment.original_id is None else str(payment.original_id),
        "created": None if payment.created_at is None else payment.created_at.isoformat(),
    }
    if plan is not None and area == payment.areas[0]:
        document["plan"] = plan
    else:
        document["legs"] = [leg_document(leg) for leg in payment.legs] if plan is None else plan["legs"]
    compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    packed = compressor.compress(orjson.dumps(document)) + compressor.flush()
    return packed if len(packed) <= BYTES_MAX else b""


def origin_in(packed: bytes) -> Origin | None:
    """What was kept; None if nothing was, or by a release that this one does not know."""
    if not packed:
        return None
    document = orjson.loads(zlib.decompress(packed))
    if document["v"] != _VERSION:
        return None
    plan = document.get("plan")
    legs = document["legs"] if plan is None else plan["legs"]
    return Origin(
        kind=PaymentKind(document["kind"]),
        key=Key(*document["key"]),
        request_hash=bytes.fromhex(document["hash"]),
        psn_no=PsnNo(document["psn"]),
        year=document["year"],
        legs=tuple(leg_of(leg) for leg in legs),
        plan_id=None if document["plan_id"] is None else PlanId(UUID(document["plan_id"])),
        original_id=None if document["original"] is None else PaymentId(UUID(document["original"])),
        created_at=None if document["created"] is None else datetime.fromisoformat(document["created"]),
        plan=plan,
    )
