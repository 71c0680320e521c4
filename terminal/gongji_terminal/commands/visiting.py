"""The patient is here: who it is, and who would pay what."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import json_format

from gongji.identity.v1 import credentials_pb2, person_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1 import visits_pb2
from gongji_terminal import views
from gongji_terminal.care import care_of
from gongji_terminal.client import system_now
from gongji_terminal.commands.resuming import resume_quietly
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong, secret, show_plan
from gongji_terminal.failures import TerminalRefusal
from gongji_terminal.msgid import SHANGHAI
from gongji_terminal.records import Record
from gongji_terminal.visits import Visit
from gongji_terminal.voice import plain, yuan

MDTRT_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,30}")
BILL_BYTES_MAX: Final = 4 << 20
CERTIFICATES: Final = [
    name.removeprefix("CERTIFICATE_TYPE_").lower()
    for name, number in person_pb2.CertificateType.items()
    if number != person_pb2.CERTIFICATE_TYPE_UNSPECIFIED
]


def add(add_parser: AddParser) -> None:
    """`person`, `plan` and `plan-return`."""
    parser = add_parser("person", _person, help="1101: who the patient is and what may pay; opens the visit")
    _add_shown(parser)
    parser = add_parser("plan", _plan, help="2206 / 2101 / 2303: who would pay what; nothing moves")
    _add_bill(parser)
    words = "部分退货: what taking a settlement back and settling the rest would do; nothing moves"
    parser = add_parser("plan-return", _plan_return, help=words)
    parser.add_argument("setl_id", metavar="SETL_ID", help="that the goods were paid by")
    _add_bill(parser)


def _add_bill(parser: argparse.ArgumentParser) -> None:
    _add_shown(parser)
    parser.add_argument(
        "--interim", action="store_true", help="中途结算: one of several settlements of an inpatient's visit"
    )
    parser.add_argument(
        "--bill",
        metavar="FILE",
        help="a Bill as JSON, amounts in fen, with its `lines`; - reads it from standard input",
    )
    parser.add_argument(
        "amounts", nargs="*", metavar="NAME=VALUE", help="the bill's fields, such as med_type=11 medfee_sumamt=12000"
    )


def _add_shown(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mdtrt-id", metavar="ID", help="就诊ID; a new one is made if it is left out")
    parser.add_argument(
        "--business-type", default="", metavar="CODE", help="用码业务类型, if not the one that settles here"
    )
    for prefix, whose in (("", "the patient shows"), ("agent-", "代买药, who fetches the medicine shows")):
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument(f"--{prefix}code", metavar="CODE", help=f"{whose} 医保码; - reads it from standard input")
        shown.add_argument(f"--{prefix}card", metavar="NO", help=f"{whose} 社会保障卡; its PIN is asked for")
        shown.add_argument(
            f"--{prefix}certificate",
            metavar="KIND",
            choices=CERTIFICATES,
            help=f"{whose} one of {', '.join(CERTIFICATES)}; number and name are asked for",
        )


async def _person(at: Session, arguments: argparse.Namespace) -> Exit:
    mdtrt_id = arguments.mdtrt_id or _new_mdtrt_id(at)
    visit = await _opened(at, arguments, mdtrt_id)
    try:
        info = await at.terminal.person_info(ec_token=visit.ec_token, mdtrt_id=mdtrt_id)
    except TerminalRefusal as refusal:
        if refusal.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        # A desk of a release without 1101: the visit is open all the same.
        info = visits_pb2.GetPersonInfoResponse(psn_no=visit.psn_no)
    at.voice.answer(
        {"outcome": "person", "mdtrt_id": mdtrt_id, "person": plain(info)},
        views.person(at.voice, info, mdtrt_id=mdtrt_id),
    )
    return Exit.DONE


async def _plan(at: Session, arguments: argparse.Namespace) -> Exit:
    bill, lines = _bill(arguments)
    mdtrt_id = arguments.mdtrt_id or _new_mdtrt_id(at)
    visit = await _opened(at, arguments, mdtrt_id)
    await resume_quietly(at)
    care = care_of(at.config.fixmedins_code, bill.med_type)
    plan = await at.terminal.pre_settle(
        care=care,
        psn_no=visit.psn_no,
        ec_token=visit.ec_token,
        mdtrt_id=mdtrt_id,
        bill=bill,
        lines=lines,
        interim=arguments.interim,
        agent_ec_token=visit.agent_ec_token,
    )
    await show_plan(at, plan, care=care.name, mdtrt_id=mdtrt_id)
    paid = await at.journal.paid_of_visit(fixmedins_code=at.config.fixmedins_code, mdtrt_id=mdtrt_id)
    _warn_of(at, paid)
    document = {
        "outcome": "planned",
        "mdtrt_id": mdtrt_id,
        "care": care.name.lower(),
        "plan": plain(plan),
        "paid_before": [record.setl_id for record in paid],
    }
    at.voice.answer(document, views.plan(at.voice, plan, mdtrt_id=mdtrt_id))
    return Exit.DONE


async def _plan_return(at: Session, arguments: argparse.Namespace) -> Exit:
    bill, lines = _bill(arguments)
    mdtrt_id = arguments.mdtrt_id or _new_mdtrt_id(at)
    visit = await _opened(at, arguments, mdtrt_id)
    rest = at.terminal.presented(
        care=care_of(at.config.fixmedins_code, bill.med_type),
        psn_no=visit.psn_no,
        ec_token=visit.ec_token,
        mdtrt_id=mdtrt_id,
        bill=bill,
        lines=lines,
        interim=arguments.interim,
        agent_ec_token=visit.agent_ec_token,
    )
    answer = await at.terminal.plan_return(arguments.setl_id, rest=rest)
    document = {"outcome": "return_planned", "mdtrt_id": mdtrt_id, **plain(answer)}
    at.voice.answer(document, views.planned_return(at.voice, answer, mdtrt_id=mdtrt_id))
    return Exit.DONE


def _warn_of(at: Session, paid: list[Record]) -> None:
    for record in paid:
        total = yuan(record.medfee_sumamt)
        at.voice.remark(
            f"注意：此次就诊已结算 {total}，结算ID {record.setl_id}",
            f"Mind: {total} of this visit is paid, setl_id {record.setl_id}",
        )


async def _opened(at: Session, arguments: argparse.Namespace, mdtrt_id: str) -> Visit:
    """The visit, with whatever is shown now; Wrong if nobody has shown anything that counts."""
    if not MDTRT_ID.fullmatch(mdtrt_id):
        raise Wrong(f"--mdtrt-id {mdtrt_id}: 1 to 30 letters, digits, _ or -")
    patient, agent = _shown(arguments), _shown(arguments, "agent_")
    now = system_now()
    if patient is None and agent is None:
        at.visits.end_all(expired_at=now)
    visit = at.visits.find(mdtrt_id, now=now)
    if patient is not None:
        answer = await at.terminal.decode(patient, mdtrt_id=mdtrt_id, business_type=arguments.business_type)
        expires = answer.expires_time.ToDatetime(tzinfo=UTC)
        visit = Visit(mdtrt_id, answer.person.psn_no, answer.ec_token, expires.isoformat())
        at.visits.keep(visit)
    if visit is None:
        raise Wrong(
            at.voice.of(
                f"就诊 {mdtrt_id} 没有有效凭证：请患者出示，并加上 --code、--card 或 --certificate",
                f"visit {mdtrt_id} has no credential that counts; show one by --code, --card or --certificate",
            )
        )
    if agent is not None:
        answer = await at.terminal.decode(agent, mdtrt_id=mdtrt_id, business_type=arguments.business_type)
        visit = replace(visit, agent_ec_token=answer.ec_token)
        at.visits.keep(visit)
    return visit


def _shown(
    arguments: argparse.Namespace, whose: str = ""
) -> str | credentials_pb2.CardShown | credentials_pb2.CertificateShown | None:
    code, card, certificate = (getattr(arguments, whose + kind) for kind in ("code", "card", "certificate"))
    name = whose.replace("_", "'s ")
    if code is not None:
        return secret(f"{name}code") if code == "-" else str(code)
    if card is not None:
        return credentials_pb2.CardShown(card_no=card, pin=secret(f"{name}PIN"))
    if certificate is None:
        return None
    return credentials_pb2.CertificateShown(
        psn_cert_type=person_pb2.CertificateType.Value(f"CERTIFICATE_TYPE_{certificate.upper()}"),
        certno=secret(f"{name}certificate number"),
        psn_name=secret(f"{name}name"),
    )


def _bill(arguments: argparse.Namespace) -> tuple[pb.Bill, list[pb.BillLine]]:
    """The bill of the file with its lines, and what stands on the command line on top."""
    document = {} if arguments.bill is None else _read_bill(arguments.bill)
    for pair in arguments.amounts:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Wrong(f"{pair}: a bill's field is NAME=VALUE")
        document[name] = value
    lines = document.pop("lines", [])
    if not document or not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise Wrong("what is the bill? --bill FILE, or such as med_type=11 medfee_sumamt=12000 inscp_scp_amt=12000")
    _check_names(document, pb.Bill, "the bill")
    for number, line in enumerate(lines, start=1):
        _check_names(line, pb.BillLine, f"line {number} of the bill")
    try:
        return (
            json_format.ParseDict(document, pb.Bill()),
            [json_format.ParseDict(line, pb.BillLine()) for line in lines],
        )
    except json_format.ParseError as wrong:
        raise Wrong(f"the bill: {wrong}") from None


def _check_names(document: dict[str, Any], kind: type[pb.Bill | pb.BillLine], what: str) -> None:
    """Wrong, with the names that there are, where one is none of the contract's."""
    fields = kind.DESCRIPTOR.fields
    known = {name for field in fields for name in (field.name, field.json_name)}
    for name in document:
        if name not in known:
            raise Wrong(f"{what} has no field {name}; it may have {', '.join(field.name for field in fields)}")


def _read_bill(name: str) -> dict[str, Any]:
    try:
        if name == "-":
            text = sys.stdin.read(BILL_BYTES_MAX)
        else:
            with Path(name).open(encoding="utf-8") as opened:
                text = opened.read(BILL_BYTES_MAX)
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as problem:
        raise Wrong(f"{name} is no bill: {problem}") from None
    if not isinstance(document, dict):
        raise Wrong(f"{name} is no bill: one JSON object is expected")
    return document


def _new_mdtrt_id(at: Session) -> str:
    now = system_now().astimezone(SHANGHAI)
    return f"{at.config.terminal_no[:8]}-{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"
