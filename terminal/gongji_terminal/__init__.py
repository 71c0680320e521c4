"""The reference client of Gongji for hospital and pharmacy systems."""

from gongji_terminal.care import Care
from gongji_terminal.channels import Tls
from gongji_terminal.client import Outcome, Patience, Reversed, Terminal
from gongji_terminal.failures import Retry, TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry, EntryState, Journal, PlanAsked
from gongji_terminal.records import Record

__all__ = [
    "Care",
    "Entry",
    "EntryState",
    "Journal",
    "Outcome",
    "Patience",
    "PlanAsked",
    "Record",
    "Retry",
    "Reversed",
    "Terminal",
    "TerminalRefusal",
    "Tls",
    "Unanswered",
]
