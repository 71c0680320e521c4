"""Everything that stands about a person in any table, as rows of the export's sections, sealed values still sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.store.arrays import any_of
from services.identity.tables.attestations import ATTESTATIONS
from services.identity.tables.cards import CARD_CHANGES, CARDS
from services.identity.tables.credentials import REFUSED_DECODINGS, USED_CODES
from services.identity.tables.kinship import KINSHIP_DECISIONS, KINSHIP_FACTS, REGISTRY_ROWS
from services.identity.tables.people import (
    ENROLMENT_CHANGES,
    ENROLMENTS,
    FORMER_CERTIFICATES,
    LOOKUPS,
    PERSON_CHANGES,
    PERSONS,
)
from services.identity.tables.rights import CORRECTIONS
from services.identity.tables.risk import (
    CREDENTIAL_REFUSALS,
    FUNDED_BILLS,
    PHARMACY_BUYS,
    RISK_EVENTS,
    RISK_EVIDENCE,
)
from services.identity.tables.sanctions import APPEALS, SANCTIONS
from services.identity.tables.wards import WARD_CHANGES, WARDS

Rows: TypeAlias = AsyncIterator[Mapping[str, object]]
Whose: TypeAlias = sa.ColumnElement[bool]
Query: TypeAlias = sa.Select[Any]

PAGE_SIZE: Final = 500
OPEN: Final = "OPEN"
_OTHERS: Final = PERSONS.alias("others")


async def rows(connection: AsyncConnection, section: str, psn_nos: Sequence[PsnNo]) -> Rows:
    """The rows of one section about one person under any of his numbers, out of a cursor: few are in memory at once.

    A row has the names of the section; sealed values stand as ``<name>_sealed`` with their ``key_id``.
    """
    statement = _QUERIES[section](any_of(psn_nos)).execution_options(yield_per=PAGE_SIZE)
    async with connection.stream(statement) as found:
        async for row in found:
            yield dict(row._mapping)  # noqa: SLF001  Its public name.


def _as(**columns: sa.ColumnElement[Any]) -> list[sa.Label[Any]]:
    return [column.label(name) for name, column in columns.items()]


def _person(whose: Whose) -> Query:
    table = PERSONS.c
    return sa.select(
        table.psn_no,
        table.certno_sealed,
        table.name_sealed.label("psn_name_sealed"),
        table.key_id,
        table.brdy,
        table.gend,
        table.death_date,
        *_as(
            psn_cert_type=table.certificate_kind, registered_time=table.registered_at, real_name_time=table.real_name_at
        ),
    ).where(table.psn_no == whose, table.merged_into.is_(None))


def _merged_numbers(whose: Whose) -> Query:
    return sa.select(PERSONS.c.psn_no).where(PERSONS.c.merged_into == whose).order_by(PERSONS.c.psn_no)


def _former_certificates(whose: Whose) -> Query:
    table = FORMER_CERTIFICATES.c
    return (
        sa.select(
            table.psn_no,
            table.certno_sealed,
            table.key_id,
            *_as(psn_cert_type=table.certificate_kind, until_time=table.until_at),
        )
        .where(table.psn_no == whose)
        .order_by(table.until_at)
    )


def _record_changes(whose: Whose) -> Query:
    table = PERSON_CHANGES.c
    return (
        sa.select(table.kind, table.fields, table.opter, table.cause, *_as(changed_time=table.changed_at))
        .where(table.psn_no == whose)
        .order_by(table.id)
    )


def _enrolments(whose: Whose) -> Query:
    table = ENROLMENTS.c
    return (
        sa.select(
            table.insutype,
            table.insuplc_admdvs,
            table.psn_insu_stas,
            table.psn_type,
            *_as(changed_time=table.changed_at),
        )
        .where(table.psn_no == whose)
        .order_by(table.psn_no, table.insutype)
    )


def _enrolment_history(whose: Whose) -> Query:
    table = ENROLMENT_CHANGES.c
    return (
        sa.select(
            table.insutype,
            table.insuplc_admdvs,
            table.psn_insu_stas,
            table.psn_type,
            *_as(changed_time=table.changed_at),
        )
        .where(table.psn_no == whose)
        .order_by(table.id)
    )


def _cards(whose: Whose) -> Query:
    table = CARDS.c
    return (
        sa.select(
            table.card_no_masked,
            table.state,
            table.activated_place,
            table.end_cause,
            *_as(issued_time=table.issued_at, activated_time=table.activated_at, ended_time=table.ended_at),
        )
        .where(table.psn_no == whose)
        .order_by(table.issued_at)
    )


def _card_changes(whose: Whose) -> Query:
    table = CARD_CHANGES.c
    return (
        sa.select(CARDS.c.card_no_masked, table.change, table.opter, table.cause, *_as(changed_time=table.changed_at))
        .join_from(CARD_CHANGES, CARDS)
        .where(CARDS.c.psn_no == whose)
        .order_by(table.id)
    )


def _credentials_used(whose: Whose) -> Query:
    table = USED_CODES.c
    return (
        sa.select(
            table.fixmedins_code,
            table.terminal_no,
            table.mdtrt_cert_type,
            table.business_type,
            table.mdtrt_id,
            *_as(
                used_time=table.used_at,
                shown_by_guardian=table.shown_by.is_not(None),
                with_agent=table.agent_sealed.is_not(None),
            ),
        )
        .where(table.psn_no == whose)
        .order_by(table.used_at)
    )


def _credentials_shown_for_wards(whose: Whose) -> Query:
    table = USED_CODES.c
    return (
        sa.select(
            table.fixmedins_code,
            table.terminal_no,
            *_as(used_time=table.used_at, other_name_masked=_OTHERS.c.name_masked),
        )
        .join_from(USED_CODES, _OTHERS, _OTHERS.c.psn_no == table.psn_no)
        .where(table.shown_by == whose, table.shown_by.is_not(None))
        .order_by(table.used_at)
    )


def _refused_credentials(whose: Whose) -> Query:
    table = REFUSED_DECODINGS.c
    return (
        sa.select(
            table.fixmedins_code,
            table.terminal_no,
            table.reason,
            table.refusals,
            *_as(first_time=table.first_at, last_time=table.last_at),
        )
        # The index leaves out those of nobody, and is used only where this is said.
        .where(table.psn_no == whose, table.psn_no != sa.literal_column("''"))
        .order_by(table.first_at)
    )


def _attestations(whose: Whose) -> Query:
    table = ATTESTATIONS.c
    return (
        sa.select(
            table.verifier_no,
            table.purpose,
            # The kind alone: behind it may stand a ward's number.
            *_as(
                used_for=sa.func.split_part(table.used_for, ":", 1),
                attested_time=table.attested_at,
                used_time=table.used_at,
            ),
        )
        .where(table.psn_no == whose)
        .order_by(table.attested_at)
    )


def _sided(table: sa.Table, own: str, other: str, whose: Whose, role: str, *columns: sa.ColumnElement[Any]) -> Query:
    """One side of rows that name two people: the own part, the other's masked name, and these columns."""
    return (
        sa.select(
            sa.literal_column(f"'{role}'").label("role"), _OTHERS.c.name_masked.label("other_name_masked"), *columns
        )
        .join_from(table, _OTHERS, _OTHERS.c.psn_no == table.c[other])
        .where(table.c[own] == whose)
    )


