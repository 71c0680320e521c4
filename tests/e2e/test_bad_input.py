"""Bad input of every sort: each has the name of its refusal, and nothing of it is stored anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

import grpc
import pytest

from chassis.db import Database
from gongji.identity.v1 import credentials_pb2, identity_pb2, institutions_pb2, person_pb2
from gongji.settlement.v1 import account_pb2, settlement_pb2_grpc
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.failures import TerminalRefusal, failure_of
from gongji_terminal.msgid import next_msgid
from kernel.failures import Failure
from kernel.ids import FixmedinsCode
from services.identity.domain.credential import CODE_TYPE, code_claims, new_code
from services.identity.domain.sealing import Seals
from services.identity.operations.secrets_file import read_secrets
from services.identity.operations.signing_keys import current_ring
from tests.e2e import asking
from tests.e2e.asking import new_key
from tests.e2e.left_behind import LEFT, Rows
from tests.e2e.town import HOSPITAL, OTHER_HOSPITAL, OUTPATIENT, PHARMACY, Family, Town, new_resident

UNKNOWN_HOSPITAL: Final = FixmedinsCode("H65010099999")
N16_2_MAX_FEN: Final = 10**16 - 1
MEBIBYTE: Final = 1 << 20
MDTRT_ID: Final = "BAD1"


@dataclass
class Desk:
    """A town with one family before the counter, one plan of theirs, and one bill paid."""

    town: Town
    family: Family
    token: str
    plan: pb.Plan
    settled: pb.SettleRequest

    def visit(self, **changed: Any) -> pb.PreSettleRequest:  # noqa: ANN401  Any field of the request.
        """A good request for a plan, with some fields changed; ``bill`` stands for changed amounts."""
        amounts = {"medfee_sumamt": 1_000, "inscp_scp_amt": 1_000, **changed.pop("bill", {})}
        fields = {
            "fixmedins_code": HOSPITAL,
            "infno": pb.INFNO_2206,
            "terminal_no": "T01",
            "psn_no": self.family.patient.psn_no,
            "ec_token": self.token,
            "mdtrt_id": MDTRT_ID,
            "bill": pb.Bill(med_type=OUTPATIENT, **amounts),
        }
        return pb.PreSettleRequest(**{**fields, **changed})

    async def pre_settle(self, **changed: Any) -> object:  # noqa: ANN401  As above.
        """The request, sent."""
        return await self.town.desks.settlement.PreSettle(self.visit(**changed))

    async def settle(self, **changed: Any) -> object:  # noqa: ANN401  As above.
        """The plan paid, with some fields of the request changed."""
        request = asking.settle(self.plan)
        for name, value in changed.items():
            if isinstance(value, pb.RequestKey):
                request.key.CopyFrom(value)
            else:
                setattr(request, name, value)
        return await self.town.desks.settlement.Settle(request)

    async def decode(self, code: str, *, at: FixmedinsCode = HOSPITAL) -> object:
        """A code shown at a terminal."""
        return await self.town.desks.credentials.DecodeCredential(
            credentials_pb2.DecodeCredentialRequest(
                code=code, fixmedins_code=at, terminal_no="T01", business_type="01301", mdtrt_id=MDTRT_ID
            )
        )


@pytest.fixture(scope="module")
async def desk(town: Town) -> Desk:
    """Everything a bad request needs to be good but for one thing."""
    await town.desks.institutions.RegisterTerminal(
        institutions_pb2.RegisterTerminalRequest(
            fixmedins_code=HOSPITAL, terminal_no="T02", terminal_name="02号窗口", opter="cashier02"
        )
    )
    await town.desks.institutions.SignIn(
        institutions_pb2.SignInRequest(fixmedins_code=HOSPITAL, terminal_no="T02", opter="cashier02")
    )
    family = await town.couple()
    patient = family.patient.psn_no
    settled = asking.settle(await town.planned(family, 500))
    await town.desks.settlement.Settle(settled)
    await town.at_rest()
    plan = await town.planned(family, 700)
    token = await town.hospital.decode(patient, mdtrt_id=MDTRT_ID)
    await town.told()
    return Desk(town, family, token, plan, settled)


Bad: TypeAlias = Callable[[Desk], Awaitable[object]]


async def expired_code(desk: Desk) -> object:
    """A code that identity itself signed two minutes ago."""
    now = datetime.now(UTC)
    world = desk.town.world
    async with Database(world.database_url("identity"), application="test", pool_size=1) as database:
        ring = await current_ring(
            database=database,
            seals=Seals(read_secrets(world.folder / "secrets" / "identity.json")),
            lifetime=timedelta(days=90),
            overlap=timedelta(hours=1),
            now=now,
            randomness=Random(1),
        )
    code = new_code(desk.family.patient.psn_no, jti=uuid4(), now=now - timedelta(minutes=2), lifetime_s=60)
    return await desk.decode(ring.signer(now=now).sign(code_claims(code), as_type=CODE_TYPE))


async def used_code(desk: Desk) -> object:
    """The code the patient's token came from, shown once more."""
    (code,) = [secret for secret in USED_CODES if secret]
    return await desk.decode(code)


