"""Logs that machines can read, written by a thread of their own, which holds up nobody and loses nothing."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tanager_server.telemetry import CallLog, call_log, configure_logging, logs
from tanager_server.telemetry.logs import BackgroundHandler


@pytest.fixture
def root():
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = []  # or they would be closed, pytest's own among them
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def logged(root, capsys):
    """Logs something in a format and returns what came out on stderr."""

    def run(log, log_format="json", level="INFO"):
        configure_logging(level=level, log_format=log_format)
        log(logging.getLogger("tanager_server.calls"))
        root.handlers[0].flush()
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err

    return run


def test_a_line_is_one_json_object_with_all_that_was_told(logged):
    line = logged(lambda log: log.info("call", extra={"request_id": "7", "ms": 1.5, "code": "OK"}))
    assert line.count("\n") == 1
    record = json.loads(line)
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "INFO",
        "logger": "tanager_server.calls",
        "message": "call",
        "request_id": "7",
        "ms": 1.5,
        "code": "OK",
    }


@pytest.mark.parametrize(
    "text", ["三体 👽", 'a "quote"', "two\nlines\r\n", "\x00\x1b[31m", "{not} %s a format", "\u2028"]
)
def test_no_text_breaks_a_line(logged, text):
    line = logged(lambda log: log.warning(text, extra={"title": text}))
    assert line.count("\n") == 1
    record = json.loads(line)
    assert record["message"] == record["title"] == text


def test_text_that_is_not_ascii_is_readable_as_it_is(logged):
    assert "三体" in logged(lambda log: log.info("三体"))


def test_an_exception_is_part_of_its_line(logged):
    def fail(log):
        try:
            raise ValueError("三体\nbroke")
        except ValueError:
            log.exception("unhandled error")

    line = logged(fail)
    assert line.count("\n") == 1
    record = json.loads(line)
    assert (record["level"], record["message"]) == ("ERROR", "unhandled error")
    assert "ValueError: 三体\nbroke" in record["exc_info"]
    assert "Traceback" in record["exc_info"]


def test_values_that_json_does_not_know_are_logged_all_the_same(logged):
    record = json.loads(logged(lambda log: log.info("x", extra={"path": object, "data": b"\xff", "set": {1}})))
    assert {"path", "data", "set"} <= set(record)


def test_text_for_people_holds_the_fields_too(logged):
    line = logged(lambda log: log.info("call", extra={"code": "OK", "request_id": "7"}), log_format="text")
    assert line.endswith("INFO tanager_server.calls: call code=OK request_id=7\n")


def test_text_for_people(logged):
    line = logged(lambda log: log.warning("三体"), log_format="text")
    assert line.endswith(" WARNING tanager_server.calls: 三体\n")


def test_what_is_less_severe_than_the_level_is_not_written(logged):
    assert logged(lambda log: log.info("x"), level="WARNING") == ""
    assert logged(lambda log: log.debug("x"), level="DEBUG") != ""


def test_configuring_twice_writes_every_line_once(logged, root):
    configure_logging(level="INFO", log_format="text")
    assert logged(lambda log: log.info("x")).count("\n") == 1
    assert len(root.handlers) == 1


# Lines about calls, which are made by a shorter way


METHOD = "/tanager.v1.X/Y"
FIELDS = {"method": METHOD, "code": "OK", "ms": 1.5, "request_id": "7"}


def call(log=None, **changes):
    """Logs a call by the shorter way."""
    ended: dict[str, Any] = {
        "method": METHOD,
        "code": "OK",
        "seconds": 0.0015,
        "request_id": "7",
        "shed": False,
    } | changes
    (CallLog(answered=True) if log is None else log).write(**ended)


@pytest.fixture
def at(monkeypatch):
    """Sets the time that log lines tell, in nanoseconds since the epoch."""

    def set_time(moment_ns):
        monkeypatch.setattr(time, "time_ns", lambda: moment_ns)
        monkeypatch.setattr(time, "time", lambda: moment_ns / 1e9)

    return set_time


MOMENTS = [1_800_000_000_250_004_000, 1_800_000_000_000_001_000, 1_799_999_999_999_999_000, 1_782_864_000_000_500_000]


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    "changes", [{}, {"request_id": 'a "三" id\\'}, {"seconds": 0.0}, {"seconds": 12.3456789, "code": "NOT_FOUND"}]
)
def test_a_line_about_a_call_is_like_any_other(logged, at, log_format, moment, changes):
    at(moment)
    fields = FIELDS | {"ms": round(changes.get("seconds", 0.0015) * 1e3, 3)}
    fields |= {name: value for name, value in changes.items() if name in fields}
    usual = logged(lambda log: log.info("call", extra=fields), log_format=log_format)
    short = logged(lambda log: call(**changes), log_format=log_format)
    assert short == usual


def test_lines_about_calls_tell_their_own_seconds(logged, at):
    moments = [*MOMENTS, MOMENTS[0]]

    def log_all(log):
        for moment in moments:
            at(moment)
            call()

    told = [datetime.fromisoformat(json.loads(line)["time"]) for line in logged(log_all).splitlines()]
    assert told == [
        datetime.fromtimestamp(moment // 10**9, UTC).replace(microsecond=moment // 1000 % 10**6) for moment in moments
    ]


@pytest.mark.parametrize(
    "text", ["三体 👽", 'a "quote"', "two\nlines\r\n", "\x00\x1b[31m\x7f", "{not} %s a format", "\u2028"]
)
def test_no_request_id_breaks_a_line(logged, text):
    line = logged(lambda log: call(request_id=text))
    assert line.count("\n") == 1
    assert json.loads(line)["request_id"] == text


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_calls_and_other_lines_keep_their_order(logged, log_format):
    def log_all(log):
        for number in range(600):
            call(request_id=f"<{number}>") if number % 3 else log.info("<%d>", number)

    lines = logged(log_all, log_format=log_format).splitlines()
    assert [number for number, line in enumerate(lines) if f"<{number}>" in line] == list(range(600))


def test_calls_are_not_logged_where_the_level_is_above_theirs(logged):
    assert logged(lambda log: call(), level="WARNING") == ""
    assert logged(lambda log: call(), level="DEBUG") != ""


def test_answered_and_cancelled_calls_need_not_be_logged(logged):
    def log_all(log):
        for code in ("OK", "CANCELLED", "NOT_FOUND", "INTERNAL"):
            call(CallLog(answered=False), code=code)

    lines = map(json.loads, logged(log_all).splitlines())
    assert [line["code"] for line in lines] == ["NOT_FOUND", "INTERNAL"]


def test_a_handler_that_somebody_has_added_gets_records_of_calls(logged, caplog):
    with caplog.at_level(logging.INFO):

        def log_one(log):
            log.addHandler(caplog.handler)
            try:
                call(request_id="abc")
            finally:
                log.removeHandler(caplog.handler)

        line = json.loads(logged(log_one))
    (record,) = caplog.records
    assert {name: vars(record)[name] for name in FIELDS} == FIELDS | {"request_id": "abc"}
    assert line["request_id"] == "abc"


# Calls that were shed


class ShedCalls:
    """Calls at times that a test sets, and what was logged of them."""

    def __init__(self, monkeypatch, caplog):
        self.now = 100.0
        self._caplog = caplog
        self.log = CallLog(answered=True)
        caplog.set_level(logging.INFO)
        clock = SimpleNamespace(monotonic=lambda: self.now, time_ns=time.time_ns)
        monkeypatch.setattr(call_log, "time", clock)
        self.slept: list[float] = []
        self.wakened = asyncio.Event()

        async def sleep(seconds):
            self.slept.append(seconds)
            self.wakened.clear()
            await self.wakened.wait()

        patched = SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
        monkeypatch.setattr(call_log, "asyncio", patched)

    @property
    def records(self):
        return self._caplog.records

    def come(self, count, **changes):
        """So many calls are shed; gives how many of them got lines."""
        before = len(self.records)
        for _ in range(count):
            call(self.log, **{"code": "RESOURCE_EXHAUSTED", "shed": True} | changes)
        return len(self.records) - before

    @property
    def told(self):
        return [vars(record)["unlogged"] for record in self.records if hasattr(record, "unlogged")]


@pytest.fixture
def shed(monkeypatch, caplog):
    return ShedCalls(monkeypatch, caplog)


async def test_of_shed_calls_few_a_second_are_logged_and_the_next_line_tells_how_many_were_not(shed):
    assert shed.come(50) == 20
    shed.now = 101.0
    assert shed.come(2) == 2
    assert vars(shed.records[-2])["unlogged_before"] == 30
    assert not hasattr(shed.records[-1], "unlogged_before")


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_a_line_of_the_shorter_way_tells_how_many_were_not_logged_too(logged, monkeypatch, log_format):
    now = [100.0]
    monkeypatch.setattr(call_log, "time", SimpleNamespace(monotonic=lambda: now[0], time_ns=time.time_ns))
    log = CallLog(answered=True)

    def log_all(_):
        for _ in range(50):
            call(log, shed=True)
        now[0] = 101.0
        call(log, shed=True)

    lines = logged(log_all, log_format=log_format).splitlines()
    assert len(lines) == 21
    if log_format == "json":
        assert json.loads(lines[-1])["unlogged_before"] == 30
    else:
        assert lines[-1].endswith(" request_id=7 unlogged_before=30")


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE"])
async def test_calls_that_were_not_shed_are_all_logged_whatever_their_status(shed, code):
    assert shed.come(50, code=code, shed=False) == 50
    assert shed.come(20) == 20  # nor do they take from what shed calls may log


async def test_a_second_after_the_last_shed_call_those_not_logged_are_told_of(shed, settle):
    shed.come(50)
    await settle()
    assert shed.slept == [1.0]
    shed.now = 100.75
    assert shed.come(5) == 0
    shed.now = 101.0
    shed.wakened.set()
    await settle()
    assert shed.told == []  # the last came 0.25 s ago
    assert shed.slept == [1.0, 0.75]
    shed.now = 101.75
    shed.wakened.set()
    await settle()
    assert shed.told == [35]
    assert shed.come(50) == 20  # and it begins anew
    shed.now = 103.0
    await settle()
    shed.wakened.set()
    await settle()
    assert shed.told == [35, 30]


async def test_what_a_line_has_told_is_not_told_again(shed, settle):
    shed.come(50)
    await settle()
    shed.now = 101.0
    assert shed.come(1) == 1
    shed.now = 102.0
    shed.wakened.set()
    await settle()
    assert shed.log._teller.done()
    assert shed.told == []


def test_calls_not_logged_are_told_of_when_the_event_loop_ends(shed):
    async def serve():
        shed.come(50)
        await asyncio.wait([shed.log._teller], timeout=0)  # it has begun to wait

    asyncio.run(serve())
    assert shed.told == [30]


def test_they_are_told_of_even_if_the_event_loop_ends_at_once(shed):
    async def serve():
        shed.come(50)

    asyncio.run(serve())
    assert shed.told == [30]


# The thread that writes


class Stderr(io.StringIO):
    """A stderr that is read when `go` is set, and remembers how it was written to."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.go.set()
        self.writing = threading.Event()
        self.writes: list[str] = []

    def write(self, text):
        self.writing.set()
        self.go.wait()
        self.writes.append(text)
        return super().write(text)

    @property
    def lines(self):
        return self.getvalue().splitlines()


