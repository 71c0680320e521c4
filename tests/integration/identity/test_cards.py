"""Cards through gRPC: issued, activated, shown with a PIN, locked, lost, unlocked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gongji.identity.v1 import cards_pb2, credentials_pb2, identity_pb2
from kernel.failures import Failure
from services.identity.domain.attestation import Purpose
from services.identity.operations import pins
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import (
    HOSPITAL,
    LI,
    WANG,
    Identity,
    SetClock,
    StartIdentity,
    refusal,
)

CARD_NO = "A12345678"
OTHER_CARD_NO = "B87654321"
PIN = "204857"
OTHER_PIN = "738104"
DESK = {"fixmedins_code": HOSPITAL, "terminal_no": "T1"}


@pytest.fixture
async def desk(identity: Identity) -> Identity:
    """A room with two insured people and a hospital."""
    await populated(identity)
    return identity


async def populated(identity: Identity) -> None:
    """Two insured people and a hospital."""
    for person in (WANG, LI):
        await identity.register(**person)
    await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=WANG["psn_no"], insutype="310", insuplc_admdvs="650100"))
    await identity.hospital()


async def issue(
    identity: Identity, person: dict[str, str] = WANG, card_no: str = CARD_NO
) -> cards_pb2.IssueCardResponse:
    """A card for a person."""
    return await identity.cards.IssueCard(
        cards_pb2.IssueCardRequest(psn_no=person["psn_no"], card_no=card_no, opter="zhang01")
    )


async def begin(identity: Identity, card_no: str = CARD_NO, **fields: Any) -> cards_pb2.BeginActivationResponse:  # noqa: ANN401  Any field.
    """What the holder is shown."""
    request = cards_pb2.BeginActivationRequest(**({"card_no": card_no, **DESK} | fields))
    return await identity.cards.BeginActivation(request)


async def activate(identity: Identity, **fields: Any) -> cards_pb2.Card:  # noqa: ANN401  As above.
    """Activates WANG's card with everything as it should be, unless the fields say otherwise."""
    standard: dict[str, Any] = {"card_no": CARD_NO, "pin": PIN, **DESK}
    if "digest" not in fields:
        standard["digest"] = (await begin(identity, fields.get("card_no", CARD_NO))).digest
    if "attestation_id" not in fields:
        standard["attestation_id"] = await attested(identity, WANG["psn_no"], Purpose.ACTIVATE_CARD)
    return (await identity.cards.ActivateCard(cards_pb2.ActivateCardRequest(**(standard | fields)))).card


async def active(identity: Identity) -> cards_pb2.Card:
    """An active card of WANG's."""
    await issue(identity)
    return await activate(identity)


def shown(pin: str = PIN, card_no: str = CARD_NO) -> credentials_pb2.CardShown:
    """The card at the desk."""
    return credentials_pb2.CardShown(card_no=card_no, pin=pin)


async def pin_refusal(identity: Identity, pin: str) -> tuple[str, str]:
    """Reason and tries left of a PIN that is refused at the desk."""
    with pytest.raises(Failure) as refused:
        await identity.decode(card=shown(pin))
    return refused.value.reason, refused.value.metadata.get("tries_left", "")


async def unlock(identity: Identity, **fields: Any) -> cards_pb2.Card:  # noqa: ANN401  As above.
    """An officer unlocks WANG's PIN."""
    standard: dict[str, Any] = {"psn_no": WANG["psn_no"], "opter": "zhang01", "cause": "忘记密码"}
    if "attestation_id" not in fields:
        standard["attestation_id"] = await attested(identity, WANG["psn_no"], Purpose.UNLOCK_PIN)
    return (await identity.cards.UnlockPin(cards_pb2.UnlockPinRequest(**(standard | fields)))).card


async def lost(identity: Identity, psn_no: str = WANG["psn_no"], card_id: str = "") -> cards_pb2.Card:
    """The holder reports his card lost: this one, or the one he holds."""
    request = cards_pb2.ReportCardLostRequest(psn_no=psn_no, opter="self", card_id=card_id)
    return (await identity.cards.ReportCardLost(request)).card