USED_CODES: Final[list[str]] = []


async def forged_code(desk: Desk) -> object:
    """A good code with another signature."""
    head, _, signature = USED_CODES[0].rpartition(".")
    return await desk.decode(f"{head}.{signature[::-1]}")


async def funders_code(desk: Desk) -> object:
    """The token of a funder's own code, used for the patient."""
    return await desk.pre_settle(ec_token=TOKENS["funder"])


TOKENS: Final[dict[str, str]] = {}


async def without_deadline(desk: Desk) -> object:
    """A call that would wait for ever."""
    async with grpc.aio.insecure_channel(desk.town.world.address("settlement")) as bare:
        try:
            return await settlement_pb2_grpc.SettlementServiceStub(bare).PreSettle(desk.visit())
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None


async def not_a_message(desk: Desk) -> object:
    """Bytes that are no request."""
    async with grpc.aio.insecure_channel(desk.town.world.address("settlement")) as bare:
        call = bare.unary_unary("/gongji.settlement.v1.SettlementService/Settle", bytes, bytes)
        try:
            return await call(b"\xff\xff\xff", timeout=60)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None


def msgid_of(made_at: datetime) -> pb.RequestKey:
    """A key whose msgid says it was made then."""
    return pb.RequestKey(fixmedins_code=HOSPITAL, infno=pb.INFNO_2207, msgid=next_msgid(HOSPITAL, 91, now=made_at))


def key_with(**changed: Any) -> pb.RequestKey:  # noqa: ANN401  Any field of the key.
    """A fresh key with some fields changed."""
    key = new_key()
    for name, value in changed.items():
        setattr(key, name, value)
    return key


async def _no_bill(desk: Desk) -> object:
    request = desk.visit()
    request.ClearField("bill")
    return await desk.town.desks.settlement.PreSettle(request)


BILLS: Final[dict[str, tuple[str, Bad]]] = {
    "a bill that does not add up": ("BILL_DOES_NOT_ADD_UP", lambda d: d.pre_settle(bill={"medfee_sumamt": 1_001})),
    "a negative amount": ("REQUEST_INVALID", lambda d: d.pre_settle(bill={"preselfpay_amt": -1})),
    "an amount above N16,2": ("REQUEST_INVALID", lambda d: d.pre_settle(bill={"medfee_sumamt": N16_2_MAX_FEN + 1})),
    "parts whose sum is above N16,2": (
        "BILL_DOES_NOT_ADD_UP",
        lambda d: d.pre_settle(
            bill=dict.fromkeys(("medfee_sumamt", "inscp_scp_amt", "overlmt_selfpay", "preselfpay_amt"), N16_2_MAX_FEN)
        ),
    ),
    "a pooled part beyond the scope": ("POOLED_PART_EXCEEDS_SCOPE", lambda d: d.pre_settle(bill={"hifp_pay": 1_001})),
    "funds that pay more than the bill": ("FUNDS_EXCEED_BILL", lambda d: d.pre_settle(bill={"maf_pay": 1_001})),
    "a hospital that pays more than is open": (
        "HOSPITAL_PART_EXCEEDS_BURDEN",
        lambda d: d.pre_settle(bill={"hosp_part_amt": 1_001}),
    ),
    "no bill": ("REQUEST_INVALID", _no_bill),
}