@pytest.fixture
def stderr(monkeypatch):
    made = Stderr()
    monkeypatch.setattr(logs, "sys", SimpleNamespace(stderr=made))  # pytest sets its own between fixtures and test
    yield made
    made.go.set()


@pytest.fixture
def handler(stderr):
    made = BackgroundHandler()
    yield made
    stderr.go.set()
    made.close()


def record(message, level=logging.INFO):
    return logging.LogRecord("x", level, __file__, 1, message, (), None)


def test_lines_are_written_in_their_order(handler, stderr):
    for number in range(1000):
        handler.handle(record(str(number)))
    handler.flush()
    assert stderr.lines == [str(number) for number in range(1000)]


def test_many_lines_are_written_at_once(handler, stderr):
    stderr.go.clear()
    handler.handle(record("first", logging.WARNING))
    stderr.writing.wait()
    for number in range(500):
        handler.handle(record(str(number)))
    stderr.go.set()
    handler.flush()
    assert len(stderr.lines) == 501
    assert len([text for text in stderr.writes if text]) <= 3


def test_the_first_line_wakes_the_thread_and_those_behind_it_do_not(handler, stderr, monkeypatch):
    stderr.go.clear()
    handler.handle(record("first", logging.WARNING))
    stderr.writing.wait()
    woken: list[bool] = []
    wake = handler._wake.set

    def count():
        woken.append(True)
        wake()

    monkeypatch.setattr(handler._wake, "set", count)
    for number in range(100):
        handler.handle(record(str(number)))
    assert len(woken) == 1
    stderr.go.set()
    handler.flush()
    assert len(stderr.lines) == 101


