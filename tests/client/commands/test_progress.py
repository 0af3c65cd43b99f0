"""What is told on standard error while a file is written."""

import io

import pytest

import tanager
from tanager import cli
from tanager.commands.files import RecordFile
from tanager.commands.progress import Progress
from tanager.v1 import catalog_pb2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def file_of(total_bytes: int | None, read_bytes: int, read_count: int) -> RecordFile[object]:
    file: RecordFile[object] = RecordFile("-", lambda fields: fields)
    file.total_bytes, file.read_bytes = total_bytes, read_bytes
    file.lines.extend(range(1, read_count + 1))
    return file


@pytest.mark.parametrize(
    ("file", "written", "line"),
    [
        (file_of(None, 100, 10), 8, "8 items  4/s"),
        (file_of(1000, 0, 0), 0, "0 items  0/s"),
        (file_of(1000, 500, 2000), 1000, "[#######-----------------------]  25%  1,000 items  500/s  6 s left"),
        (file_of(1000, 1000, 10), 10, "[##############################] 100%  10 items  5/s  0 s left"),
        (file_of(1000, 2000, 10), 10, "[##############################] 100%  10 items  5/s  0 s left"),  # it has grown
    ],
)
def test_how_far_it_is(file, written, line):
    progress = Progress("items", file)
    progress.update(tanager.ImportedItems(record_count=written))
    assert progress.line(2.0) == line


def test_a_terminal_sees_a_line_that_is_gone_at_the_end(server, monkeypatch, tmp_path, capsys):
    server.on("UpsertItems", catalog_pb2.UpsertItemsResponse())
    file = tmp_path / "items.jsonl"
    file.write_text('{"id": "a", "text": "x"}', encoding="utf-8")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert cli.main(["items", "put", str(file)]) == 0
    assert "] 100%  1 items" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