PEOPLE: Final[dict[str, tuple[str, Bad]]] = {
    "an unknown institution plans": ("INSTITUTION_UNKNOWN", lambda d: d.pre_settle(fixmedins_code=UNKNOWN_HOSPITAL)),
    "an unknown institution decodes": ("INSTITUTION_UNKNOWN", lambda d: _unused_code(d, at=UNKNOWN_HOSPITAL)),
    "an unknown institution reverses": (
        "INSTITUTION_UNKNOWN",
        lambda d: d.town.desks.settlement.ReverseTransaction(asking.reverse(new_key(at=UNKNOWN_HOSPITAL))),
    ),
    "a pharmacy's transaction from a hospital": (
        "TRANSACTION_NOT_FOR_INSTITUTION",
        lambda d: d.pre_settle(infno=pb.INFNO_2101),
    ),
    "an expired code": ("CODE_EXPIRED", expired_code),
    "a used code": ("CODE_ALREADY_USED", used_code),
    "a forged code": ("CODE_FORGED", forged_code),
    "no code at all": ("CODE_MALFORMED", lambda d: d.decode("123456")),
    "a token shown as a code": ("CODE_OF_OTHER_KIND", lambda d: d.decode(d.token)),
    "a code used as a token": ("EC_TOKEN_INVALID", lambda d: d.pre_settle(ec_token=USED_CODES[0])),
    "a token of another hospital": (
        "EC_TOKEN_OF_ANOTHER_TERMINAL",
        lambda d: d.pre_settle(ec_token=TOKENS["elsewhere"]),
    ),
    "a token of another terminal": ("EC_TOKEN_OF_ANOTHER_TERMINAL", lambda d: d.pre_settle(terminal_no="T02")),
    "a funder's own code used for the patient": ("FUNDER_CREDENTIAL_USED", funders_code),
    "a stranger's code used for the patient": (
        "CREDENTIAL_NOT_OF_PATIENT",
        lambda d: d.pre_settle(ec_token=TOKENS["stranger"]),
    ),
    "a token of another visit": (
        "CREDENTIAL_OF_ANOTHER_VISIT",
        lambda d: d.pre_settle(ec_token=TOKENS["other visit"]),
    ),
    "a token for registering": (
        "EC_TOKEN_OF_ANOTHER_BUSINESS",
        lambda d: d.pre_settle(ec_token=TOKENS["registration"]),
    ),
    "a certificate with a wrong checksum": ("CERTIFICATE_CHECKSUM_WRONG", lambda d: _register(d, wrong_checksum=True)),
    "an old certificate of 15 digits": ("CERTIFICATE_15_DIGITS", lambda d: _register(d, certno="650103600101001")),
    "a name that is none": ("NAME_MALFORMED", lambda d: _register(d, name="1234")),
    "an area of no province": ("POLICY_AREA_UNKNOWN", lambda d: _credit(d, area="990100")),
    "an enrolment in an area of no province": (
        "POLICY_AREA_UNKNOWN",
        lambda d: d.town.desks.identity.Enrol(
            identity_pb2.EnrolRequest(psn_no=d.family.patient.psn_no, insutype="310", insuplc_admdvs="990100")
        ),
    ),
    "money for nobody": ("PERSON_UNKNOWN", lambda d: _credit(d, psn_no="99999999999999")),
    "money into an area that does not insure him": ("NOT_INSURED_IN_AREA", lambda d: _credit(d, area="650500")),
    "no money": ("REQUEST_INVALID", lambda d: _credit(d, amount_fen=0)),
}