async def test_a_card_is_issued_activated_and_shown_with_its_pin(desk: Identity) -> None:
    """From the office to the desk: the token says 03 and is the holder's."""
    issued = await issue(desk)
    assert (issued.existed, issued.card.state, issued.card.card_no_masked) == (
        False,
        cards_pb2.CARD_STATE_ISSUED,
        "*****5678",
    )
    told = await begin(desk)
    assert told.name_masked == "王*国"
    assert [(each.insutype, each.insuplc_admdvs, each.has_personal_account) for each in told.linked_accounts] == [
        ("310", "650100", True)
    ]
    card = await activate(desk)
    assert (card.state, card.pin_locked) == (cards_pb2.CARD_STATE_ACTIVE, False)
    decoded = await desk.decode(card=shown())
    assert (decoded.person.psn_no, decoded.mdtrt_cert_type) == (WANG["psn_no"], "03")
    await desk.decode(card=shown())


async def test_the_same_card_again_is_the_same_and_nobody_holds_two(desk: Identity) -> None:
    """Issued again it existed; a second card, or one number for two people, is refused."""
    first = await issue(desk)
    again = await issue(desk)
    assert (again.existed, again.card) == (True, first.card)
    assert await refusal(issue(desk, card_no=OTHER_CARD_NO)) == ("ALREADY_EXISTS", "CARD_ALREADY_HELD", "psn_no")
    assert await refusal(issue(desk, LI)) == ("ALREADY_EXISTS", "CARD_NO_TAKEN", "card_no")
    assert (await refusal(issue(desk, {"psn_no": "650100000000099"})))[1] == "PERSON_UNKNOWN"


async def test_of_two_cards_issued_at_once_a_person_holds_one(start_identity: StartIdentity) -> None:
    """Twenty cards for one person at two replicas at once: one is his; and one number for two people is one's."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await populated(replicas[0])
    answers = await asyncio.gather(
        *(issue(replicas[n % 2], card_no=f"C1234567{n:02d}") for n in range(20)), return_exceptions=True
    )
    assert Counter(getattr(answer, "reason", "") for answer in answers) == {"": 1, "CARD_ALREADY_HELD": 19}
    await lost(replicas[0])
    both = await asyncio.gather(issue(replicas[0], WANG), issue(replicas[1], LI), return_exceptions=True)
    assert sorted(getattr(answer, "reason", "") for answer in both) == ["", "CARD_NO_TAKEN"]


async def test_a_card_that_is_not_active_opens_nothing(desk: Identity) -> None:
    """Before activation, after loss, and a number that nobody has: each by its name."""
    assert (await pin_refusal(desk, PIN))[0] == "CARD_UNKNOWN"
    await issue(desk)
    assert (await pin_refusal(desk, PIN))[0] == "CARD_NOT_ACTIVE"
    await activate(desk)
    assert (await refusal(activate(desk, digest="0" * 64)))[1] == "CARD_ALREADY_ACTIVE"
    assert (await lost(desk)).state == cards_pb2.CARD_STATE_LOST
    assert (await pin_refusal(desk, PIN))[0] == "CARD_LOST"
    assert (await lost(desk)).state == cards_pb2.CARD_STATE_LOST
    assert (await refusal(issue(desk)))[1] == "CARD_LOST"
    assert (await refusal(begin(desk)))[1] == "CARD_LOST"


async def test_after_a_loss_another_card_takes_its_place(desk: Identity) -> None:
    """The new one is activated anew, with a PIN of its own; both stand in the list, newest first, page by page."""
    await active(desk)
    await lost(desk)
    desk.clock.advance(seconds=1)
    await issue(desk, card_no=OTHER_CARD_NO)
    await activate(desk, card_no=OTHER_CARD_NO, pin=OTHER_PIN)
    assert (await desk.decode(card=shown(OTHER_PIN, OTHER_CARD_NO))).person.psn_no == WANG["psn_no"]
    listed: list[cards_pb2.Card] = []
    token = ""
    while True:
        request = cards_pb2.ListCardsRequest(psn_no=WANG["psn_no"], page_size=1, page_token=token)
        page = await desk.cards.ListCards(request)
        listed += page.cards
        token = page.next_page_token
        if not token:
            break
    assert [(card.card_no_masked, card.state) for card in listed] == [
        ("*****4321", cards_pb2.CARD_STATE_ACTIVE),
        ("*****5678", cards_pb2.CARD_STATE_LOST),
    ]
    wrong = cards_pb2.ListCardsRequest(psn_no=WANG["psn_no"], page_token="eA")  # noqa: S106  Of a page.
    assert await refusal(desk.cards.ListCards(wrong)) == ("INVALID_ARGUMENT", "PAGE_TOKEN_MALFORMED", "page_token")
    assert (await refusal(lost(desk, LI["psn_no"])))[1] == "CARD_UNKNOWN"


async def test_a_loss_of_this_card_sent_again_after_another_was_issued_leaves_that_one(desk: Identity) -> None:
    """With its id the report is about one card for ever; without one it is about the card that is held now."""
    first = await active(desk)
    assert (await lost(desk, card_id=first.card_id)).state == cards_pb2.CARD_STATE_LOST
    desk.clock.advance(seconds=1)
    second = (await issue(desk, card_no=OTHER_CARD_NO)).card
    again = await lost(desk, card_id=first.card_id)
    assert (again.card_id, again.state) == (first.card_id, cards_pb2.CARD_STATE_LOST)
    await activate(desk, card_no=OTHER_CARD_NO, pin=OTHER_PIN)
    async with desk.database.driver_connection() as connection:
        reports = await connection.fetchval("SELECT count(*) FROM card_changes WHERE change = 'LOST'")
    assert reports == 1
    assert (await lost(desk)).card_id == second.card_id


async def test_a_loss_is_reported_of_ones_own_card_alone(desk: Identity) -> None:
    """Another's card, one that nobody has, and what is no id are refused, and the card stays."""
    card = await active(desk)
    unknown = ("NOT_FOUND", "CARD_UNKNOWN", "card_id")
    assert await refusal(lost(desk, LI["psn_no"], card_id=card.card_id)) == unknown
    assert await refusal(lost(desk, card_id="00000000-0000-7000-8000-000000000001")) == unknown
    assert await refusal(lost(desk, card_id="x")) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "card_id")
    assert (await desk.decode(card=shown())).mdtrt_cert_type == "03"


