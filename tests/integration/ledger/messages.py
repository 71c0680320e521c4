"""Messages of the ledger's contract in few words."""

from __future__ import annotations

from gongji.ledger.v1 import ledger_pb2 as pb
from tests.unit.ledger.given import FUNDER, OWN, YEAR, authorisation, credit_id, payment


def own(past: int, *, leg_no: int = 1) -> pb.Leg:
    """A leg on the patient's own account."""
    kind = pb.ACCOUNT_KIND_PERSONAL
    return pb.Leg(leg_no=leg_no, psn_no=OWN.psn_no, account_kind=kind, role=pb.ROLE_OWN, past_fen=past, year=YEAR)


def odd(kind: pb.AccountKind.ValueType, role: pb.Role.ValueType, *, current: int = 0) -> pb.Leg:
    """A leg without an authorisation, of any kind and role."""
    psn_no = OWN.psn_no
    return pb.Leg(leg_no=1, psn_no=psn_no, account_kind=kind, role=role, past_fen=1, current_fen=current, year=YEAR)


def funder(past: int, *, leg_no: int = 1) -> pb.Leg:
    """A leg on a funder's account."""
    return pb.Leg(
        leg_no=leg_no,
        psn_no=FUNDER.psn_no,
        account_kind=pb.ACCOUNT_KIND_PERSONAL,
        role=pb.ROLE_FUNDER,
        past_fen=past,
        year=YEAR,
        authorisation_id=authorisation(1).bytes,
        floor_fen=10,
        floor_parts=[pb.PART_PAST],
    )


def trying(number: int, *legs: pb.Leg, inquire_after_ms: int = 60_000) -> pb.Command:
    """TRY."""
    memo = pb.Memo(fixmedins_code="H65050000003", setl_id="S1", care_area="650500")
    return pb.Command(
        try_command=pb.TryCommand(
            payment_id=payment(number).bytes, legs=legs, inquire_after_ms=inquire_after_ms, memo=memo
        )
    )


def confirming(number: int) -> pb.Command:
    """CONFIRM."""
    return pb.Command(confirm_command=pb.ConfirmCommand(payment_id=payment(number).bytes))


def crediting(number: int, psn_no: str, past: int) -> pb.Command:
    """A credit of past-year money."""
    leg = pb.CreditLeg(leg_no=1, psn_no=psn_no, account_kind=pb.ACCOUNT_KIND_PERSONAL, past_fen=past, year=YEAR)
    return pb.Command(
        credit_command=pb.CreditCommand(
            credit_id=credit_id(number).bytes, purpose=pb.CREDIT_PURPOSE_CARRIED_OVER, legs=[leg]
        )
    )


def putting(purpose: pb.CreditPurpose.ValueType, kind: pb.AccountKind.ValueType) -> pb.Command:
    """A credit of one fen for any purpose to any kind of account, without an original."""
    leg = pb.CreditLeg(leg_no=1, psn_no=OWN.psn_no, account_kind=kind, past_fen=1, year=YEAR)
    return pb.Command(credit_command=pb.CreditCommand(credit_id=credit_id(9).bytes, purpose=purpose, legs=[leg]))


def reading(*psn_nos: str) -> pb.Command:
    """A question for balances, and for the authorisation."""
    refs = [pb.AccountRef(psn_no=it, account_kind=pb.ACCOUNT_KIND_PERSONAL) for it in psn_nos]
    return pb.Command(
        read_balances_command=pb.ReadBalancesCommand(
            accounts=refs, authorisation_ids=[authorisation(1).bytes, authorisation(9).bytes]
        )
    )


def statement(psn_no: str, *, after: int = 0, entries_max: int = 10) -> pb.Command:
    """A question for a page of a statement."""
    ref = pb.AccountRef(psn_no=psn_no, account_kind=pb.ACCOUNT_KIND_PERSONAL)
    return pb.Command(
        read_statement_command=pb.ReadStatementCommand(account=ref, after_entry_no=after, entries_max=entries_max)
    )
