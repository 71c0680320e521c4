"""Certificates that took the place of others; those of earlier times go on finding their person."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import violated_constraint
from kernel.ids import PsnNo
from services.identity.domain.certificate import CertificateKind
from services.identity.domain.sealing import Sealed
from services.identity.tables.people import FORMER_CERTIFICATES, PERSONS


@dataclass(frozen=True, slots=True)
class FormerCertificate:
    """A certificate that goes on finding its person."""

    certno_index: bytes = field(repr=False)
    kind: CertificateKind
    certno: Sealed = field(repr=False)
    until_at: datetime


async def former_certificates(connection: AsyncConnection, psn_no: PsnNo) -> list[FormerCertificate]:
    """A person's certificates of earlier times, oldest first."""
    rows = await connection.execute(
        sa.select(FORMER_CERTIFICATES)
        .where(FORMER_CERTIFICATES.c.psn_no == psn_no)
        .order_by(FORMER_CERTIFICATES.c.until_at, FORMER_CERTIFICATES.c.certno_index)
    )
    return [
        FormerCertificate(
            row.certno_index, CertificateKind(row.certificate_kind), Sealed(row.key_id, row.certno_sealed), row.until_at
        )
        for row in rows
    ]


async def put_former(connection: AsyncConnection, psn_no: PsnNo, former: FormerCertificate) -> None:
    """Keeps a certificate among this person's former ones, whosever it was before."""
    row = {
        "psn_no": psn_no,
        "certificate_kind": former.kind.value,
        "certno_sealed": former.certno.content,
        "key_id": former.certno.key_id,
        "until_at": former.until_at,
    }
    statement = insert(FORMER_CERTIFICATES).values(certno_index=former.certno_index, **row)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[FORMER_CERTIFICATES.c.certno_index], set_=row)
    )


async def former_holder(connection: AsyncConnection, certno_index: bytes, *, lock: bool = False) -> PsnNo | None:
    """Whose former certificate it is."""
    statement = sa.select(FORMER_CERTIFICATES.c.psn_no).where(FORMER_CERTIFICATES.c.certno_index == certno_index)
    found = await connection.scalar(statement.with_for_update() if lock else statement)
    return None if found is None else PsnNo(found)


async def delete_former(connection: AsyncConnection, certno_index: bytes) -> None:
    """Takes a certificate from among the former ones: it is the present one again."""
    await connection.execute(sa.delete(FORMER_CERTIFICATES).where(FORMER_CERTIFICATES.c.certno_index == certno_index))


async def certno_index_of(connection: AsyncConnection, psn_no: PsnNo) -> bytes | None:
    """The blind index of the person's present certificate; None for a merged double."""
    found: bytes | None = await connection.scalar(sa.select(PERSONS.c.certno_index).where(PERSONS.c.psn_no == psn_no))
    return found


async def save_certificate(
    connection: AsyncConnection, psn_no: PsnNo, kind: CertificateKind, certno_index: bytes
) -> bool:
    """Whether the certificate is the person's present one now: False, with nothing written, if it is somebody else's.

    Waits for whoever is registering it or replacing it at the same time. The sealed number is written with the name.
    """
    savepoint = await connection.begin_nested()
    try:
        await connection.execute(
            sa.update(PERSONS)
            .where(PERSONS.c.psn_no == psn_no)
            .values(certificate_kind=kind.value, certno_index=certno_index)
        )
    except sa.exc.IntegrityError as error:
        await savepoint.rollback()
        if violated_constraint(error) != "persons_certificate":
            raise
        return False
    # The update waited for whoever was just replacing this certificate, so this statement sees what he did.
    if await former_holder(connection, certno_index) is not None:
        await savepoint.rollback()
        return False
    await savepoint.commit()
    return True
