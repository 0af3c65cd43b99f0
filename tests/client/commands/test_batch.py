"""`tanager batch`."""

import io
import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tanager import cli
from tanager.v1 import common_pb2, recommendation_pb2

RESULT = common_pb2.Result(item_id="a", title="Amélie", domain="film", rank=1, score=0.5, sources=["SOURCE_POPULAR"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def server(server):
    def answer(request, context):
        users = [
            recommendation_pb2.UserRecommendations(
                user_id=user_id, results=[RESULT], strategy=common_pb2.STRATEGY_PERSONAL
            )
            for user_id in request.user_ids
        ]
        return recommendation_pb2.BatchRecommendResponse(users=users)

    server.on("BatchRecommend", answer)
    return server


@pytest.fixture
def users(tmp_path):
    """A file of so many users, `u1` on its first line."""

    def write(count: int) -> str:
        path = tmp_path / "users.txt"
        path.write_text("".join(f"u{number}\n" for number in range(1, count + 1)), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def stopped(server, capsys):
    """Runs a command that fails: its status, what it said, and for whom it printed lists."""

    def call(*argv: str) -> tuple[int, str, list[str]]:
        status = cli.main(argv)
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        told = captured.err.removeprefix("tanager: error: ").rstrip()
        return status, told, [json.loads(line)["user_id"] for line in captured.out.splitlines()]

    return call


def test_a_line_for_each_user(server, run, users):
    lines = run(
        *["batch", users(2), "-n", "3", "--filter", "year > 1", "--target-domain", "film", "--source-domain", "book"],
        *["--exclude", "x", "--include-seen", "--timeout", "5"],
    )
    assert server.call.request == recommendation_pb2.BatchRecommendRequest(
        user_ids=["u1", "u2"],
        page_size=3,
        filter="year > 1",
        target_domains=["film"],
        source_domains=["book"],
        exclude_item_ids=["x"],
        include_seen=True,
    )
    assert server.call.time_remaining_s < 10
    first, second = map(json.loads, lines)
    assert (first["user_id"], second["user_id"]) == ("u1", "u2")
    assert first["strategy"] == "personal"
    assert first["results"][0]["title"] == "Amélie"
    assert first["results"][0]["sources"] == ["popular"]


@pytest.mark.parametrize("in_flight", ["1", "3"])
def test_many_users_in_several_calls_stay_in_their_order(server, run, users, in_flight):
    lines = run("batch", users(25), "--batch-size", "4", "--in-flight", in_flight)
    assert [json.loads(line)["user_id"] for line in lines] == [f"u{number}" for number in range(1, 26)]
    assert sorted(len(call.request.user_ids) for call in server.calls) == [1, 4, 4, 4, 4, 4, 4]


def test_ids_and_objects_from_standard_input(server, run, stdin):
    stdin('\ufeffann\n\n  bob \n{"user_id": "cyd", "profile": {"age": 3}}\n{"id": "dan"}\nann\n')
    run("batch", "-")
    assert list(server.call.request.user_ids) == ["ann", "bob", "cyd", "dan"]


def test_nobody(server, run, stdin):
    stdin("\n")
    assert run("batch", "-") == []
    assert not server.calls


def test_a_line_that_is_no_user(server, stopped, stdin):
    stdin('ann\nbob\ncyd\n{"name": "dan"}\n')
    status, told, answered = stopped("batch", "-", "--batch-size", "2")
    assert (status, answered) == (2, ["ann", "bob"])
    assert told == "standard input: line 4: user_id: is missing; 2 users are answered, from line 3 on none"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("user_ids[1]", "standard input: line 4: is too long; 0 users are answered, from line 1 on none"),
        ("user_ids", "--batch-size: user_ids: is too long; 0 users are answered, from line 1 on none"),
        ("filter", "--filter: filter: is too long; 0 users are answered, from line 1 on none"),
    ],
)
def test_what_the_server_refuses_is_told_in_the_words_of_the_command(server, stopped, stdin, field, told):
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="is too long")
    details = status_pb2.Status()
    details.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    server.fail("BatchRecommend", grpc.StatusCode.INVALID_ARGUMENT, "bad", details.SerializeToString())
    stdin("ann\n\n\nbob\n")
    assert stopped("batch", "-") == (2, told, [])


def test_a_call_that_fails(server, stopped, users):
    answer = server.answers["BatchRecommend"]

    def until_u5(request, context):
        if "u5" in request.user_ids:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "user_ids: the deadline passed")
        return answer(request, context)

    server.on("BatchRecommend", until_u5)
    status, told, answered = stopped("batch", users(8), "--batch-size", "2")
    assert (status, answered) == (1, ["u1", "u2", "u3", "u4"])
    assert "user_ids: the deadline passed" in told
    assert told.endswith("; 4 users are answered, from line 5 on none")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--batch-size", "0"], "--batch-size: must be at least 1, not 0"),
        (["--in-flight", "-1"], "--in-flight: must be at least 1, not -1"),
    ],
)
def test_counts_that_are_none(failing, users, argv, said):
    assert failing("batch", users(1), *argv) == (2, said)


def test_a_file_that_is_not_there(failing, tmp_path):
    assert failing("batch", str(tmp_path / "none")) == (1, f"{tmp_path / 'none'}: No such file or directory")


def test_a_terminal_is_told_how_far_it_is(server, users, monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert cli.main(["batch", users(3), "--batch-size", "1"]) == 0
    assert "users" in terminal.getvalue()
    assert terminal.getvalue().split("\x1b[K")[-1].startswith("3 users in ")
    monkeypatch.setattr("sys.stdout", Terminal())
    terminal.truncate(0)
    assert cli.main(["batch", users(3)]) == 0
    assert terminal.getvalue() == ""
