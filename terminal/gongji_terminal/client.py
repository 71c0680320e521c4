"""The terminal: decodes, plans, pays, revokes and reverses, and never leaves a request whose end it does not know.

A request that may move money is written into the journal before it is sent. No answer: the same bytes again, with
back-off. Still none: ask what became of it; what the service has not seen, or cannot decide, is reversed. A terminal
that died does the same when it comes back (``recover``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from gongji.identity.v1 import credentials_pb2, institutions_pb2
from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceStub
from gongji.identity.v1.institutions_pb2_grpc import InstitutionServiceStub
from gongji.settlement.v1 import returns_pb2, visits_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji.settlement.v1.returns_pb2_grpc import ReturnServiceStub
from gongji.settlement.v1.settlement_pb2_grpc import SettlementServiceStub
from gongji.settlement.v1.visits_pb2_grpc import VisitServiceStub
from gongji_terminal.answers import Outcome, Reversed, is_of_another, is_silence, not_known, taking_back
from gongji_terminal.care import Care, Presented, infno_of
from gongji_terminal.channels import Tls, channel_to
from gongji_terminal.failures import Retry, TerminalRefusal, Unanswered, failure_of
from gongji_terminal.journal import Entry, EntryState, Journal, QueuedReversal, Told
from gongji_terminal.msgid import next_msgid
from gongji_terminal.nameless import nameless
from gongji_terminal.records import record_of

__all__ = ["Care", "Outcome", "Patience", "Reversed", "Terminal", "Tls", "system_now"]

Answer = TypeVar("Answer")

SETTLEMENT_UNKNOWN: Final = "SETTLEMENT_UNKNOWN"
KEY_REUSED: Final = "KEY_REUSED_WITH_OTHER_CONTENT"
NOT_TAKEN_ANY_MORE: Final = frozenset({"MSGID_TOO_OLD", "MSGID_AHEAD_OF_TIME"})
"""Of a request that nobody has seen: written in another year, or by a clock that was far ahead."""
CANNOT_BE_REVERSED: Final = frozenset({"REVOCATION_STANDS", "REVOKE_WINDOW_CLOSED", "LATER_SETTLEMENT_STANDS"})
"""The request was done and stays done, unless what came after it is taken back first: asking tells what."""
NO_IDENTITY: Final = "this terminal was given no channel to identity"
NOT_SIGNED_IN: Final = frozenset({"TERMINAL_NOT_SIGNED_IN", "TERMINAL_UNKNOWN"})
SIGN_IN_TOLD_S: Final = 10.0
"""So long after its own sign-in a terminal does not believe that it is not signed in: settlement hears of it a moment
later than identity answers."""
SETTLES: Final = {"H": "01301", "P": "02121"}
"""用码业务类型 that ends with a payment, by an institution's letter: 结算 at a hospital, 药店购药 at a pharmacy."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the terminal waits: for one answer, for a request with all its repetitions, between two of them."""

    attempt_s: float = 10.0
    request_s: float = 30.0
    pause_first_s: float = 0.1
    pause_max_s: float = 2.0


