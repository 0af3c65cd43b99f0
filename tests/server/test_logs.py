"""Logs that machines can read, written by a thread of their own, which holds up nobody and loses nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from types import SimpleNamespace

import pytest

from tanager_server.telemetry import configure_logging, logs
from tanager_server.telemetry.logs import BackgroundHandler, CallRecord


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


FIELDS = {"method": "/tanager.v1.X/Y", "code": "OK", "ms": 1.5, "request_id": 'a "三" id'}


def test_a_line_about_a_call_is_like_any_other(logged):
    lines = logged(
        lambda log: (log.info("call", extra=FIELDS), log.handle(CallRecord(log.name, "call", FIELDS)))
    ).splitlines()
    usual, short = map(json.loads, lines)
    moments = [datetime.fromisoformat(line.pop("time")) for line in (usual, short)]
    assert usual == short
    assert moments[0].tzinfo == moments[1].tzinfo
    assert moments[0] <= moments[1]


def test_a_line_about_a_call_for_people_is_like_any_other_too(logged, monkeypatch):
    moments = iter([1_800_000_000.25] * 2)
    monkeypatch.setattr(time, "time", lambda: next(moments))
    usual, short = logged(
        lambda log: (log.info("call", extra=FIELDS), log.handle(CallRecord(log.name, "call", FIELDS))),
        log_format="text",
    ).splitlines()
    assert usual == short
    assert ",250 INFO tanager_server.calls: call method=/tanager.v1.X/Y code=OK ms=1.5" in usual


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
