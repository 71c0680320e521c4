"""The reference client of Gongji for hospital and pharmacy systems."""

from gongji_terminal.client import Care, Outcome, Patience, Reversed, Terminal
from gongji_terminal.failures import Retry, TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry, EntryState, Journal

__all__ = [
    "Care",
    "Entry",
    "EntryState",
    "Journal",
    "Outcome",
    "Patience",
    "Retry",
    "Reversed",
    "Terminal",
    "TerminalRefusal",
    "Unanswered",
]