def system_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Terminal:
    """One terminal of one institution. Refusals are raised as TerminalRefusal, each with its texts.

    ``number`` (0 to 99) is unique among the institution's terminals; it stands in every msgid. Money requests that end
    with ``Unanswered`` stay in the journal: ``recover`` finds out about them later.
    """

    def __init__(
        self,
        *,
        settlement: grpc.aio.Channel,
        identity: grpc.aio.Channel | None = None,
        journal: Journal,
        fixmedins_code: str,
        terminal_no: str,
        number: int,
        patience: Patience | None = None,
        now: Callable[[], datetime] = system_now,
    ) -> None:
        self.settlement_channel = settlement
        self._settlement = SettlementServiceStub(settlement)
        self._visits = VisitServiceStub(settlement)
        self._returns = ReturnServiceStub(settlement)
        self._credentials = None if identity is None else CredentialServiceStub(identity)
        self._institutions = None if identity is None else InstitutionServiceStub(identity)
        self._signed_in_at = float("-inf")
        self._journal = journal
        self._patience = patience or Patience()
        self._now = now
        self.fixmedins_code = fixmedins_code
        self.terminal_no = terminal_no
        self.number = number
        self._caller = (("gongji-caller", f"terminal:{fixmedins_code}/{terminal_no}"),)
        """What identity keeps with the look-ups that this terminal causes."""

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        *,
        settlement_address: str,
        identity_address: str,
        journal: Journal,
        fixmedins_code: str,
        terminal_no: str,
        number: int,
        patience: Patience | None = None,
        tls: Tls | None = None,
    ) -> AsyncIterator[Terminal]:
        """A terminal with channels of its own, closed at the end; without ``tls`` everything goes in the open."""
        async with channel_to(settlement_address, tls) as settlement, channel_to(identity_address, tls) as identity:
            yield cls(
                settlement=settlement,
                identity=identity,
                journal=journal,
                fixmedins_code=fixmedins_code,
                terminal_no=terminal_no,
                number=number,
                patience=patience,
            )

    async def sign_in(self, opter: str) -> institutions_pb2.SignInResponse:
        """9001 签到: the cashier begins work here, each day before the first code. Again it changes nothing."""
        if self._institutions is None:
            raise ValueError(NO_IDENTITY)
        request = institutions_pb2.SignInRequest(
            fixmedins_code=self.fixmedins_code, terminal_no=self.terminal_no, opter=opter
        )
        answer: institutions_pb2.SignInResponse = await self._patiently(self._institutions.SignIn, request)
        self._signed_in_at = time.monotonic()
        return answer

    async def sign_out(self, sign_no: str) -> institutions_pb2.SignOutResponse:
        """9002 签退: the work of this sign-in ends. Again it changes nothing."""
        if self._institutions is None:
            raise ValueError(NO_IDENTITY)
        request = institutions_pb2.SignOutRequest(fixmedins_code=self.fixmedins_code, sign_no=sign_no)
        answer: institutions_pb2.SignOutResponse = await self._patiently(self._institutions.SignOut, request)
        self._signed_in_at = float("-inf")
        return answer

    async def decode(
        self,
        shown: str | credentials_pb2.CardShown | credentials_pb2.CertificateShown,
        *,
        mdtrt_id: str,
        business_type: str = "",
        agent: credentials_pb2.CertificateShown | None = None,
    ) -> credentials_pb2.DecodeCredentialResponse:
        """ec.query: what the patient shows becomes the ecToken of this visit. A code works once, so it is sent once.

        ``shown`` is a code, a card with its PIN or an identity card. ``business_type`` is one of the national
        用码业务类型; when empty, the one that settles here. ``agent`` is who fetches the medicine (代买药).
        """
        if self._credentials is None:
            raise ValueError(NO_IDENTITY)
        request = credentials_pb2.DecodeCredentialRequest(
            fixmedins_code=self.fixmedins_code,
            terminal_no=self.terminal_no,
            business_type=business_type or SETTLES[self.fixmedins_code[0]],
            mdtrt_id=mdtrt_id,
            agent=agent,
        )
        match shown:
            case str():
                request.code = shown
            case credentials_pb2.CardShown():
                request.card.CopyFrom(shown)
            case _:
                request.identity_card.CopyFrom(shown)
        return await self._once(self._credentials.DecodeCredential, request)

    async def person_info(self, *, ec_token: str, mdtrt_id: str) -> visits_pb2.GetPersonInfoResponse:
        """1101: who the credential's holder is, whether a visit can be settled online, and out of what."""
        request = visits_pb2.GetPersonInfoRequest(
            fixmedins_code=self.fixmedins_code, terminal_no=self.terminal_no, ec_token=ec_token, mdtrt_id=mdtrt_id
        )
        answer: visits_pb2.GetPersonInfoResponse = await self._patiently(self._visits.GetPersonInfo, request)
        return answer

    def presented(self, **presented: Unpack[Presented]) -> pb.PreSettleRequest:
        """A bill as this terminal presents it."""
        return pb.PreSettleRequest(
            fixmedins_code=self.fixmedins_code,
            infno=presented["care"].pre_settle,
            terminal_no=self.terminal_no,
            psn_no=presented["psn_no"],
            ec_token=presented["ec_token"],
            mdtrt_id=presented["mdtrt_id"],
            bill=presented["bill"],
            lines=presented.get("lines", ()),
            mid_setl_flag="1" if presented.get("interim", False) else "",
            agent_ec_token=presented.get("agent_ec_token", ""),
        )

    async def pre_settle(self, **presented: Unpack[Presented]) -> pb.Plan:
        """Who would pay what. Moves nothing, so it is repeated freely."""
        request = self.presented(**presented)
        answer: pb.PreSettleResponse = await self._patiently(self._settlement.PreSettle, request)
        return answer.plan

    async def plan_return(self, setl_id: str, *, rest: pb.PreSettleRequest) -> returns_pb2.PlanReturnResponse:
        """部分退货: what taking this settlement back and settling the ``rest`` would do. Moves and promises nothing."""
        request = returns_pb2.PlanReturnRequest(setl_id=setl_id, rest=rest)
        answer: returns_pb2.PlanReturnResponse = await self._patiently(self._returns.PlanReturn, request)
        return answer

    async def settle(self, plan: pb.Plan, *, care: Care, once: bool = False) -> Outcome:
        """Pays exactly this plan: the settlement, or a new plan because a source had changed, or Reversed.

        TerminalRefusal: nothing was taken. Unanswered: not known yet; ``recover`` finds out. ``once``: PlanAsked, and
        nothing is sent, if the journal has a request of this plan that has not come to nothing.
        """

        def request(key: pb.RequestKey) -> bytes:
            return pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest).SerializeToString()

        return await self._carry_out(await self._written(care.settle, request, plan_id=plan.plan_id, once=once))

    async def revoke(self, setl_id: str, *, care: Care) -> Outcome:
        """Takes a whole settlement back: the revocation's own record, or Reversed if the revocation was stopped."""

        def request(key: pb.RequestKey) -> bytes:
            return pb.RevokeSettleRequest(key=key, setl_id=setl_id).SerializeToString()

        return await self._carry_out(await self._written(care.revoke, request, original_setl_id=setl_id))

    async def get(self, *, setl_id: str | None = None, infno: str = "", msgid: str = "") -> pb.GetSettlementResponse:
        """What became of a payment, by its setl_id or by the request's infno and msgid."""
        request = pb.GetSettlementRequest(fixmedins_code=self.fixmedins_code)
        if setl_id is not None:
            request.setl_id = setl_id
        else:
            request.key.CopyFrom(self._key(infno, msgid))
        found: pb.GetSettlementResponse = await self._patiently(self._settlement.GetSettlement, request)
        paid = found.settlement
        if found.HasField("refund") and await self._journal.record(paid.setl_id) is not None:
            # Another terminal may have taken it back: the day's books have both rows or neither.
            await self._journal.keep_record(taking_back(found))
        return found

    async def reverse(self, *, infno: str, msgid: str) -> Reversed:
        """2601: stops the request if it is undecided, gives the money back if it was paid. From any terminal.

        The wish is written down first. Unanswered: it stays there, and ``send_reversals`` sends it again.
        """
        return await self._send_reversal(await self.want_reversed(infno=infno, msgid=msgid))

    async def want_reversed(self, *, infno: str, msgid: str) -> QueuedReversal:
        """Writes the wish down without sending it, for a terminal that has no network now."""
        return await self._journal.queue_reversal(
            fixmedins_code=self.fixmedins_code, infno=infno, msgid=msgid, now=self._now()
        )

    async def send_reversals(self) -> list[tuple[QueuedReversal, Reversed | TerminalRefusal | Unanswered]]:
        """Sends every reversal that waits, oldest first; stops at the first that nobody answers.

        One that is put off, or that a service fails at, keeps none of the others waiting.
        """
        told: list[tuple[QueuedReversal, Reversed | TerminalRefusal | Unanswered]] = []
        for queued in await self._journal.reversals_queued():
            if queued.fixmedins_code != self.fixmedins_code:
                continue
            try:
                told.append((queued, await self._send_reversal(queued)))
            except (TerminalRefusal, Unanswered) as failure:
                told.append((queued, failure))
                if is_silence(failure):
                    break
        return told

    async def recover(self) -> list[tuple[Entry, Outcome | TerminalRefusal | Unanswered]]:
        """After a crash this comes first: ``send_reversals``, for they are somebody's will, then ``find_out``."""
        await self.send_reversals()
        return await self.find_out()

    async def find_out(self) -> list[tuple[Entry, Outcome | TerminalRefusal | Unanswered]]:
        """Finds out about every request of the journal that has no answer: asks first, then reverses.

        What is still unanswered stays for the next time.
        """
        found: list[tuple[Entry, Outcome | TerminalRefusal | Unanswered]] = []
        for entry in await self._journal.unanswered():
            if entry.fixmedins_code != self.fixmedins_code:
                continue
            try:
                found.append((entry, await self._found_out(entry)))
            except (TerminalRefusal, Unanswered) as failure:
                found.append((entry, failure))
        return found

    # Inside ----------------------------------------------------------------------------------------------------------

    async def _written(
        self,
        infno: str,
        request: Callable[[pb.RequestKey], bytes],
        *,
        original_setl_id: str = "",
        plan_id: str = "",
        once: bool = False,
    ) -> Entry:
        now = self._now()
        return await self._journal.write(
            fixmedins_code=self.fixmedins_code,
            terminal=self.number,
            infno=infno,
            now=now,
            make_msgid=lambda last: next_msgid(self.fixmedins_code, self.number, now=now, last=last),
            make_request=lambda msgid: request(self._key(infno, msgid)),
            original_setl_id=original_setl_id,
            plan_id=plan_id,
            once=once,
        )

    async def _carry_out(self, entry: Entry) -> Outcome:
        """Sends until there is an answer; when there is none that can be believed, finds out."""
        try:
            answer = await self._send(entry)
        except TerminalRefusal as refusal:
            if not refusal.by_service:
                return await self._found_out(entry)
            raise await self._refused(entry, refusal) from None
        except Unanswered:
            return await self._found_out(entry)
        return await self._told(entry, answer)

    async def _refused(self, entry: Entry, refusal: TerminalRefusal) -> TerminalRefusal:
        """The same refusal, written down: nothing was taken, nor ever will be by this request."""
        await self._journal.note_told(entry, Told(EntryState.REFUSED, reason=refusal.reason), now=self._now())
        return refusal

    async def _send(self, entry: Entry) -> pb.Settlement | pb.Replan:
        if entry.original_setl_id:
            revoked: pb.RevokeSettleResponse = await self._patiently(
                self._settlement.RevokeSettle, pb.RevokeSettleRequest.FromString(entry.request), entry
            )
            return revoked.revocation
        settled: pb.SettleResponse = await self._patiently(
            self._settlement.Settle, pb.SettleRequest.FromString(entry.request), entry
        )
        return settled.replan if settled.HasField("replan") else settled.settlement

    async def _found_out(self, entry: Entry) -> Outcome:
        """Asks; reverses what the service has not seen or has not decided. A TerminalRefusal is the request's own."""
        found = await self._asked(entry)
        if found is not None and found.settlement.state != pb.SETTLEMENT_STATE_IN_PROGRESS:
            return await self._believe(entry, found)
        try:
            return await self._reversed(infno=entry.infno, msgid=entry.msgid)
        except TerminalRefusal as refusal:
            if refusal.reason in NOT_TAKEN_ANY_MORE and found is None:
                # Nobody has seen it and nobody takes it: there is nothing left to ask.
                raise await self._refused(entry, refusal) from None
            if refusal.reason not in CANNOT_BE_REVERSED:
                raise not_known(refusal) from None
        if (stands := await self._asked(entry)) is None:
            raise Unanswered(grpc.StatusCode.NOT_FOUND, SETTLEMENT_UNKNOWN)
        return await self._believe(entry, stands)

    async def _asked(self, entry: Entry) -> pb.GetSettlementResponse | None:
        """What the service has of the entry's key, None if nothing; TerminalRefusal if that is another's request."""
        try:
            found = await self.get(infno=entry.infno, msgid=entry.msgid)
        except TerminalRefusal as refusal:
            if refusal.reason == SETTLEMENT_UNKNOWN:
                return None
            raise not_known(refusal) from None
        if is_of_another(entry, found.settlement):
            # Not to be believed, and least of all to be reversed.
            raise await self._refused(entry, TerminalRefusal(KEY_REUSED, grpc.StatusCode.INVALID_ARGUMENT))
        return found

    async def _send_reversal(self, queued: QueuedReversal) -> Reversed:
        try:
            answer = await self._reversed(infno=queued.infno, msgid=queued.msgid)
        except TerminalRefusal as refusal:
            if not refusal.is_open:
                await self._journal.note_reversal(queued, now=self._now(), reason=refusal.reason)
            raise
        refund_setl_id = "" if answer.refund is None else answer.refund.setl_id
        await self._journal.note_reversal(queued, now=self._now(), refund_setl_id=refund_setl_id)
        return answer

    async def _reversed(self, *, infno: str, msgid: str) -> Reversed:
        """Sends a 2601 and writes down what came of it, also at the request if it was this terminal's.

        What was paid is known first: until then the request stays open here, and the same 2601 is told the same.
        """
        request = pb.ReverseTransactionRequest(fixmedins_code=self.fixmedins_code, oinfno=infno_of(infno), omsgid=msgid)
        answer: pb.ReverseTransactionResponse = await self._patiently(self._settlement.ReverseTransaction, request)
        refund = answer.refund if answer.HasField("refund") else None
        records = [] if refund is None else [record_of(refund, reversed_infno=infno, reversed_msgid=msgid)]
        for record in records:
            await self._know(record.original_setl_id)
        entry = await self._journal.find(fixmedins_code=self.fixmedins_code, infno=infno, msgid=msgid)
        if entry is not None:
            told = Told(
                EntryState.REVERSED,
                setl_id=entry.setl_id or ("" if refund is None else refund.original_setl_id),
                refund_setl_id="" if refund is None else refund.setl_id,
                answer=b"" if refund is None else nameless(refund),
                records=records,
            )
            await self._journal.note_told(entry, told, now=self._now())
        for record in records:
            await self._journal.keep_record(record)
        return Reversed(msgid, refund)

    async def _know(self, setl_id: str) -> None:
        """The day's books have what was paid as well, if only its reversal was heard of; Unanswered if it stays so."""
        if await self._journal.record(setl_id) is None:
            found = await self.get(setl_id=setl_id)
            await self._journal.keep_record(record_of(found.settlement))

    async def _believe(self, entry: Entry, found: pb.GetSettlementResponse) -> Outcome:
        """What was found out is as good as the answer that never came."""
        settlement = found.settlement
        if settlement.state == pb.SETTLEMENT_STATE_REFUSED:
            if found.HasField("replan"):
                return await self._told(entry, found.replan)
            code = grpc.StatusCode.FAILED_PRECONDITION
            raise await self._refused(entry, TerminalRefusal(found.refusal_reason, code))
        if settlement.state in {pb.SETTLEMENT_STATE_REVERSED, pb.SETTLEMENT_STATE_REVOKED}:
            refund = found.refund if found.HasField("refund") else None
            told = Told(
                EntryState.REVERSED,
                setl_id=settlement.setl_id,
                refund_setl_id="" if refund is None else refund.setl_id,
                answer=b"" if refund is None else nameless(refund),
                records=[] if refund is None else [record_of(settlement), taking_back(found)],
            )
            await self._journal.note_told(entry, told, now=self._now())
            return Reversed(entry.msgid, refund)
        return await self._told(entry, settlement)

    async def _told(self, entry: Entry, answer: pb.Settlement | pb.Replan) -> pb.Settlement | pb.Replan:
        if isinstance(answer, pb.Replan):
            told = Told(EntryState.REPLANNED, reason=answer.reason, answer=nameless(answer))
        else:
            told = Told(
                EntryState.SETTLED, setl_id=answer.setl_id, answer=nameless(answer), records=[record_of(answer)]
            )
        await self._journal.note_told(entry, told, now=self._now())
        return answer

    async def _once(self, call: Callable[..., Awaitable[Answer]], request: Message) -> Answer:
        try:
            return await call(request, timeout=self._patience.attempt_s, metadata=self._caller)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None

    async def _patiently(
        self, call: Callable[..., Awaitable[Answer]], request: Message, entry: Entry | None = None
    ) -> Answer:
        """The same bytes again and again, as long as the catalogue or the silence says so and patience lasts."""
        deadline = time.monotonic() + self._patience.request_s
        pause_s = self._patience.pause_first_s
        unanswered: Unanswered | None = None
        while True:
            last: Unanswered | TerminalRefusal
            try:
                return await self._once(call, request)
            except Unanswered as silence:
                unanswered = last = silence
            except TerminalRefusal as refusal:
                if refusal.retry is not Retry.SAME_REQUEST and not self._is_not_told_yet(refusal):
                    if entry is not None and unanswered is not None:
                        raise unanswered from None
                    raise
                last = refusal
            if entry is not None:
                await self._journal.note_attempt(entry)
            wait_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311  Spreads terminals, keeps no secret.
            if time.monotonic() + wait_s >= deadline:
                # A copy that got no answer may still arrive and be done, whatever a later copy was told.
                raise last if unanswered is None else unanswered
            await asyncio.sleep(wait_s)
            pause_s = min(pause_s * 2, self._patience.pause_max_s)

    def _is_not_told_yet(self, refusal: TerminalRefusal) -> bool:
        """Whether it says that nobody is signed in here, so soon after somebody was that it may not have heard."""
        just_signed_in = time.monotonic() - self._signed_in_at < SIGN_IN_TOLD_S
        return just_signed_in and refusal.reason in NOT_SIGNED_IN

    def _key(self, infno: str, msgid: str) -> pb.RequestKey:
        return pb.RequestKey(fixmedins_code=self.fixmedins_code, infno=infno_of(infno), msgid=msgid)
