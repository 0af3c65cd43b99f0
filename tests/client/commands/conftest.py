"""The command, called in process against a fake server."""

import io

import pytest

from tanager import cli


@pytest.fixture
def server(server, monkeypatch):
    monkeypatch.setenv("TANAGER_TARGET", server.target)
    return server


@pytest.fixture
def run(server, capsys):
    """Runs a command that succeeds: the lines that it printed."""

    def call(*argv: str) -> list[str]:
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return str(captured.out).splitlines()

    return call


@pytest.fixture
def failing(server, capsys):
    """Runs a command that fails: its status, and what it said after "tanager: error: "."""

    def call(*argv: str) -> tuple[int, str]:
        status = cli.main(argv)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("tanager: error: ")
        return status, captured.err.removeprefix("tanager: error: ").rstrip()

    return call


@pytest.fixture
def stdin(monkeypatch):
    """Makes standard input of a text."""

    def feed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return feed
