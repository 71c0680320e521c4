"""Day's end over real gRPC, PostgreSQL, NATS, engine, ledgers: 3201, 3202, and differences until they are settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest

from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from gongji_terminal.msgid import next_msgid
from tests.integration.settlement.desk.books import INSUTYPE, Shop, day_before, upload
from tests.integration.settlement.desk.town import CALL_S, Town

BALANCED: Final = pb.STMT_RSLT_BALANCED
UNBALANCED: Final = pb.STMT_RSLT_UNBALANCED
OPEN, CLEARED = pb.DIFFERENCE_STATE_OPEN, pb.DIFFERENCE_STATE_CLEARED
EXPLAINED, RESOLVED = pb.DIFFERENCE_STATE_EXPLAINED, pb.DIFFERENCE_STATE_RESOLVED


async def shop_of(town: Town, *bills_fen: int) -> Shop:
    """A hospital of its own that has settled these bills of one patient."""
    shop = await Shop.opened(town)
    patient = await town.person(past=100_000)
    async with town.terminal(fixmedins_code=shop.code) as (terminal, _):
        for total_fen in bills_fen:
            await shop.pays(terminal, patient, total_fen)
    return shop


def kinds(found: list[pb.Difference]) -> list[str]:
    """What kind of difference each is."""
    return [pb.DifferenceKind.Name(each.kind).removeprefix("DIFFERENCE_KIND_") for each in found]


async def resolve(shop: Shop, difference_id: str, state: int, cause: str = "the paper slip shows it") -> pb.Difference:
    """An officer's word."""
    request = pb.ResolveDifferenceRequest(difference_id=difference_id, state=state, cause=cause, opter="z1")  # type: ignore[arg-type]  # An enum's number.
    return (await shop.reconciliation.ResolveDifference(request, timeout=CALL_S)).difference  # type: ignore[no-any-return]  # The raw stub.


async def test_totals_balance_with_what_the_answers_come_to(town: Town) -> None:
    """Two settlements and a reversal, summed from our own answers, agree in every count and amount of their group."""
    shop = await shop_of(town, 1_000, 2_500)
    await shop.reverses(shop.settlements[0])
    answer = await shop.totals()
    assert (answer.stmt_rslt, len(answer.groups), answer.provisional) == (BALANCED, 1, True)
    (group,) = answer.groups
    assert (group.insutype, group.clr_type, group.stmt_rslt) == (INSUTYPE, "11", BALANCED)
    assert (group.ours.fixmedins_setl_cnt, group.ours.refd_setl_cnt) == (3, 1)
    assert group.ours.amounts.medfee_sumamt == 2_500
    assert group.ours.amounts.acct_pay == 2_500


@pytest.mark.parametrize("name", [amount.name for amount in pb.StatementAmounts.DESCRIPTOR.fields])
async def test_a_fen_more_in_any_amount_is_unbalanced(shop: Shop, name: str) -> None:
    """Each amount that is stated is compared."""
    rows = [pb.StatementRow.FromString(row.SerializeToString()) for row in shop.rows]
    setattr(rows[0].amounts, name, getattr(rows[0].amounts, name) + 1)
    assert (await shop.totals(rows)).stmt_rslt == UNBALANCED


async def test_a_group_that_was_not_stated_is_unbalanced_unless_only_the_stated_are_judged(shop: Shop) -> None:
    """Nothing stated beside records of ours: unbalanced; as the national 3201 asks, there is nothing to judge."""
    assert (await shop.totals([])).stmt_rslt == UNBALANCED
    assert (await shop.totals([], stated_only=True)).stmt_rslt == BALANCED
    foreign = pb.StatementRow(insutype="390", clr_type="21", amounts=pb.StatementAmounts())
    assert (await shop.totals([*shop.rows, foreign])).stmt_rslt == UNBALANCED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stmt_begndate": "2026-02-30"}, "DATE_MALFORMED"),
        ({"stmt_begndate": "2199-01-01", "stmt_enddate": "2199-01-01"}, "PERIOD_NOT_BEGUN"),
        ({"stmt_begndate": "2026-01-02", "stmt_enddate": "2026-01-01"}, "PERIOD_BACKWARDS"),
        ({"stmt_begndate": "2026-01-01", "stmt_enddate": "2026-02-01"}, "PERIOD_TOO_LONG"),
        ({"stmt_begndate": "2026-1-1"}, "REQUEST_INVALID"),
    ],
)
async def test_a_period_that_cannot_be_is_refused(shop: Shop, changes: dict[str, Any], reason: str) -> None:
    """Days that do not exist, have not begun, run backwards or are too many."""
    assert await shop.town.refused(shop.totals(**changes)) == reason


