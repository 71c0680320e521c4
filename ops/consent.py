"""What every command that changes something has in common: who asks and why, the question, the audit record."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import typer

Reason = Annotated[str, typer.Option(help="Why, for the audit record; asked for when left out.")]
Operator = Annotated[str, typer.Option(help="Who, for the audit record; else the account of this machine.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation; needs --reason.")]

_RECORD: Final = """
    INSERT INTO operator_actions (operator, command, subject_id, reason, change)
    SELECT $1, $2, q.subject_id, $3, q.change::jsonb FROM unnest($4::uuid[], $5::text[]) AS q (subject_id, change)"""


class NotAgreedError(Exception):
    """Nothing was changed, and the message says why."""


@dataclass(frozen=True, slots=True)
class Consent:
    """Who changes something, and why; given once what will change has been shown."""

    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed of one payment, credit or run: before and after, by name, as the audit record keeps it."""

    subject_id: UUID
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def agreed(*, operator: str, reason: str, yes: bool, question: str = "Change it?") -> Consent:
    """The operator's consent; NotAgreedError if he does not give it, or nobody can be asked."""
    who, why = operator.strip() or getpass.getuser(), reason.strip()
    if yes:
        if not why:
            raise NotAgreedError("--yes needs --reason: the audit record says why")
        return Consent(who, why)
    if not sys.stdin.isatty():
        raise NotAgreedError("nobody can be asked here: give --yes and --reason")
    while not why:
        why = str(typer.prompt("Why (for the audit record)")).strip()
    if not typer.confirm(question):
        raise NotAgreedError("nothing was changed")
    return Consent(who, why)


async def record(connection: Any, command: str, consent: Consent, changes: Sequence[Change]) -> None:  # noqa: ANN401  Untyped driver.
    """Adds the audit records, in the connection's transaction if it has one."""
    await connection.execute(
        _RECORD,
        consent.operator,
        command,
        consent.reason,
        [change.subject_id for change in changes],
        [json.dumps({"before": dict(change.before), "after": dict(change.after)}) for change in changes],
    )