async def test_what_was_confirmed_must_be_what_stands_there(desk: Identity) -> None:
    """A change of insurance between showing and confirming makes the confirmation worthless, and uses up no face."""
    await issue(desk)
    digest = (await begin(desk)).digest
    await desk.stub.Enrol(identity_pb2.EnrolRequest(psn_no=WANG["psn_no"], insutype="310", insuplc_admdvs="652200"))
    face = await attested(desk, WANG["psn_no"], Purpose.ACTIVATE_CARD)
    stale = ("ABORTED", "ACTIVATION_STALE", "digest")
    assert await refusal(activate(desk, digest=digest, attestation_id=face)) == stale
    assert (await activate(desk, attestation_id=face)).state == cards_pb2.CARD_STATE_ACTIVE


@pytest.mark.parametrize("pin", ["123456", "111111", "850312", "124518"])
async def test_a_trivial_pin_activates_nothing(desk: Identity, pin: str) -> None:
    """Neither a row nor a piece of the birth date or the ID number."""
    await issue(desk)
    assert await refusal(activate(desk, pin=pin)) == ("INVALID_ARGUMENT", "PIN_TRIVIAL", "pin")
    await activate(desk)
    change = cards_pb2.ChangePinRequest(card_no=CARD_NO, pin=PIN, new_pin=pin)
    assert await refusal(desk.cards.ChangePin(change)) == ("INVALID_ARGUMENT", "PIN_TRIVIAL", "new_pin")


async def test_a_card_is_activated_by_its_holders_face_alone(desk: Identity) -> None:
    """Another's face, a face shown for something else, an unknown one: refused, and the card stays as it is."""
    await issue(desk)
    others = await attested(desk, LI["psn_no"], Purpose.ACTIVATE_CARD)
    for_data = await attested(desk, WANG["psn_no"], Purpose.EXPORT_DATA)
    for face, reason in (
        (others, "ATTESTATION_OF_ANOTHER_PERSON"),
        (for_data, "ATTESTATION_OF_ANOTHER_PURPOSE"),
        (str(uuid4()), "ATTESTATION_UNKNOWN"),
    ):
        assert (await refusal(activate(desk, attestation_id=face)))[1] == reason
    assert (await pin_refusal(desk, PIN))[0] == "CARD_NOT_ACTIVE"