async def _unused_code(desk: Desk, *, at: FixmedinsCode) -> object:
    issued = await desk.town.desks.credentials.IssueCode(
        credentials_pb2.IssueCodeRequest(psn_no=desk.family.patient.psn_no)
    )
    return await desk.decode(issued.code, at=at)


async def _register(desk: Desk, *, wrong_checksum: bool = False, **changed: str) -> object:
    resident = new_resident()
    certno = changed.get("certno", resident.certno)
    if wrong_checksum:
        certno = certno[:-1] + ("0" if certno[-1] != "0" else "1")
    desk.town.personal.update({resident.name, certno})
    return await desk.town.desks.identity.RegisterPerson(
        identity_pb2.RegisterPersonRequest(
            psn_cert_type=person_pb2.CERTIFICATE_TYPE_RESIDENT_ID,
            certno=certno,
            psn_name=changed.get("name", resident.name),
            psn_no=resident.psn_no,
        )
    )


async def _credit(desk: Desk, **changed: Any) -> object:  # noqa: ANN401  Any field of the request.
    fields = {
        "psn_no": desk.family.patient.psn_no,
        "account_kind": account_pb2.ACCOUNT_KIND_PERSONAL,
        "part": account_pb2.ACCOUNT_PART_CURRENT,
        "amount_fen": 100,
        "area": desk.family.patient.area,
        "row_id": f"bad.{uuid4()}",
    }
    return await desk.town.desks.accounts.CreditAccount(account_pb2.CreditAccountRequest(**{**fields, **changed}))


KEYS: Final[dict[str, tuple[str, Bad]]] = {
    "a used msgid with another body": ("KEY_REUSED_WITH_OTHER_CONTENT", lambda d: d.settle(key=d.settled.key)),
    "a used msgid with a plan that does not exist": (
        "KEY_REUSED_WITH_OTHER_CONTENT",
        lambda d: d.settle(key=d.settled.key, plan_id=str(UUID(int=1))),
    ),
    "a used plan under a new msgid": (
        "PLAN_PAID",
        lambda d: d.settle(plan_id=d.settled.plan_id, plan_digest=d.settled.plan_digest),
    ),
    "an unknown plan": ("PLAN_UNKNOWN", lambda d: d.settle(plan_id=str(UUID(int=1)))),
    "another plan than the cashier saw": ("PLAN_DIGEST_MISMATCH", lambda d: d.settle(plan_digest=bytes(32))),
    "another hospital's plan": ("PLAN_NOT_OF_INSTITUTION", lambda d: d.settle(key=new_key(at=OTHER_HOSPITAL))),
    "an outpatient plan paid as inpatient": ("INFNO_DOES_NOT_FIT", lambda d: d.settle(key=new_key("2304"))),
    "a revocation's number on a payment": ("INFNO_DOES_NOT_FIT", lambda d: d.settle(key=new_key("2208"))),
    "a msgid of another institution": (
        "MSGID_OF_ANOTHER_INSTITUTION",
        lambda d: d.settle(key=key_with(msgid=new_key(at=PHARMACY).msgid)),
    ),
    "a msgid whose time is none": (
        "MSGID_MALFORMED",
        lambda d: d.settle(key=key_with(msgid=f"{HOSPITAL}202613010000000001")),
    ),
    "a msgid that is too old": ("MSGID_TOO_OLD", lambda d: d.settle(key=msgid_of(datetime.now(UTC) - timedelta(200)))),
    "a msgid from the future": (
        "MSGID_AHEAD_OF_TIME",
        lambda d: d.settle(key=msgid_of(datetime.now(UTC) + timedelta(minutes=11))),
    ),
    "a revocation of nothing": (
        "SETTLEMENT_UNKNOWN",
        lambda d: d.town.desks.settlement.RevokeSettle(asking.revoke(str(UUID(int=1)))),
    ),
    "no deadline": ("DEADLINE_MISSING", without_deadline),
    "bytes that are no message": ("REQUEST_MALFORMED", not_a_message),
    "a field beyond its limit": ("REQUEST_INVALID", lambda d: d.pre_settle(ec_token="x" * 5_000)),
    "a message above a mebibyte": ("MESSAGE_TOO_LARGE", lambda d: d.pre_settle(ec_token="x" * (MEBIBYTE + 1))),
    "a message above the transport's limit": (
        "MESSAGE_TOO_LARGE",
        lambda d: d.pre_settle(ec_token="x" * (5 * MEBIBYTE)),
    ),
}