async def test_an_unknown_institution_has_no_books(town: Town) -> None:
    """All of the faces that are about one institution refuse one that identity never told of."""
    nobody = Shop(town, "H65019999999")
    dates: dict[str, Any] = {"stmt_begndate": "2026-01-02", "stmt_enddate": "2026-01-02"}
    assert await town.refused(nobody.totals(**dates)) == "INSTITUTION_UNKNOWN"
    assert await town.refused(nobody.details(day="2026-01-02")) == "INSTITUTION_UNKNOWN"


async def test_the_same_rows_balance_and_sent_again_change_nothing(shop: Shop) -> None:
    """Every row agrees; the same upload is known, and no row of differences comes or goes."""
    first, again = await shop.details(), await shop.details()
    assert (first.stmt_rslt, first.theirs_cnt, first.ours_cnt, first.existed) == (BALANCED, 2, 2, False)
    assert (again.stmt_rslt, list(again.differences), again.existed) == (BALANCED, [], True)
    assert await shop.differences() == []


async def test_each_kind_of_difference_is_told_apart(town: Town) -> None:
    """A record they lack, one we never heard of, one fen more, one that was reversed before it began."""
    shop = await shop_of(town, 1_000, 2_000, 3_000)
    lacking, agreed, dearer = shop.rows
    dearer = pb.StatementRow.FromString(dearer.SerializeToString())
    dearer.amounts.psn_cash_pay += 1
    unheard = pb.StatementRow.FromString(agreed.SerializeToString())
    unheard.setl_id = str(uuid4())
    stopped = pb.StatementRow.FromString(agreed.SerializeToString())
    stopped.setl_id, stopped.infno, stopped.msgid = "", "2207", next_msgid(shop.code, 99, now=datetime.now(UTC))
    await town.desk.ReverseTransaction(
        settlement_pb2.ReverseTransactionRequest(
            fixmedins_code=shop.code, oinfno=settlement_pb2.INFNO_2207, omsgid=stopped.msgid
        ),
        timeout=CALL_S,
    )
    answer = await shop.details([agreed, dearer, unheard, stopped])
    assert (answer.stmt_rslt, answer.theirs_cnt, answer.ours_cnt) == (UNBALANCED, 4, 3)
    assert [(count.kind, count.state, count.cnt) for count in answer.differences] == [
        (pb.DIFFERENCE_KIND_AMOUNT, OPEN, 1),
        (pb.DIFFERENCE_KIND_ONLY_OURS, OPEN, 1),
        (pb.DIFFERENCE_KIND_ONLY_THEIRS, OPEN, 1),
        (pb.DIFFERENCE_KIND_STATE, OPEN, 1),
    ]
    found = {pb.DifferenceKind.Name(each.kind): each for each in await shop.differences()}
    assert found["DIFFERENCE_KIND_ONLY_OURS"].ours == lacking
    assert found["DIFFERENCE_KIND_ONLY_THEIRS"].theirs == unheard
    assert (list(found["DIFFERENCE_KIND_AMOUNT"].fields), found["DIFFERENCE_KIND_AMOUNT"].theirs) == (
        ["psn_cash_pay"],
        dearer,
    )
    assert (found["DIFFERENCE_KIND_STATE"].ours_state, list(found["DIFFERENCE_KIND_STATE"].fields)) == (
        "REVERSED",
        ["state"],
    )


async def test_a_row_without_a_setl_id_is_found_by_its_request(shop: Shop) -> None:
    """Whoever never saw an answer names the request, and the settlement that it made is found."""
    named = pb.StatementRow.FromString(shop.rows[0].SerializeToString())
    named.setl_id = ""
    assert (await shop.details([named, *shop.rows[1:]])).stmt_rslt == BALANCED


async def test_another_institutions_record_is_as_if_it_were_not(town: Town, shop: Shop) -> None:
    """A setl_id of another hospital tells nothing of its bill."""
    other = await shop_of(town, 1_000)
    await shop.details([*shop.rows, *other.rows])
    (found,) = await shop.differences()
    assert (kinds([found]), found.ours_state, found.HasField("ours")) == (["ONLY_THEIRS"], "", False)
    await shop.details()


async def test_a_late_reversal_lands_on_its_own_day(town: Town) -> None:
    """A settlement of yesterday reversed today: yesterday has the settlement, today the record that gave it back."""
    shop = await shop_of(town, 1_000)
    settled = shop.rows[0]
    refund = await shop.reverses(shop.settlements[0])
    await shop.moved_back(settled.setl_id)
    yesterday = day_before(shop.day)
    assert (await shop.details([settled], day=yesterday)).stmt_rslt == BALANCED
    assert (await shop.details([shop.rows[1]])).stmt_rslt == BALANCED
    totals = await shop.totals(stmt_begndate=yesterday)
    assert (totals.stmt_rslt, totals.groups[0].ours.amounts.medfee_sumamt) == (BALANCED, 0)
    assert (await shop.totals([shop.rows[1]])).stmt_rslt == BALANCED
    # Booked by the hospital on the wrong day: it is known there, and ours says where it belongs.
    await shop.details([settled, shop.rows[1]])
    (found,) = await shop.differences()
    assert (kinds([found]), list(found.fields), found.ours_stmt_date) == (["STATE"], ["stmt_date"], yesterday)
    assert refund.original_setl_id == settled.setl_id