async def test_five_wrong_pins_lock_a_card_and_a_right_one_begins_anew(desk: Identity) -> None:
    """Four wrong ones and a right one are forgotten; five wrong ones lock, for the right one too."""
    await active(desk)
    for left in "4321":
        assert await pin_refusal(desk, OTHER_PIN) == ("PIN_WRONG", left)
    await desk.decode(card=shown())
    for left in "43210":
        assert await pin_refusal(desk, OTHER_PIN) == ("PIN_WRONG", left)
    assert await pin_refusal(desk, PIN) == ("PIN_LOCKED", "")
    (card,) = (await desk.cards.ListCards(cards_pb2.ListCardsRequest(psn_no=WANG["psn_no"]))).cards
    assert card.pin_locked
    change = cards_pb2.ChangePinRequest(card_no=CARD_NO, pin=PIN, new_pin=OTHER_PIN)
    assert (await refusal(desk.cards.ChangePin(change)))[1] == "PIN_LOCKED"


async def test_of_many_wrong_pins_at_once_five_are_looked_at(start_identity: StartIdentity) -> None:
    """Twenty tries over two replicas at once: five wrong, fifteen locked out, not one more guess."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await populated(replicas[0])
    await active(replicas[0])

    async def tried(n: int) -> str:
        return (await pin_refusal(replicas[n % 2], f"9{n:02d}357"))[0]

    assert Counter(await asyncio.gather(*map(tried, range(20)))) == {"PIN_WRONG": 5, "PIN_LOCKED": 15}
    async with replicas[0].database.driver_connection() as connection:
        found = await connection.fetch("SELECT reason, psn_no, refusals FROM refused_decodings ORDER BY reason")
    assert [tuple(row) for row in found] == [("PIN_LOCKED", WANG["psn_no"], 15), ("PIN_WRONG", WANG["psn_no"], 5)]


async def test_an_officer_unlocks_with_the_holders_face(desk: Identity) -> None:
    """The old PIN counts again, or a new one is chosen; who did it and why is on record."""
    await active(desk)
    for _ in range(5):
        await pin_refusal(desk, OTHER_PIN)
    assert (await refusal(unlock(desk, attestation_id=str(uuid4()))))[1] == "ATTESTATION_UNKNOWN"
    assert not (await unlock(desk)).pin_locked
    await desk.decode(card=shown())
    await unlock(desk, new_pin=OTHER_PIN)
    assert (await pin_refusal(desk, PIN))[0] == "PIN_WRONG"
    await desk.decode(card=shown(OTHER_PIN))
    async with desk.database.driver_connection() as connection:
        found = await connection.fetch("SELECT change, opter, cause FROM card_changes ORDER BY id")
    assert [tuple(row) for row in found] == [
        ("ISSUED", "zhang01", ""),
        ("ACTIVATED", f"terminal:{HOSPITAL}/T1", ""),
        ("PIN_UNLOCKED", "zhang01", "忘记密码"),
        ("PIN_UNLOCKED", "zhang01", "忘记密码"),
    ]


async def test_the_holder_changes_his_pin(desk: Identity) -> None:
    """With the old one; a wrong one counts as a try, the same one is none."""
    await active(desk)

    def change(pin: str, new_pin: str) -> Awaitable[cards_pb2.ChangePinResponse]:
        return desk.cards.ChangePin(cards_pb2.ChangePinRequest(card_no=CARD_NO, pin=pin, new_pin=new_pin))

    assert (await refusal(change(OTHER_PIN, "591728")))[1] == "PIN_WRONG"
    assert await refusal(change(PIN, PIN)) == ("INVALID_ARGUMENT", "PIN_UNCHANGED", "new_pin")
    await change(PIN, OTHER_PIN)
    assert (await pin_refusal(desk, PIN))[0] == "PIN_WRONG"
    await desk.decode(card=shown(OTHER_PIN))


async def test_wrong_pins_that_are_typed_in_an_app_are_kept_as_those_at_a_desk(desk: Identity) -> None:
    """Five guesses through ChangePin and the lock-out stand against the holder's card, at no terminal."""
    await active(desk)
    for _ in range(7):
        change = cards_pb2.ChangePinRequest(card_no=CARD_NO, pin=OTHER_PIN, new_pin="591728")
        await refusal(desk.cards.ChangePin(change))
    async with desk.database.driver_connection() as connection:
        found = await connection.fetch("SELECT * FROM refused_decodings ORDER BY reason")
    assert [
        (row["fixmedins_code"], row["terminal_no"], row["reason"], row["psn_no"], row["refusals"]) for row in found
    ] == [
        ("", "", "PIN_LOCKED", WANG["psn_no"], 2),
        ("", "", "PIN_WRONG", WANG["psn_no"], 5),
    ]


