"""A way through the model told as a story: who did what, step by step."""

from __future__ import annotations

from typing import Final

from services.settlement.saga.payment import PaymentKind, State
from tests.model.drives import TOLD_ASKED, TOLD_NOTHING, TOLD_PAID
from tests.model.ledgers import REPLIES
from tests.model.search import Finding
from tests.model.world import AREAS_AT, Model, Taken, World

_WHO = ("Coordinator A", "Coordinator B")
_WHOSE = ("the payment", "the refund")


def story(model: Model, finding: Finding) -> list[str]:
    """One line for each step, and what it came to."""
    lines = [f"{number:>2}. {_told(model, world, step)}" for number, (world, step) in enumerate(finding.way, 1)]
    return [*lines, f" ⇒  {finding.what}"]


def _told(model: Model, world: World, step: Taken) -> str:
    name, *rest = step.name
    numbers = [it for it in rest if isinstance(it, int)]
    if name in {"deliver", "expire"}:
        line = _at_ledger(model, world, numbers[0], str(rest[-1]), step)
    elif name == "told":
        line = _at_authorisation(model, numbers, step)
    elif name in _OF_FAMILY:
        line = _at_family(model, str(name), numbers, step)
    elif name in {"read", "hear", "tick", "crash"}:
        line = f"{_WHO[numbers[0]]} {_at_coordinator(model, str(name), numbers[1:], step)}"
    elif name == "inquire":
        seen = _seen(model, numbers[1])
        line = f"{_ledger(model, numbers[0])} asks what became of its hold; the row is read: {seen}."
    else:
        line = _at_database(model, str(name), numbers)
    return line + _consequences(model, world, step)


def _at_database(model: Model, name: str, numbers: list[int]) -> str:
    if name == "write":
        return f"The database carries out a Write: {_WHOSE[numbers[0]]} is {_seen(model, numbers[1])}."
    told = _AT_DATABASE[name, model.settlement.kind is PaymentKind.TRANSFER]
    return told.format(_seen(model, numbers[0])) if numbers else told


_AT_DATABASE: Final = {
    ("settle", False): "The terminal's Settle arrives: the row is inserted, TRYING.",
    ("settle", True): "The giver's transfer arrives: the row is inserted, TRYING.",
    ("settle too late", False): "The terminal's Settle arrives: its key is taken by the tombstone, PAYMENT_REVERSED.",
    ("settle too late", True): "The giver's transfer arrives: its key is taken by the tombstone, PAYMENT_REVERSED.",
    ("deadline", False): "The deadline passes by the database's clock.",
    ("deadline", True): "The deadline passes by the database's clock.",
    ("revoke", False): "The terminal's revocation (2208) arrives and reads {}.",
    ("reverse", False): "The terminal's Reverse (2601) arrives and reads {}.",
    ("reverse", True): "The giver's withdrawal arrives and reads {}.",
    ("accept", True): "The receiver's yes arrives and reads {}.",
    ("decline", True): "The receiver's no arrives and reads {}.",
}
"""By the step's name, and whether the payment is a transfer; {} is the row as it was read."""


_OF_FAMILY: Final = {
    "unbind": "The funder ends his binding",
    "stop": "Identity says that the funder has died",
    "vouch": "Identity says that everything the binding rests on stands",
    "move": "The funder's account has moved, and he with it",
    "told elsewhere": "The ledger of the area that it moved to receives {}",
    "amend": "The funder asks for another amount",
    "answer": "The family room hears the ledger's answer to {}",
}


def _at_family(model: Model, name: str, numbers: list[int], step: Taken) -> str:
    binding = model.binding_in(step.to)
    if model.household is None or binding is None:
        return name
    what = _OF_FAMILY[name]
    if name == "told elsewhere":
        return what.format(type(model.household.commands[numbers[0]]).__name__.upper()) + "."
    if name == "answer":
        what = what.format(type(model.household.answers[numbers[0]].command).__name__.upper())
    amending = ", an amount asked for" if binding.amending else ""
    return f"{what}: the binding is {binding.state.value}{amending}."


