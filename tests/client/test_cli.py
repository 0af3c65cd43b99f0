"""The `tanager` command, called in process against a fake server."""

import json
import os
import socket
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import tanager
from tanager import cli
from tanager._render import lists
from tanager.commands import options
from tanager.v1 import common_pb2, model_pb2, recommendation_pb2

TIMING = common_pb2.Timing(queue_us=100, tokenize_us=200, encode_us=1500, search_us=300, rank_us=400, batch_size=3)
RESULTS = [
    common_pb2.Result(
        item_id="film-1",
        title="降临 Arrival",
        domain="film",
        rank=1,
        score=0.5,
        sources=[common_pb2.SOURCE_WISH, common_pb2.SOURCE_TEXT],
    ),
    common_pb2.Result(item_id="b2", title="Solaris", rank=10, score=0.25, sources=[common_pb2.SOURCE_POPULAR]),
]


def recommended(**fields) -> recommendation_pb2.RecommendResponse:
    defaults: dict[str, Any] = {
        "results": RESULTS,
        "shortfall": common_pb2.SHORTFALL_NONE,
        "served_by": common_pb2.ServedBy(bundle_id="abc", strategy=common_pb2.STRATEGY_WISH),
        "timing": TIMING,
    }
    return recommendation_pb2.RecommendResponse(**(defaults | fields))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("TANAGER_TARGET", raising=False)


@pytest.fixture
def server(server, monkeypatch):
    monkeypatch.setenv("TANAGER_TARGET", server.target)
    server.on("Recommend", recommended())
    return server


@pytest.fixture
def failing(server, capsys):
    """Runs a command that fails: its status, and what it said."""

    def run(*argv: str) -> tuple[int, str]:
        status = cli.main(argv)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return status, captured.err

    return run