async def test_later_rows_clear_what_differs_no_more(town: Town) -> None:
    """A row that was forgotten and comes later: its difference is cleared, and opens again when the row is gone."""
    shop = await shop_of(town, 1_000, 2_000)
    assert (await shop.details(shop.rows[1:])).stmt_rslt == UNBALANCED
    (first,) = await shop.differences()
    assert (await shop.details()).stmt_rslt == BALANCED
    assert await shop.differences() == []
    (cleared,) = await shop.differences(state=CLEARED)
    assert (cleared.difference_id, cleared.state) == (first.difference_id, CLEARED)
    await shop.details(shop.rows[1:])
    (again,) = await shop.differences()
    assert (again.difference_id, again.state, again.found_time) == (first.difference_id, OPEN, first.found_time)


async def test_what_an_officer_settled_does_not_come_back(town: Town) -> None:
    """Explained, it stays so whatever is sent again and the day balances; once it differs otherwise, it opens anew."""
    shop = await shop_of(town, 1_000, 2_000)
    dearer = pb.StatementRow.FromString(shop.rows[0].SerializeToString())
    dearer.amounts.psn_cash_pay += 1
    await shop.details([dearer, shop.rows[1]])
    (found,) = await shop.differences()
    explained = await resolve(shop, found.difference_id, EXPLAINED)
    assert (explained.state, explained.opter, explained.cause) == (EXPLAINED, "z1", "the paper slip shows it")
    assert await resolve(shop, found.difference_id, EXPLAINED) == explained
    again = await shop.details([dearer, shop.rows[1]])
    assert (again.stmt_rslt, [count.state for count in again.differences]) == (BALANCED, [EXPLAINED])
    assert await shop.differences() == [explained]
    refused = await town.refused(resolve(shop, found.difference_id, EXPLAINED, "another cause"))
    assert refused == "DIFFERENCE_DECIDED"
    assert (await resolve(shop, found.difference_id, RESOLVED)).state == RESOLVED
    dearer.amounts.psn_cash_pay += 1
    assert (await shop.details([dearer, shop.rows[1]])).stmt_rslt == UNBALANCED
    (reopened,) = await shop.differences()
    assert (reopened.difference_id, reopened.state, reopened.opter) == (found.difference_id, OPEN, "")


async def test_a_cleared_or_unknown_difference_cannot_be_resolved(shop: Shop) -> None:
    """There is nothing to decide."""
    await shop.details(shop.rows[1:])
    (found,) = await shop.differences()
    await shop.details()
    assert await shop.town.refused(resolve(shop, found.difference_id, RESOLVED)) == "DIFFERENCE_CLEARED"
    assert await shop.town.refused(resolve(shop, str(uuid4()), RESOLVED)) == "DIFFERENCE_UNKNOWN"


async def test_officers_list_what_is_open_page_by_page(town: Town) -> None:
    """Of one institution, in pages of one, each difference once and no other institution's."""
    shop = await shop_of(town, 1_000, 2_000, 3_000)
    await shop.details([])
    seen, token = [], ""
    while True:
        request = pb.ListDifferencesRequest(area="650100", fixmedins_code=shop.code, page_size=1, page_token=token)
        page = await shop.reconciliation.ListDifferences(request, timeout=CALL_S)
        seen += [each.setl_id for each in page.differences]
        token = page.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted(row.setl_id for row in shop.rows)
    whole = pb.ListDifferencesRequest(area="650100", page_size=200)
    listed = await shop.reconciliation.ListDifferences(whole, timeout=CALL_S)
    assert {row.setl_id for row in shop.rows} <= {each.setl_id for each in listed.differences}
    settled = pb.ListDifferencesRequest(area="650100", state=RESOLVED)
    assert await town.refused(shop.reconciliation.ListDifferences(settled, timeout=CALL_S)) == "INSTITUTION_NEEDED"
    elsewhere = pb.ListDifferencesRequest(area="650500", fixmedins_code=shop.code)
    assert not (await shop.reconciliation.ListDifferences(elsewhere, timeout=CALL_S)).differences
    wrong = pb.ListDifferencesRequest(page_token="YXxi")  # noqa: S106  No secret: a page's.
    assert await town.refused(shop.reconciliation.ListDifferences(wrong, timeout=CALL_S)) == "PAGE_TOKEN_MALFORMED"


