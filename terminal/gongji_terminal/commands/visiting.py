"""The patient is here: who it is, and who would pay what."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format

from gongji.identity.v1 import credentials_pb2, person_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import views
from gongji_terminal.care import care_of
from gongji_terminal.client import system_now
from gongji_terminal.commands.resuming import resume_quietly
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong, secret, show_plan
from gongji_terminal.msgid import SHANGHAI
from gongji_terminal.records import Record
from gongji_terminal.visits import Visit
from gongji_terminal.voice import plain, yuan

BILL_BYTES_MAX: Final = 4 << 20
INSURED: Final = {"1": ("正常", "normal"), "2": ("暂停", "paused"), "4": ("终止", "ended")}
CERTIFICATES: Final = [
    name.removeprefix("CERTIFICATE_TYPE_").lower()
    for name, number in person_pb2.CertificateType.items()
    if number != person_pb2.CERTIFICATE_TYPE_UNSPECIFIED
]


def add(add_parser: AddParser) -> None:
    """`person` and `plan`."""
    parser = add_parser("person", _person, help="1101: who the patient is; opens a visit with what he shows")
    _add_shown(parser)
    parser = add_parser("plan", _plan, help="2206 / 2101 / 2303: who would pay what; nothing moves")
    _add_shown(parser)
    parser.add_argument("--bill", metavar="FILE", help="a Bill as JSON, amounts in fen; - reads it from standard input")
    parser.add_argument(
        "amounts", nargs="*", metavar="NAME=VALUE", help="the bill's fields, such as med_type=11 medfee_sumamt=12000"
    )


def _add_shown(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mdtrt-id", metavar="ID", help="就诊ID; a new one is made if it is left out")
    parser.add_argument(
        "--business-type", default="", metavar="CODE", help="用码业务类型, if not the one that settles here"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--code", metavar="CODE", help="医保码 from the patient's phone; - reads it from standard input")
    shown.add_argument("--card", metavar="NO", help="社会保障卡; its PIN is asked for")
    shown.add_argument("--certificate", choices=CERTIFICATES, help="its number and the name on it are asked for")
    parser.add_argument(
        "--agent",
        choices=CERTIFICATES,
        help="代买药: who fetches the medicine shows this; number and name are asked for",
    )


async def _person(at: Session, arguments: argparse.Namespace) -> Exit:
    shown = _shown(arguments)
    if shown is None:
        raise Wrong("what does the patient show? --code, --card or --certificate")
    mdtrt_id = arguments.mdtrt_id or _new_mdtrt_id(at)
    answer = await _decoded(at, arguments, shown, mdtrt_id)
    person = answer.person
    of = at.voice.of
    lines = [
        of(
            f"就诊 {mdtrt_id}  {person.name_masked}  人员编号 {person.psn_no}",
            f"Visit {mdtrt_id}  {person.name_masked}  psn_no {person.psn_no}",
        ),
        *(
            f"  {one.insutype}  {one.insuplc_admdvs}  {of(*INSURED.get(one.psn_insu_stas, ('?', '?')))}"
            for one in person.enrolments
        ),
        of(
            f"预结算：gongji-terminal plan --mdtrt-id {mdtrt_id} …",
            f"Next: gongji-terminal plan --mdtrt-id {mdtrt_id} …",
        ),
    ]
    document = {
        "outcome": "person",
        "mdtrt_id": mdtrt_id,
        "mdtrt_cert_type": answer.mdtrt_cert_type,
        "person": plain(person),
    }
    at.voice.answer(document, lines)
    return Exit.DONE


async def _plan(at: Session, arguments: argparse.Namespace) -> Exit:
    bill = _bill(arguments)
    mdtrt_id = arguments.mdtrt_id or _new_mdtrt_id(at)
    if (shown := _shown(arguments)) is not None:
        await _decoded(at, arguments, shown, mdtrt_id)
    visit = at.visits.find(mdtrt_id, now=system_now())
    if visit is None:
        raise Wrong(
            at.voice.of(
                f"就诊 {mdtrt_id} 没有有效凭证：请患者出示 --code、--card 或 --certificate",
                f"visit {mdtrt_id} has no credential that counts: --code, --card or --certificate",
            )
        )
    await resume_quietly(at)
    care = care_of(at.config.fixmedins_code, bill.med_type)
    plan = await at.terminal.pre_settle(
        care=care, psn_no=visit.psn_no, ec_token=visit.ec_token, mdtrt_id=mdtrt_id, bill=bill
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


def _warn_of(at: Session, paid: list[Record]) -> None:
    for record in paid:
        total = yuan(record.medfee_sumamt)
        at.voice.remark(
            f"注意：此次就诊已结算 {total}，结算ID {record.setl_id}",
            f"Mind: {total} of this visit is paid, setl_id {record.setl_id}",
        )


async def _decoded(
    at: Session,
    arguments: argparse.Namespace,
    shown: str | credentials_pb2.CardShown | credentials_pb2.CertificateShown,
    mdtrt_id: str,
) -> credentials_pb2.DecodeCredentialResponse:
    agent = None if arguments.agent is None else _certificate(arguments.agent, "agent's ")
    answer = await at.terminal.decode(shown, mdtrt_id=mdtrt_id, business_type=arguments.business_type, agent=agent)
    expires = answer.expires_time.ToDatetime(tzinfo=UTC)
    at.visits.end_all(expired_at=system_now())
    at.visits.keep(Visit(mdtrt_id, answer.person.psn_no, answer.ec_token, expires.isoformat()))
    return answer


def _shown(
    arguments: argparse.Namespace,
) -> str | credentials_pb2.CardShown | credentials_pb2.CertificateShown | None:
    if arguments.code is not None:
        return secret("code") if arguments.code == "-" else str(arguments.code)
    if arguments.card is not None:
        return credentials_pb2.CardShown(card_no=arguments.card, pin=secret("PIN"))
    return None if arguments.certificate is None else _certificate(arguments.certificate)


def _certificate(kind: str, whose: str = "") -> credentials_pb2.CertificateShown:
    return credentials_pb2.CertificateShown(
        psn_cert_type=person_pb2.CertificateType.Value(f"CERTIFICATE_TYPE_{kind.upper()}"),
        certno=secret(f"{whose}certificate number"),
        psn_name=secret(f"{whose}name"),
    )


def _bill(arguments: argparse.Namespace) -> pb.Bill:
    """The bill of the file, with what stands on the command line on top."""
    document = {} if arguments.bill is None else _read_bill(arguments.bill)
    for pair in arguments.amounts:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Wrong(f"{pair}: a bill's field is NAME=VALUE")
        document[name] = value
    if not document:
        raise Wrong(
            "what is the bill? --bill FILE, or fields such as med_type=11 medfee_sumamt=12000 inscp_scp_amt=12000"
        )
    try:
        return json_format.ParseDict(document, pb.Bill())
    except json_format.ParseError as wrong:
        raise Wrong(f"the bill: {wrong}") from None


def _read_bill(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read(BILL_BYTES_MAX) if name == "-" else Path(name).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as problem:
        raise Wrong(f"{name} is no bill: {problem}") from None
    if not isinstance(document, dict):
        raise Wrong(f"{name} is no bill: one JSON object is expected")
    return document


def _new_mdtrt_id(at: Session) -> str:
    now = system_now().astimezone(SHANGHAI)
    return f"{at.config.terminal_no[:8]}-{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"
