"""The settings, and the cashier's sign-in and sign-out."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from gongji_terminal import config as settings
from gongji_terminal.commands.session import AddParser, Exit, Session, Wrong
from gongji_terminal.voice import Voice, local, plain, table


def add_config(parser: argparse.ArgumentParser) -> None:
    """`config init` and `config show`, which need no service."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="write the settings' file")
    init.add_argument("--fixmedins-code", required=True, metavar="CODE", help="定点医药机构编号: H or P and 11 digits")
    init.add_argument("--terminal-no", required=True, metavar="NO", help="as it is registered, such as T01")
    init.add_argument(
        "--number", required=True, type=int, metavar="0-99", help="stands in every msgid; no other terminal's"
    )
    init.add_argument("--settlement", required=True, metavar="HOST:PORT")
    init.add_argument("--identity", required=True, metavar="HOST:PORT")
    init.add_argument(
        "--journal", default=settings.JOURNAL, metavar="FILE", help="from the settings' folder (default: %(default)s)"
    )
    init.add_argument("--language", choices=settings.LANGUAGES)
    init.add_argument("--ca", metavar="PEM", help="who vouches for the services")
    init.add_argument("--certificate", metavar="PEM", help="this terminal's own (mTLS)")
    init.add_argument("--key", metavar="PEM", help="of that certificate")
    init.add_argument(
        "--server-name", metavar="NAME", help="in the services' certificate, if they are reached by another one"
    )
    init.add_argument(
        "--plaintext", action="store_true", help="no TLS to another machine: nobody else can listen in between"
    )
    init.add_argument("--force", action="store_true", help="overwrite a file that is there")
    actions.add_parser("show", help="check the settings and say them")


def configure(voice: Voice, arguments: argparse.Namespace) -> Exit:
    """Writes or shows the settings; ConfigWrong if they do not fit together."""
    file = settings.find_file(arguments.config)
    if arguments.action == "init":
        _init(file, arguments)
    config = settings.read(file)
    if config.tls is not None:
        try:
            config.tls.credentials()
        except (OSError, ValueError) as problem:
            raise Wrong(f"{file}: [tls] {problem}") from None
    document = {
        "file": str(file),
        "fixmedins_code": config.fixmedins_code,
        "terminal_no": config.terminal_no,
        "number": config.number,
        "settlement": config.settlement,
        "identity": config.identity,
        "journal": str(config.journal),
        "connection": "plaintext" if config.tls is None else "mtls" if config.tls.certificate else "tls",
    }
    voice.answer(document, table([(key, str(value)) for key, value in document.items()]))
    return Exit.DONE


def _init(file: Path, arguments: argparse.Namespace) -> None:
    tls = {
        "ca": arguments.ca,
        "certificate": arguments.certificate,
        "key": arguments.key,
        "server_name": arguments.server_name,
    }
    document = {
        "fixmedins_code": arguments.fixmedins_code,
        "terminal_no": arguments.terminal_no,
        "number": arguments.number,
        "settlement": arguments.settlement,
        "identity": arguments.identity,
        "journal": arguments.journal,
        "plaintext": arguments.plaintext,
        **({"language": arguments.language} if arguments.language else {}),
        **({"tls": {key: value for key, value in tls.items() if value}} if any(tls.values()) else {}),
    }
    # Paths are kept as they were given: they count from the file's folder.
    config = replace(settings.parsed(document, folder=Path()), journal=Path(arguments.journal))
    mode = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if arguments.force else os.O_EXCL)
    try:
        with os.fdopen(os.open(file, mode, 0o600), "w", encoding="utf-8") as opened:
            opened.write(settings.written(config))
    except FileExistsError:
        raise Wrong(f"{file} is there already; --force overwrites it") from None
    except OSError as problem:
        raise Wrong(f"{file} cannot be written: {problem}") from None


def add(add_parser: AddParser) -> None:
    """`sign-in` and `sign-out`."""
    parser = add_parser(
        "sign-in", _sign_in, help="9001 签到: a cashier begins work here, each day before the first code"
    )
    parser.add_argument("--opter", required=True, metavar="CASHIER", help="经办人")
    parser = add_parser("sign-out", _sign_out, help="9002 签退: the work here ends")
    parser.add_argument("--sign-no", metavar="NO", help="of another sign-in than the one this journal knows")


async def _sign_in(at: Session, arguments: argparse.Namespace) -> Exit:
    answer = await at.terminal.sign_in(arguments.opter)
    await at.journal.note_sign_in(
        fixmedins_code=at.config.fixmedins_code,
        terminal_no=at.config.terminal_no,
        sign_no=answer.sign_no,
        opter=arguments.opter,
    )
    until = local(answer.ends_time).strftime("%Y-%m-%d %H:%M")
    at.voice.answer(
        {"outcome": "signed_in", "opter": arguments.opter, **plain(answer)},
        [
            at.voice.of(
                f"已签到  {arguments.opter}  签到编号 {answer.sign_no}  {until} 前有效",
                f"Signed in  {arguments.opter}  sign_no {answer.sign_no}  until {until}",
            )
        ],
    )
    return Exit.DONE


async def _sign_out(at: Session, arguments: argparse.Namespace) -> Exit:
    known = await at.journal.sign_in(fixmedins_code=at.config.fixmedins_code, terminal_no=at.config.terminal_no)
    sign_no = arguments.sign_no or (known[0] if known else "")
    if not sign_no:
        raise Wrong(
            at.voice.of(
                "本终端没有签到记录；请用 --sign-no 指定", "this journal knows of no sign-in; name it with --sign-no"
            )
        )
    open_requests = len(await at.journal.unanswered()) + len(await at.journal.reversals_queued())
    answer = await at.terminal.sign_out(sign_no)
    at.visits.end_all()
    if known and known[0] == sign_no:
        await at.journal.note_sign_in(
            fixmedins_code=at.config.fixmedins_code, terminal_no=at.config.terminal_no, sign_no="", opter=""
        )
    lines = [at.voice.of("已签退", "Signed out")]
    if open_requests:
        lines.append(
            at.voice.of(
                f"  尚有 {open_requests} 笔请求未得到答复：gongji-terminal resume",
                f"  {open_requests} requests have no answer yet: gongji-terminal resume",
            )
        )
    at.voice.answer({"outcome": "signed_out", "open_requests": open_requests, **plain(answer)}, lines)
    return Exit.DONE