async def test_a_day_tells_how_it_stands(shop: Shop) -> None:
    """Before anything was sent there is no result; afterwards the latest rows, the counts, and our totals."""
    request = pb.GetReconciliationRequest(fixmedins_code=shop.code, stmt_date=day_before(shop.day))
    empty = await shop.reconciliation.GetReconciliation(request, timeout=CALL_S)
    assert (empty.stmt_rslt, empty.upload_id, list(empty.ours)) == (pb.STMT_RSLT_UNSPECIFIED, "", [])
    told = await shop.details(shop.rows[1:])
    request.stmt_date = shop.day
    view = await shop.reconciliation.GetReconciliation(request, timeout=CALL_S)
    assert (view.stmt_rslt, view.upload_id, view.theirs_cnt) == (UNBALANCED, told.upload_id, 1)
    assert [total.fixmedins_setl_cnt for total in view.ours] == [2]
    await shop.details()


@pytest.mark.parametrize(("announced", "reason"), [(1, "ROWS_CNT_DIFFERS"), (3, "ROWS_CNT_DIFFERS")])
async def test_an_upload_that_is_not_whole_is_not_compared(shop: Shop, announced: int, reason: str) -> None:
    """Fewer or more rows than announced: refused, and the day stands as it stood."""
    await shop.details()
    assert await shop.town.refused(shop.details(rows_cnt=announced)) == reason
    assert await shop.differences() == []


async def test_rows_that_cannot_be_told_apart_or_found_are_refused(shop: Shop) -> None:
    """A record twice, by its id or once by its request; a row that names nothing."""
    assert await shop.town.refused(shop.details([*shop.rows, shop.rows[0]])) == "ROW_STATED_TWICE"
    named = pb.StatementRow.FromString(shop.rows[0].SerializeToString())
    named.setl_id = ""
    assert await shop.town.refused(shop.details([*shop.rows, named])) == "ROW_STATED_TWICE"
    named.infno = named.msgid = ""
    assert await shop.town.refused(shop.details([named])) == "ROW_UNNAMED"


async def test_an_upload_begins_with_one_header(shop: Shop) -> None:
    """Nothing at all, rows first, a header in the middle: each is refused by name."""
    header, rows = [part async for part in upload(shop.code, shop.day, shop.rows, rows_cnt=2)]

    async def send(*parts: pb.ReconcileDetailRequest) -> pb.ReconcileDetailResponse:
        return await shop.reconciliation.ReconcileDetail(iter(parts), timeout=CALL_S)  # type: ignore[no-any-return]  # The raw stub.

    assert await shop.town.refused(send()) == "UPLOAD_WITHOUT_HEADER"
    assert await shop.town.refused(send(rows)) == "UPLOAD_WITHOUT_HEADER"
    assert await shop.town.refused(send(header, header, rows)) == "UPLOAD_WITH_TWO_HEADERS"


async def test_an_upload_that_breaks_off_leaves_the_day_as_it_was(shop: Shop) -> None:
    """The caller goes away in the middle: nothing is compared, and the rows that came are not the day's."""
    before = await shop.details()

    async def half() -> AsyncIterator[pb.ReconcileDetailRequest]:
        yield pb.ReconcileDetailRequest(
            header=pb.ReconcileDetailHeader(fixmedins_code=shop.code, stmt_date=shop.day, rows_cnt=2)
        )
        yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=shop.rows[:1]))
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError):
        await shop.reconciliation.ReconcileDetail(half(), timeout=0.5)
    request = pb.GetReconciliationRequest(fixmedins_code=shop.code, stmt_date=shop.day)
    assert (await shop.reconciliation.GetReconciliation(request, timeout=CALL_S)).upload_id == before.upload_id


async def test_of_uploads_side_by_side_one_counts_and_the_day_stands_as_it_says(shop: Shop) -> None:
    """Five machines send different rows of one day at once: each is answered or superseded, none breaks."""
    sent = [shop.rows, shop.rows[:1], shop.rows[1:], [], shop.rows]
    answers = await asyncio.gather(*(shop.details(rows) for rows in sent), return_exceptions=True)
    told = [answer for answer in answers if isinstance(answer, pb.ReconcileDetailResponse)]
    assert told
    for answer in answers:
        if isinstance(answer, BaseException):
            assert "RECONCILIATION_SUPERSEDED" in str(answer) or isinstance(answer, grpc.aio.AioRpcError)
    assert (await shop.details()).stmt_rslt == BALANCED
    assert await shop.differences() == []


@pytest.fixture(scope="module")
async def shop(town: Town) -> Shop:
    """A hospital with two settled bills; a test leaves its day balanced."""
    return await shop_of(town, 1_000, 2_000)