def _wards(whose: Whose) -> Query:
    added = WARDS.c.added_at.label("added_time")
    both = sa.union_all(
        _sided(WARDS, "guardian_psn_no", "ward_psn_no", whose, "GUARDIAN", added),
        _sided(WARDS, "ward_psn_no", "guardian_psn_no", whose, "WARD", added),
    ).subquery()
    return sa.select(both).order_by(both.c.added_time)


def _ward_changes(whose: Whose) -> Query:
    table = WARD_CHANGES.c
    columns = (table.id, table.change, table.changed_by, table.changed_at.label("changed_time"))
    both = sa.union_all(
        _sided(WARD_CHANGES, "guardian_psn_no", "ward_psn_no", whose, "GUARDIAN", *columns),
        _sided(WARD_CHANGES, "ward_psn_no", "guardian_psn_no", whose, "WARD", *columns),
    ).subquery()
    return _without(both, "id").order_by(both.c.id)


def _kinship_facts(whose: Whose) -> Query:
    table = KINSHIP_FACTS.c
    columns = (
        *(table.fact_id, table.kind, table.from_date, table.to_date, table.evidence, table.issued_on),
        *(table.expires_on, table.state, table.cause, table.finding, table.submitted_by),
        *_as(submitted_time=table.submitted_at, reviewed_time=table.reviewed_at),
    )
    both = sa.union_all(
        _sided(KINSHIP_FACTS, "psn_no", "other_psn_no", whose, "PERSON", *columns),
        _sided(KINSHIP_FACTS, "other_psn_no", "psn_no", whose, "OTHER", *columns),
    ).subquery()
    return sa.select(both).order_by(both.c.submitted_time, both.c.fact_id)