async def test_a_lost_card_opens_nothing_though_its_pin_was_being_tried(desk: Identity) -> None:
    """Lost while tries are under way: each ends before or after, and afterwards none is taken."""
    await active(desk)
    await asyncio.gather(*(desk.decode(card=shown()) for _ in range(3)), lost(desk), return_exceptions=True)
    assert (await pin_refusal(desk, PIN))[0] == "CARD_LOST"


async def test_neither_a_card_number_nor_a_pin_lies_open(desk: Identity) -> None:
    """Searching all rows of all tables finds neither; two holders with one PIN have two proofs."""
    await active(desk)
    await issue(desk, LI, OTHER_CARD_NO)
    face = await attested(desk, LI["psn_no"], Purpose.ACTIVATE_CARD)
    await activate(desk, card_no=OTHER_CARD_NO, attestation_id=face)
    stored: list[str] = []
    async with desk.database.driver_connection() as connection:
        for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):  # noqa: S608  A table's own name.
                stored += [value.hex() if isinstance(value, bytes) else str(value) for value in row]
        proofs = await connection.fetch("SELECT pin_hash, pin_salt FROM cards")
    text = "\n".join(stored)
    assert [each for each in (CARD_NO, OTHER_CARD_NO, PIN) if each in text or each.encode().hex() in text] == []
    assert len({row["pin_hash"] for row in proofs}) == len({row["pin_salt"] for row in proofs}) == 2


def take_pepper_out(secrets_file: Path) -> None:
    """As a secrets file was before there were cards."""
    document = json.loads(secrets_file.read_text())
    del document["pin"]
    secrets_file.write_text(json.dumps(document))


async def test_without_a_pepper_codes_go_on_and_pins_wait(start_identity: StartIdentity, secrets_file: Path) -> None:
    """Secrets of before there were cards: everything but PINs works, and what to do is said."""
    take_pepper_out(secrets_file)
    identity = await start_identity()
    await populated(identity)
    await issue(identity)
    assert (await refusal(activate(identity)))[:2] == ("UNAVAILABLE", "PIN_PEPPER_MISSING")
    assert (await identity.decode(await identity.code(WANG["psn_no"]))).person.psn_no == WANG["psn_no"]


async def test_of_many_activations_at_once_one_counts_with_its_pin(start_identity: StartIdentity) -> None:
    """Eight over two replicas with one face, each with a PIN of its own: one PIN opens the card, the others do not."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await populated(replicas[0])
    await issue(replicas[0])
    chosen = [f"2048{n}7" for n in range(8)]
    told = {
        "digest": (await begin(replicas[0])).digest,
        "attestation_id": await attested(replicas[0], WANG["psn_no"], Purpose.ACTIVATE_CARD),
    }
    answers = await asyncio.gather(
        *(activate(replicas[n % 2], pin=pin, **told) for n, pin in enumerate(chosen)), return_exceptions=True
    )
    reasons = [getattr(answer, "reason", "") for answer in answers]
    assert Counter(reasons) == {"": 1, "CARD_ALREADY_ACTIVE": 7}
    taken = chosen[reasons.index("")]
    assert (await pin_refusal(replicas[1], chosen[reasons.index("") - 1]))[0] == "PIN_WRONG"
    await replicas[1].decode(card=shown(taken))


async def test_cards_that_are_tried_out_for_activation_are_kept_as_refused(desk: Identity) -> None:
    """Numbers that nobody has, and a face that is not the holder's, stand against the terminal and the holder."""
    await issue(desk)
    for n in range(3):
        assert (await refusal(begin(desk, f"X1234567{n}")))[1] == "CARD_UNKNOWN"
    face = await attested(desk, LI["psn_no"], Purpose.ACTIVATE_CARD)
    assert (await refusal(activate(desk, attestation_id=face)))[1] == "ATTESTATION_OF_ANOTHER_PERSON"
    async with desk.database.driver_connection() as connection:
        found = await connection.fetch("SELECT * FROM refused_decodings ORDER BY reason")
    assert [(row["terminal_no"], row["reason"], row["psn_no"], row["refusals"]) for row in found] == [
        ("T1", "ATTESTATION_OF_ANOTHER_PERSON", WANG["psn_no"], 1),
        ("T1", "CARD_UNKNOWN", "", 3),
    ]


