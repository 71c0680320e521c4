"""Traces and logs."""

from __future__ import annotations

import io
import json
import random
import sys

import pytest
import structlog

from chassis import telemetry
from chassis.deadlines import deadline_in, remaining_s, timeout_s

TRACE = telemetry.Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_a_trace_survives_its_header() -> None:
    """What is written as traceparent is read back as the same trace."""
    assert telemetry.parsed_traceparent(str(TRACE)) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    ],
)
def test_a_header_that_is_no_trace_begins_a_new_story(header: str | None) -> None:
    """Missing, malformed and all-zero headers are no trace."""
    assert telemetry.parsed_traceparent(header) is None


def test_a_child_belongs_to_the_same_story() -> None:
    """The trace id stays, the span id is new, and the same randomness gives the same ids."""
    child = telemetry.child_of(TRACE, random.Random(7))
    assert child.trace_id == TRACE.trace_id
    assert child.span_id != TRACE.span_id
    assert telemetry.child_of(None, random.Random(7)) == telemetry.new_trace(random.Random(7))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where log lines go during the test."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.configure_logging("identity", "info")
    return stream


def test_a_log_line_is_json_with_the_trace_and_nothing_personal(lines: io.StringIO) -> None:
    """Level, process and trace id are there; personal keys and anything like an ID number are not."""
    log = structlog.get_logger(room="test")
    with telemetry.traced(TRACE):
        log.info("looked up 650103198503124518", certno="650103198503124518", note="of 11010519491231002X.", ms=3)
    log.debug("too detailed")
    (line,) = [json.loads(text) for text in lines.getvalue().splitlines()]
    del line["timestamp"]
    assert line == {
        "event": "looked up [redacted]",
        "level": "info",
        "process": "identity",
        "room": "test",
        "trace_id": TRACE.trace_id,
        "certno": "[redacted]",
        "note": "of [redacted].",
        "ms": 3,
    }


def test_the_time_left_bounds_every_further_call() -> None:
    """Without a caller's deadline the wish counts; with one, what is left less a margin, down to nothing."""
    assert remaining_s() is None
    assert timeout_s(3.0) == 3.0
    with deadline_in(1.0):
        assert 0.5 < timeout_s(3.0) < 1.0
        assert timeout_s(0.1) == 0.1
    with deadline_in(0.01):
        assert timeout_s(3.0) < 0
