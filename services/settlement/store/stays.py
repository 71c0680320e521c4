"""Which settlements belong to which stay in hospital, told when each begins; what became of them, its payment says."""

from __future__ import annotations

from typing import Any, Final

from kernel.ids import PaymentId, PsnNo
from services.settlement.domain.stay import StayPart

_STANDING: Final = """p.state IN ('TRYING', 'COMMITTED', 'DONE')
    AND (SELECT r.payment_id FROM payments r WHERE r.original_id = p.payment_id) IS NULL"""
"""One question for each part: as NOT EXISTS it would be a join, planned over all refunds (ADR 16)."""
_PARTS: Final = f"""
SELECT s.payment_id, s.interim, p.state = 'TRYING' AS undecided
FROM stay_settlements s JOIN payments p ON p.payment_id = ANY (ARRAY[s.payment_id])
WHERE s.psn_no = $1 AND s.fixmedins_code = $2 AND s.mdtrt_id = $3 AND {_STANDING}
ORDER BY p.created_at, p.payment_id"""  # noqa: S608  Constants.
_PARTS_BESIDE: Final = f"""
SELECT s.payment_id, s.interim, p.state = 'TRYING' AS undecided
FROM stay_settlements of_it
JOIN stay_settlements s ON s.psn_no = ANY (ARRAY[of_it.psn_no]) AND s.fixmedins_code = of_it.fixmedins_code
    AND s.mdtrt_id = of_it.mdtrt_id
JOIN payments p ON p.payment_id = ANY (ARRAY[s.payment_id])
WHERE of_it.payment_id = $1 AND {_STANDING}
ORDER BY p.created_at, p.payment_id"""  # noqa: S608  Constants.

_RECORD: Final = """
INSERT INTO stay_settlements (payment_id, psn_no, fixmedins_code, mdtrt_id, interim)
SELECT p.payment_id, l.psn_no, l.fixmedins_code, l.document #>> '{visit,mdtrt_id}',
       coalesce((l.document #>> '{facts,interim}')::boolean, false)
FROM payments p JOIN plans l ON l.plan_id = ANY (ARRAY[p.plan_id])
WHERE p.payment_id = $1 AND p.kind = 'SETTLE' AND p.infno = '2304' AND l.document #>> '{visit,mdtrt_id}' <> ''
ON CONFLICT DO NOTHING"""


async def record(connection: Any, payment_id: PaymentId) -> None:  # noqa: ANN401  Untyped driver.
    """The stay of a settlement that was made anew, as its plan says; none where no ledger had kept its plan."""
    await connection.execute(_RECORD, payment_id)


async def parts_of(
    connection: Any,  # noqa: ANN401  Untyped driver.
    *,
    patient: PsnNo,
    fixmedins_code: str,
    mdtrt_id: str,
) -> list[StayPart]:
    """What stands of a stay's settlements, in the order in which they began."""
    return [_part(row) for row in await connection.fetch(_PARTS, patient, fixmedins_code, mdtrt_id)]


async def parts_beside(connection: Any, payment_id: PaymentId) -> list[StayPart]:  # noqa: ANN401  Untyped driver.
    """The same of the stay that this settlement belongs to; none if it belongs to none."""
    return [_part(row) for row in await connection.fetch(_PARTS_BESIDE, payment_id)]


def _part(row: Any) -> StayPart:  # noqa: ANN401  Untyped driver.
    return StayPart(PaymentId(row["payment_id"]), interim=row["interim"], undecided=row["undecided"])