async def test_a_face_unlocks_once(desk: Identity) -> None:
    """The same attestation again unlocks nothing and sets no PIN, however it is asked."""
    await active(desk)
    face = await attested(desk, WANG["psn_no"], Purpose.UNLOCK_PIN)
    await unlock(desk, attestation_id=face)
    for left in "43210":
        assert await pin_refusal(desk, OTHER_PIN) == ("PIN_WRONG", left)
    used = ("FAILED_PRECONDITION", "ATTESTATION_USED", "attestation_id")
    assert await refusal(unlock(desk, attestation_id=face)) == used
    assert await refusal(unlock(desk, attestation_id=face, new_pin=OTHER_PIN)) == used
    assert await pin_refusal(desk, PIN) == ("PIN_LOCKED", "")


async def test_of_many_unlockings_at_once_with_one_face_one_counts(start_identity: StartIdentity) -> None:
    """Ten over two replicas, each with a PIN of its own: one is set, once."""
    clock = SetClock()
    replicas = [await start_identity(clock), await start_identity(clock)]
    await populated(replicas[0])
    await active(replicas[0])
    face = await attested(replicas[0], WANG["psn_no"], Purpose.UNLOCK_PIN)
    answers = await asyncio.gather(
        *(unlock(replicas[n % 2], attestation_id=face, new_pin=f"73810{n}") for n in range(10)), return_exceptions=True
    )
    assert Counter(getattr(answer, "reason", "") for answer in answers) == {"": 1, "ATTESTATION_USED": 9}


@pytest.mark.parametrize("pin", ["124518", "850312", PIN])
async def test_whoever_shows_no_face_learns_nothing_of_the_holders_number(desk: Identity, pin: str) -> None:
    """A wrong face is refused alike whether or not the PIN is a piece of the holder's ID number or birth date."""
    await issue(desk)
    unknown = ("NOT_FOUND", "ATTESTATION_UNKNOWN", "attestation_id")
    assert await refusal(activate(desk, pin=pin, attestation_id=str(uuid4()))) == unknown
    assert await refusal(activate(desk, pin=pin, digest="0" * 64)) == ("ABORTED", "ACTIVATION_STALE", "digest")
    await activate(desk)
    assert await refusal(unlock(desk, new_pin=pin, attestation_id=str(uuid4()))) == unknown


async def test_a_pin_that_is_not_looked_at_is_no_try(desk: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six right PINs refused because too many wait do not lock the card."""
    await active(desk)
    with monkeypatch.context() as crowd:
        crowd.setattr(pins, "WAITING_MAX", 0)
        for _ in range(6):
            assert await pin_refusal(desk, PIN) == ("SERVICE_BUSY", "")
        unknown = await refusal(desk.decode(card=shown(card_no="X12345678")))
        assert unknown == ("NOT_FOUND", "CARD_UNKNOWN", "card_no")  # Rubbish does not even wait.
    assert await pin_refusal(desk, OTHER_PIN) == ("PIN_WRONG", "4")
    await desk.decode(card=shown())


async def test_who_hangs_up_while_others_are_looked_at_has_not_tried(
    start_identity: StartIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six right PINs whose callers give up before their turn leave the card as it was."""
    clock = SetClock()
    desk = await start_identity(clock)
    await populated(desk)
    await active(desk)
    monkeypatch.setattr(pins, "AT_ONCE_MAX", 0)
    crowded = await start_identity(clock)
    request = credentials_pb2.DecodeCredentialRequest(
        card=shown(), fixmedins_code=HOSPITAL, terminal_no="T1", business_type="01301", mdtrt_id="M1"
    )
    for _ in range(6):
        assert (await refusal(crowded.credentials.DecodeCredential(request, timeout=0.3)))[1] == "ANSWER_UNKNOWN"
    assert await pin_refusal(desk, OTHER_PIN) == ("PIN_WRONG", "4")