@pytest.fixture(scope="module", autouse=True)
async def credentials(desk: Desk) -> None:
    """Codes and tokens that are good, for somebody or somewhere else."""
    town = desk.town
    stranger = (await town.family(new_resident(past_fen=1_000))).patient
    issued = await town.desks.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=desk.family.patient.psn_no))
    USED_CODES[:] = [str(issued.code)]
    await town.hospital.terminal.decode(issued.code, mdtrt_id=MDTRT_ID)
    TOKENS["stranger"] = await town.hospital.decode(stranger.psn_no, mdtrt_id=MDTRT_ID)
    TOKENS["funder"] = await town.hospital.decode(desk.family.funders[0].psn_no, mdtrt_id=MDTRT_ID)
    patient = desk.family.patient.psn_no
    TOKENS["elsewhere"] = await town.counters[OTHER_HOSPITAL].decode(patient, mdtrt_id=MDTRT_ID)
    TOKENS["other visit"] = await town.hospital.decode(patient, mdtrt_id="BAD2")
    issued = await town.desks.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=patient))
    registered = await town.hospital.terminal.decode(issued.code, mdtrt_id=MDTRT_ID, business_type="01101")
    TOKENS["registration"] = str(registered.ec_token)
    town.personal |= set(USED_CODES) | set(TOKENS.values())
    await town.told()


@pytest.fixture(scope="module")
async def rows(town: Town, credentials: None) -> AsyncIterator[Rows]:  # noqa: ARG001  What they leave is there before.
    """Counts what stands in every table of every database."""
    async with Rows.of(town) as found:
        yield found


@pytest.mark.parametrize(
    ("name", "reason", "bad"),
    [pytest.param(name, *case, id=name) for table in (BILLS, PEOPLE, KEYS) for name, case in table.items()],
)
async def test_bad_input_is_refused_by_name_and_leaves_nothing_behind(
    desk: Desk, rows: Rows, name: str, reason: str, bad: Bad
) -> None:
    """The call is refused with this reason, and every table of every database has the rows that it had before.

    Only of a credential that was refused somebody looks for misuse: exactly those rows are left (``LEFT``).
    """
    left = LEFT.get(name, {})
    before = await rows.at_rest()
    with pytest.raises((Failure, TerminalRefusal)) as caught:
        await bad(desk)
    assert getattr(caught.value, "reason", "") == reason
    after = await (rows.at_rest() if left else rows.counted())
    assert {table: after[table] - before[table] for table in after if after[table] != before[table]} == left


def test_every_row_that_may_be_left_is_of_an_input_there_is() -> None:
    """What a refusal may leave is said of no case that was taken out."""
    assert LEFT.keys() <= BILLS.keys() | PEOPLE.keys() | KEYS.keys()


async def test_a_refused_row_id_leaves_the_first_credit_as_it_was(desk: Desk) -> None:
    """The same row id with another amount is KEY_REUSED_WITH_OTHER_CONTENT, and the account is credited once."""
    town = desk.town
    row = {"row_id": f"twice.{uuid4()}"}
    await _credit(desk, **row)
    await _credit(desk, **row)
    before = await town.money(desk.family)
    assert (await asking.refusal(_credit(desk, amount_fen=101, **row))).reason == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert await town.money(desk.family) == before
    await town.check()


async def test_after_all_this_the_good_request_still_passes(desk: Desk) -> None:
    """The plan that was misused in every way is paid as it was made."""
    town = desk.town
    answer = await town.desks.settlement.Settle(asking.settle(desk.plan))
    assert answer.settlement.amounts.own_past_fen + answer.settlement.amounts.own_current_fen == 700
    await town.check()