def _kinship_decisions(whose: Whose) -> Query:
    table, facts = KINSHIP_DECISIONS.c, KINSHIP_FACTS.c
    return (
        sa.select(
            table.fact_id, table.state, table.decider, table.opter, table.cause, *_as(decided_time=table.decided_at)
        )
        .join_from(KINSHIP_DECISIONS, KINSHIP_FACTS)
        .where(sa.or_(facts.psn_no == whose, facts.other_psn_no == whose))
        .order_by(table.id)
    )


def _registry_rows(whose: Whose) -> Query:
    """The registry knows certificates alone, as blind indexes: the person's present one and his former ones."""
    table, former = REGISTRY_ROWS.c, FORMER_CERTIFICATES.c
    own = sa.union_all(
        sa.select(PERSONS.c.certno_index).where(PERSONS.c.psn_no == whose, PERSONS.c.certno_index.is_not(None)),
        sa.select(former.certno_index).where(former.psn_no == whose),
    )
    columns = (
        table.id,
        table.kind,
        sa.case((table.kind == "MARRIED_TO", table.from_date)).label("from_date"),
        table.to_date,
        table.loaded_at.label("loaded_time"),
        table.loaded_by,
    )
    both = sa.union_all(
        *(
            sa.select(sa.literal_column(f"'{role}'").label("role"), *columns).where(table[index].in_(own))
            for index, role in (("a_index", "PERSON"), ("b_index", "OTHER"))
        )
    ).subquery()
    return _without(both, "id").order_by(both.c.id)


def _sanctions(whose: Whose) -> Query:
    table = SANCTIONS.c
    return (
        sa.select(
            table.decision_no,
            table.organ,
            table.basis_clause,
            table.lift_cause,
            *_as(
                from_time=table.from_at,
                to_time=table.to_at,
                imposed_time=table.imposed_at,
                lifted_time=table.lifted_at,
            ),
        )
        .where(table.psn_no == whose)
        .order_by(table.sanction_id)
    )


def _appeals(whose: Whose) -> Query:
    table = APPEALS.c
    return (
        sa.select(
            table.appeal_no,
            table.filed_on,
            table.state,
            table.decision_no,
            table.cause,
            *_as(against_decision_no=SANCTIONS.c.decision_no, decided_time=table.decided_at),
        )
        .join_from(APPEALS, SANCTIONS)
        .where(SANCTIONS.c.psn_no == whose)
        .order_by(table.appeal_id)
    )