def test_threads_that_log_at_the_same_time_lose_nothing(handler, stderr):
    def log(name):
        for number in range(200):
            handler.handle(record(f"{name} {number}"))

    threads = [threading.Thread(target=log, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    for name in "abcd":  # and each of them in its own order
        assert [line for line in stderr.lines if line[0] == name] == [f"{name} {number}" for number in range(200)]


def test_nothing_is_lost_at_the_end(handler, stderr):
    for number in range(1000):
        handler.handle(record(str(number)))
    handler.close()
    assert len(stderr.lines) == 1000
    assert not handler._thread.is_alive()


def test_a_reader_who_does_not_read_holds_up_nobody_and_what_was_dropped_is_counted(handler, stderr, monkeypatch):
    monkeypatch.setattr(logs, "_MAX_WAITING", 10)
    monkeypatch.setattr(logs, "_CLOSE_S", 0.01)
    stderr.go.clear()
    handler.handle(record("first", logging.WARNING))
    stderr.writing.wait()  # the thread hangs in it now
    taken = [handler.handle(record(str(number))) for number in range(25)]
    assert taken == [True] * 10 + [False] * 15
    handler.flush()
    handler.close()
    assert stderr.lines == []
    stderr.go.set()
    handler._thread.join()
    assert stderr.lines[:11] == ["first", *(str(number) for number in range(10))]
    (told,) = stderr.lines[11:]
    assert "dropped" in told


def test_how_many_lines_were_dropped_is_told_once(root, stderr, monkeypatch):
    configure_logging(level="INFO", log_format="json")
    (handler,) = root.handlers
    monkeypatch.setattr(logs, "_MAX_WAITING", 0)
    for _ in range(7):
        root.info("x")
    monkeypatch.setattr(logs, "_MAX_WAITING", 10)
    handler.flush()
    root.info("y")
    handler.flush()
    told = [json.loads(line) for line in stderr.lines]
    assert [line["message"] for line in told] == ["log lines were dropped: stderr is not read fast enough", "y"]
    assert (told[0]["level"], told[0]["dropped"]) == ("ERROR", 7)


def test_a_record_that_cannot_be_formatted_is_told_of_and_stops_no_other(handler, stderr):
    handler.handle(record("before"))
    handler.handle(logging.LogRecord("x", logging.INFO, __file__, 7, "%d", ("three",), None))
    handler.handle(record("after"))
    handler.flush()
    before, broken, after = stderr.lines
    assert (before, after) == ("before", "after")
    assert __file__ in broken
    assert "line 7 cannot be formatted: TypeError" in broken


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_stderr_that_is_gone_is_borne(handler, stderr, monkeypatch, error):
    def fail(text):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(stderr, "write", fail)
        handler.handle(record("lost"))
        handler.flush()
    handler.handle(record("seen"))
    handler.flush()
    assert stderr.lines == ["seen"]


def test_flushing_what_is_closed_waits_for_nothing(handler):
    handler.close()
    handler.flush()


_LOG_AND_END = """
import logging, sys
from tanager_server.telemetry import configure_logging, logs
logs._CLOSE_S = 0.1
configure_logging(level="INFO", log_format="text")
for number in range(int(sys.argv[1])):
    logging.info("%d %s", number, "三" * 100)
"""


@pytest.mark.parametrize("lines", [10, 20_000])
def test_a_process_whose_stderr_nobody_reads_ends_all_the_same(lines):
    reader, writer = os.pipe()
    try:
        command = [sys.executable, "-c", _LOG_AND_END, str(lines)]
        assert subprocess.run(command, stderr=writer, timeout=60, check=False).returncode == 0
    finally:
        os.close(writer)
        os.close(reader)


def test_a_process_writes_all_its_lines_to_a_real_stderr():
    command = [sys.executable, "-c", _LOG_AND_END.replace("0.1", "60"), "5000"]
    lines = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=True).stderr.splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == [str(number) for number in range(5000)]
    assert lines[0].endswith("三" * 100)