def test_recommend_as_a_table(server, capsys):
    assert cli.main(["recommend", "first contact"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "rank   score  title         domain  id      found by",
        "   1  0.5000  降临 Arrival  film    film-1  wish, text",
        "  10  0.2500  Solaris       -       b2      popular",
        "",
        "strategy   wish: from the wish alone",
    ]
    assert lines[5] == "shortfall  none"
    assert lines[6].startswith("time       ")
    server_time = "2.5 ms in the server (queue 0.1, tokenize 0.2, encode 1.5, search 0.3, rank 0.4)"
    assert lines[6].endswith(f" ms in all, {server_time}")
    assert len(lines) == 7


def test_a_shortfall_and_unknown_items_are_told_in_words(server, capsys):
    unknown = {"unknown_item_count": 2, "unknown_attribute_count": 1}
    server.on("Recommend", recommended(shortfall=common_pb2.SHORTFALL_FILTER, results=[], **unknown))
    assert cli.main(["recommend"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no items\n")
    assert "shortfall  fewer than asked for: the rest is seen, excluded or filtered out\n" in out
    assert "ignored    2 of the history, not in the catalogue\n" in out
    assert "ignored    1 of the profile, not known and no text\n" in out


def test_reasons_stand_under_their_result(server, capsys):
    why = [
        common_pb2.Reason(kind="REASON_KIND_TRANSITION", item_id="c", title="Con\ttact", contribution=0.5),
        common_pb2.Reason(kind="REASON_KIND_TEXT", item_id="c", contribution=0.25),
        common_pb2.Reason(kind="REASON_KIND_PROFILE", attribute="age=18-24", contribution=0.125),
    ]
    results = [
        common_pb2.Result(item_id="a", title="A", rank=1, score=0.75, reasons=why, other_contribution=-0.125),
        common_pb2.Result(item_id="b", title="B", rank=2, score=0.5, other_contribution=0.5),
    ]
    server.on("Recommend", recommended(results=results))
    assert cli.main(["recommend", "--explain"]) == 0
    assert server.call.request == recommendation_pb2.RecommendRequest(explain=True)
    assert capsys.readouterr().out.splitlines()[:8] == [
        "rank   score  title  domain  id  found by",
        "   1  0.7500  A      -       a",
        "      +0.5000  often follows Con tact",
        "      +0.2500  reads like c",
        "      +0.1250  liked by users with age=18-24",
        "      -0.1250  all else",
        "   2  0.5000  B      -       b",
        "      +0.5000  all else",
    ]


def test_diversity_on_the_command_line(server):
    assert cli.main(["recommend", *["--mmr", "0.5", "--max-per-category", "2", "--interests", "3"]]) == 0
    assert server.call.request == recommendation_pb2.RecommendRequest(
        diversity=recommendation_pb2.Diversity(mmr_lambda=0.5, max_per_category=2, interests=3)
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("diversity.mmr_lambda: must be 0 to 1", "--mmr: diversity.mmr_lambda: must be 0 to 1"),
        ("profile['a'][1]: must not be blank", "--profile: profile['a'][1]: must not be blank"),
        ("recent_events[0].item_id: is required", "--history: recent_events[0].item_id: is required"),
        ("max_reasons must be an int", "--max-reasons: max_reasons must be an int"),
        ("something else", "something else"),
    ],
)
def test_what_the_server_names_is_told_by_its_option(message, told):
    assert options.in_own_words(message, {}) == told


def test_to_say_how_many_reasons_is_to_ask_for_them(server):
    assert cli.main(["recommend", "--max-reasons", "5"]) == 0
    assert server.call.request == recommendation_pb2.RecommendRequest(explain=True, max_reasons=5)


def test_every_strategy_and_shortfall_has_its_words():
    assert set(lists._REASONS) == set(tanager.ReasonKind)
    assert set(lists._STRATEGIES) == set(tanager.Strategy)
    assert set(lists._SHORTFALLS) == set(tanager.Shortfall)


def test_titles_are_cut_and_cannot_move_the_cursor(server, capsys):
    accented = "e\u0301" * 60  # 60 cells in 120 characters
    titles = ["\x1b[31mred\n\tx", "长" * 40, accented, "x" * 61]
    server.on("Recommend", recommended(results=[common_pb2.Result(item_id="a", title=title) for title in titles]))
    assert cli.main(["recommend"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " [31mred  x  " in lines[1]
    assert f"  {'长' * 29}…   -" in lines[2]  # 59 cells of 60: another wide character does not fit
    assert f"  {accented}  -" in lines[3]
    assert f"  {'x' * 59}…  -" in lines[4]


def test_recommend_as_json(server, capsys):
    assert cli.main(["recommend", "first contact", "--format", "json"]) == 0
    out = capsys.readouterr().out
    answer = json.loads(out)
    request_id = server.call.metadata["x-request-id"]
    assert answer == {
        "results": [
            {
                "item_id": "film-1",
                "title": "降临 Arrival",
                "domain": "film",
                "rank": 1,
                "score": 0.5,
                "sources": ["wish", "text"],
                "reasons": [],
                "other_contribution": 0.0,
                "propensity": 1.0,
            },
            {
                "item_id": "b2",
                "title": "Solaris",
                "domain": "",
                "rank": 10,
                "score": 0.25,
                "sources": ["popular"],
                "reasons": [],
                "other_contribution": 0.0,
                "propensity": 1.0,
            },
        ],
        "strategy": "wish",
        "shortfall": "none",
        "unknown_item_count": 0,
        "unknown_attribute_count": 0,
        "next_page_token": "",
        "attribution_token": "",
        "bundle_id": "abc",
        "generation": 0,
        "degraded": False,
        "variant": "",
        "timing": {
            "queue_us": 100,
            "tokenize_us": 200,
            "encode_us": 1500,
            "search_us": 300,
            "rank_us": 400,
            "batch_size": 3,
        },
        "request_id": request_id,
    }
    assert "降临" in out


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_output_that_cannot_carry_every_character(server, tmp_path, monkeypatch, encoding):
    server.on("Recommend", recommended(results=[common_pb2.Result(item_id="a", title="é降临🚀")]))
    path = tmp_path / "out"
    with path.open("w", encoding=encoding) as out:
        monkeypatch.setattr("sys.stdout", out)
        assert cli.main(["recommend", "--format", "json"]) == 0
    assert json.loads(path.read_text(encoding))["results"][0]["title"] == "é降临🚀"
    with path.open("w", encoding=encoding) as out:
        monkeypatch.setattr("sys.stdout", out)
        assert cli.main(["recommend"]) == 0
    assert "?" in path.read_text(encoding)


def test_every_option_of_recommend_is_sent(server):
    options = "--history a,b --history c -n 5 --exclude x --exclude y --include-seen --timeout 60"
    assert cli.main(["recommend", "宇宙 🚀", *options.split()]) == 0
    assert server.call.request == recommendation_pb2.RecommendRequest(
        text="宇宙 🚀",
        recent_events=[recommendation_pb2.Event(item_id=item_id) for item_id in "abc"],
        page_size=5,
        exclude_item_ids=["x", "y"],
        include_seen=True,
    )
    assert server.call.time_remaining_s > 30


def test_a_profile_and_a_context_are_read_from_the_command_line(server):
    options = "--profile gender=female --profile age=25 --profile member=true --profile hobby=go --profile hobby=7"
    assert cli.main(["recommend", *options.split(), "--profile", "about=a=b", "--context", "place=by the sea"]) == 0
    value = common_pb2.AttributeValue
    assert server.call.request == recommendation_pb2.RecommendRequest(
        profile={
            "gender": value(string_value="female"),
            "age": value(number_value=25),
            "member": value(bool_value=True),
            "hobby": value(string_list=common_pb2.StringList(values=["go", "7"])),
            "about": value(string_value="a=b"),
        },
        context={"place": "by the sea"},
    )


@pytest.mark.parametrize(("text", "value"), [("nan", "nan"), ("-inf", "-inf"), ("1e3", 1000.0), ("True", "True")])
def test_what_is_a_number_on_the_command_line(text, value):
    assert options.profile([f"a={text}"]) == {"a": value}


@pytest.mark.parametrize("option", ["--profile", "--context"])
@pytest.mark.parametrize("entry", ["female", "=female"])
def test_an_entry_without_a_name_is_refused(server, capsys, option, entry):
    assert cli.main(["recommend", option, entry]) == 2
    assert capsys.readouterr().err == f"tanager: error: {option}: {entry!r} is no NAME=VALUE\n"
    assert not server.calls


def test_recommend_sends_nothing_that_was_not_given(server):
    assert cli.main(["recommend"]) == 0
    assert server.call.request == recommendation_pb2.RecommendRequest()


def test_similar(server, capsys):
    server.on(
        "SimilarItems",
        recommendation_pb2.SimilarItemsResponse(
            results=RESULTS[:1],
            shortfall=common_pb2.SHORTFALL_CATALOGUE,
            served_by=common_pb2.ServedBy(strategy=common_pb2.STRATEGY_SIMILAR),
        ),
    )
    assert cli.main(["similar", "film-2", "-n", "3", "--exclude", "x"]) == 0
    assert server.call.request == recommendation_pb2.SimilarItemsRequest(
        item_id="film-2", page_size=3, exclude_item_ids=["x"]
    )
    out = capsys.readouterr().out
    assert "strategy   similar: items like the given one\n" in out
    assert "the catalogue has no more\n" in out


@pytest.fixture
def status(server):
    response = model_pb2.GetStatusResponse(server_version="1.2.3", execution_provider="CPUExecutionProvider")
    response.start_time.GetCurrentTime()
    response.runtime.MergeFrom(model_pb2.Runtime(threads=1, workers=2, max_batch_tokens=512, batch_cost_tokens=9))
    response.bundle.bundle_id = "abc"
    response.bundle.create_time.FromJsonString("2026-01-02T03:04:05Z")
    response.bundle.model_name = "MiniLM"
    response.bundle.precision = "int8"
    response.bundle.item_count = 1400
    response.bundle.domain_item_counts.update({"film": 1200, "book": 150, "": 50})
    response.bundle.quality.update({"index_recall_at_10": 0.98765})
    server.on("GetStatus", response)
    return response


def test_status(status, capsys):
    assert cli.main(["status"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("server 1.2.3, up 0:0")
    assert "provider CPUExecutionProvider, 2 batches of up to 512 tokens at a time, threads each: 1" in lines
    assert "bundle abc, exported 2026-01-02 03:04 UTC" in lines
    assert "precision int8" in lines
    assert "items 1,400 (no domain 50, book 150, film 1,200)" in lines
    assert "index_recall_at_10 0.9877" in lines
    assert not any("simulated" in line for line in lines)


def test_status_says_that_behaviour_is_simulated(status, capsys):
    status.bundle.simulated_behaviour = True
    assert cli.main(["status"]) == 0
    assert "NOTE: the behaviour in this dataset was simulated" in capsys.readouterr().out


def test_status_as_json(status, capsys):
    assert cli.main(["status", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["server_version"] == "1.2.3"
    assert answer["runtime"] == {"threads": 1, "workers": 2, "max_batch_tokens": 512, "batch_cost_tokens": 9}
    assert answer["bundle"]["create_time"] == "2026-01-02T03:04:05+00:00"
    assert answer["bundle"]["domain_item_counts"] == {"film": 1200, "book": 150, "": 50}


def test_tls(serve, certs, capsys):
    pair = (certs / "server.key").read_bytes(), (certs / "server.pem").read_bytes()
    server = serve(grpc.ssl_server_credentials([pair]))
    server.on("Recommend", recommended())
    assert cli.main(["recommend", "--target", server.target, "--ca-file", str(certs / "ca.pem")]) == 0
    capsys.readouterr()
    assert cli.main(["recommend", "--target", server.target, "--tls"]) == 1
    assert "agree on TLS" in capsys.readouterr().err


def test_a_refused_field_is_named_with_its_option(server, failing):
    violation = error_details_pb2.BadRequest.FieldViolation(field="page_size", description="must be 1 to 1,000")
    details = status_pb2.Status()
    details.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    server.fail("Recommend", grpc.StatusCode.INVALID_ARGUMENT, "bad", details.SerializeToString())
    assert failing("recommend", "-n", "0") == (2, "tanager: error: -n: page_size: must be 1 to 1,000\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["recommend", "caf\udce9"], "TEXT: text has no UTF-8 form: a lone surrogate at position 3"),
        (["recommend", "--history", "a,\udce9"], "--history: history[1] has no UTF-8 form"),
        (["recommend", "-n", "99999999999"], "-n: page_size must fit in 32 bits"),
        (["status", "--timeout", "nan"], "--timeout: timeout_s must be a positive number"),
        (["status", "--target", "localhost"], "--target: target must be host:port"),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_option(server, failing, argv, message):
    status, said = failing(*argv)
    assert status == 2
    assert said.startswith(f"tanager: error: {message}")
    assert server.calls == []


def test_other_errors(server, failing):
    server.fail("SimilarItems", grpc.StatusCode.NOT_FOUND, "no item 'a'")
    status, said = failing("similar", "a")
    assert status == 1
    assert said.startswith("tanager: error: no item 'a' (request ")
    server.fail("GetStatus", grpc.StatusCode.INVALID_ARGUMENT, "no\ndetails")
    status, said = failing("status")
    assert status == 2
    assert said.startswith("tanager: error: no details (request ")
    assert failing("status", "--ca-file", "missing.pem") == (
        1,
        "tanager: error: missing.pem: No such file or directory\n",
    )


def test_nothing_listens(failing):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{unheard.getsockname()[1]}"
        status, said = failing("status", "--target", target)
    assert status == 1
    assert said.startswith(f"tanager: error: {target} is unavailable: ")
    assert "Check that tanager-server runs there" in said


@pytest.mark.parametrize("argv", [[], ["unknown"], ["recommend", "a", "b"], ["recommend", "-n", "x"], ["similar"]])
def test_wrong_usage(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert "usage: tanager" in capsys.readouterr().err


def test_help_tells_the_exit_status_and_the_default_target(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert "exit status:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["recommend", "--help"])
    assert "127.0.0.1:50051" in capsys.readouterr().out


def test_an_interrupt_is_quiet(server, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tanager.Client, "recommend", interrupted)
    assert cli.main(["recommend"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_went_away_is_no_noise(server, monkeypatch, capsys):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert cli.main(["recommend"]) == 1
    assert capsys.readouterr().err == ""