def _at_authorisation(model: Model, numbers: list[int], step: Taken) -> str:
    place, command = numbers
    stands = model.shapes_in(step.to)[place].authorisation
    said = "" if model.household is None else type(model.household.commands[command]).__name__.upper()
    how = "not known" if stands is None else "open" if stands.is_open else "closed"
    return f"{_ledger(model, place)} receives {said} of the binding: its authorisation is {how}."


def _at_coordinator(model: Model, name: str, numbers: list[int], step: Taken) -> str:
    match name:
        case "read":
            old = "" if step.is_helpful else " (an old reading: the row has moved on)"
            return f"reads the row of {_WHOSE[numbers[0]]}: {_seen(model, numbers[1])}{old}."
        case "hear":
            order, branch = REPLIES[numbers[2]]
            return f"hears {_ledger(model, numbers[1], small=True)} answer {order.value}: {branch.value}."
        case "tick":
            return "has waited long enough and sends again."
        case _:
            return "crashes; its memory is lost."


def _seen(model: Model, row: int) -> str:
    if row < 0:
        return "nothing (the payment is not known there)"
    payment = model.drives.rows.values[row]
    if payment.kind is PaymentKind.TOMBSTONE:
        return "a tombstone"
    if payment.state is not State.TRYING:
        return f"{payment.state.value}"
    asked = ", its receiver asked" if payment.pending_accept else ""
    late = ", past its deadline" if payment.overdue else ""
    return f"{payment.state.value}{asked}{late}"


def _ledger(model: Model, place: int, *, small: bool = False) -> str:
    text = f"Ledger {place + 1} ({model.accounts[place].value})"
    return text[0].lower() + text[1:] if small else text


def _at_ledger(model: Model, world: World, place: int, order: str, step: Taken) -> str:
    ledger = _ledger(model, place)
    if step.name[0] == "expire":
        return f"{ledger} ends the hold by itself."
    before, after = model.shapes_in(world)[place], model.shapes_in(step.to)[place]
    stands = after.branch.value if after.branch else "nothing is known of it here"
    if step.alarm:
        stands += f": ALARM {step.alarm}"
    elif order == "CREDIT":
        stands = f"the money is given back; the original is {stands} here"
    elif before == after:
        stands += ", as before; it answers"
    return f"{ledger} receives {order}: {stands}."


def _consequences(model: Model, world: World, step: Taken) -> str:
    """What the step left behind beside itself: rows, Writes asked for, orders sent, what the terminal was told."""
    parts = []
    for which in (0, 1):
        row = step.to[which]
        if row != world[which] and step.name[0] in {"reverse", "revoke"}:
            parts.append(f"{'a tombstone' if which == 0 else 'a refund, COMMITTED,'} is inserted")
    asked = model.write_sets.values[step.to[3]] - model.write_sets.values[world[3]]
    for number in sorted(asked):
        write = model.drives.writes.values[number]
        to = "receiver asked" if write.asks_receiver else write.to.value
        parts.append(f"asks the database for {write.expected.value} → {to}")
    sent = _sent(model, world, step)
    if sent:
        parts.append(f"sends {sent}")
    told = step.to[2] & ~world[2]
    who = "whoever asks" if model.settlement.kind is PaymentKind.TRANSFER else "the terminal"
    if told & TOLD_ASKED:
        parts.append("tells the giver that the receiver is asked")
    if told & TOLD_PAID:
        parts.append(f"answers {who} OK")
    if told & TOLD_NOTHING and step.name[0] != "settle too late":
        parts.append(f"answers {who} that nothing is taken, now or ever")
    return " → " + "; ".join(parts) + "." if parts else ""


def _sent(model: Model, world: World, step: Taken) -> str:
    names = []
    for bit, order in enumerate(("TRY", "CONFIRM", "CANCEL", "CREDIT")):
        places = [
            str(place + 1)
            for place in range(model.count)
            if (_sent_mask(model, step.to, place) & ~_sent_mask(model, world, place)) >> bit & 1
        ]
        if places:
            names.append(f"{order} to ledger{'s' if len(places) > 1 else ''} {', '.join(places)}")
    return " and ".join(names)


def _sent_mask(model: Model, world: World, place: int) -> int:
    return model.areas.values[world[AREAS_AT + place]].sent