def _risk_events(whose: Whose) -> Query:
    table = RISK_EVENTS.c
    return (
        sa.select(
            table.risk_event_id,
            table.kind,
            table.day,
            table.state,
            table.cause,
            *_as(raised_time=table.raised_at, decided_time=table.decided_at),
        )
        .where(table.psn_no == whose, table.state != OPEN)
        .order_by(table.risk_event_id)
    )


def _risk_evidence(whose: Whose) -> Query:
    table = RISK_EVIDENCE.c
    return (
        sa.select(
            table.risk_event_id,
            table.fixmedins_code,
            table.terminal_no,
            table.reason,
            table.setl_id,
            table.occurrences,
            table.distance_m,
            *_as(occurred_time=table.occurred_at),
        )
        .join_from(RISK_EVIDENCE, RISK_EVENTS)
        .where(RISK_EVENTS.c.psn_no == whose, RISK_EVENTS.c.state != OPEN)
        .order_by(table.risk_event_id, table.occurred_at)
    )


def _credential_refusals(whose: Whose) -> Query:
    table = CREDENTIAL_REFUSALS.c
    return (
        sa.select(
            table.fixmedins_code,
            table.terminal_no,
            table.reason,
            *_as(
                refused_time=table.refused_at, role=sa.case((table.patient_psn_no == whose, "PATIENT"), else_="SHOWN")
            ),
        )
        .where(sa.or_(table.patient_psn_no == whose, table.presented_psn_no == whose))
        .order_by(table.refused_at)
    )


def _pharmacy_buys(whose: Whose) -> Query:
    table = PHARMACY_BUYS.c
    return (
        sa.select(
            table.fixmedins_code,
            table.setl_id,
            *_as(settled_time=table.settled_at, role=sa.case((table.psn_no == whose, "FUNDER"), else_="PATIENT")),
        )
        .where(sa.or_(table.psn_no == whose, table.patient_psn_no == whose))
        .order_by(table.settled_at)
    )


def _funded_bills(whose: Whose) -> Query:
    table = FUNDED_BILLS.c
    return (
        sa.select(
            table.fixmedins_code,
            table.setl_id,
            *_as(settled_time=table.settled_at, role=sa.case((table.psn_no == whose, "FUNDER"), else_="PATIENT")),
        )
        .where(sa.or_(table.psn_no == whose, table.patient_psn_no == whose))
        .order_by(table.settled_at, table.setl_id)
    )


def _corrections(whose: Whose) -> Query:
    table = CORRECTIONS.c
    return (
        sa.select(
            table.correction_id,
            table.value_sealed,
            table.key_id,
            table.field,
            table.evidence,
            table.state,
            table.cause,
            *_as(
                psn_cert_type=table.certificate_kind, requested_time=table.requested_at, decided_time=table.decided_at
            ),
        )
        .where(table.psn_no == whose)
        .order_by(table.correction_id)
    )


def _lookups(whose: Whose) -> Query:
    table = LOOKUPS.c
    return (
        sa.select(table.purpose, table.asked_by, table.declared, *_as(looked_up_time=table.looked_up_at))
        .where(table.psn_no == whose)
        .order_by(table.id)
    )


def _without(rows: sa.Subquery, name: str) -> Query:
    return sa.select(*(column for column in rows.c if column.key != name))


_QUERIES: Final[Mapping[str, Callable[[Whose], Query]]] = MappingProxyType(
    {
        query.__name__.removeprefix("_"): query
        for query in (
            *(_person, _merged_numbers, _former_certificates, _record_changes, _enrolments, _enrolment_history),
            *(_cards, _card_changes, _credentials_used, _credentials_shown_for_wards, _refused_credentials),
            *(_attestations, _wards, _ward_changes, _kinship_facts, _kinship_decisions, _registry_rows),
            *(_sanctions, _appeals, _risk_events, _risk_evidence, _credential_refusals, _pharmacy_buys),
            _funded_bills,
            *(_corrections, _lookups),
        )
    }
)
