import json
import re
import shlex
from pathlib import Path

import pytest

from tanager.load import options
from tanager.load.options import parse

SCENARIOS = Path(__file__).parents[2] / "load"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("TANAGER_TARGET", raising=False)


@pytest.fixture
def scenario(tmp_path):
    def write(text):
        path = tmp_path / "scenario.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def refused(capsys):
    """Parses what is wrong usage: what it says."""

    def run(*argv: str) -> str:
        with pytest.raises(SystemExit) as caught:
            parse(argv)
        captured = capsys.readouterr()
        assert caught.value.code == 2
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("tanager: error: load: ")
        return str(captured.err)

    return run


def test_defaults_are_a_closed_loop_of_wishes():
    chosen = parse([])
    assert (chosen.target, chosen.workload, chosen.concurrency, chosen.rate) == ("127.0.0.1:50051", "text", 16, None)
    assert (chosen.duration_s, chosen.count, chosen.warm_up_s, chosen.timeout_s) == (10, None, 2, 5)
    assert (chosen.tls, chosen.objective, chosen.zipf, chosen.json, chosen.report) == (None,) * 5
    assert not chosen.open_loop


def test_every_option_is_taken():
    argv = """host:1 --workload mixed --page-size 20 --zipf 1.1 --pool-size 99 --seed 5 --rate 12.5 --arrivals constant
        --count 30 --warm-up 0 --timeout 0.5 --connections 3 --ca-file ca.pem --json - --report r.html"""
    chosen = parse(shlex.split(argv))
    assert (chosen.target, chosen.workload, chosen.page_size, chosen.zipf) == ("host:1", "mixed", 20, 1.1)
    assert (chosen.pool_size, chosen.seed, chosen.rate, chosen.arrivals) == (99, 5, 12.5, "constant")
    assert (chosen.count, chosen.duration_s, chosen.warm_up_s, chosen.timeout_s) == (30, None, 0, 0.5)
    assert (chosen.connections, chosen.concurrency, chosen.open_loop) == (3, None, True)
    assert chosen.tls is not None
    assert chosen.tls.ca_file == "ca.pem"
    assert (chosen.json, chosen.report) == (options.STANDARD_OUTPUT, Path("r.html"))
    assert parse(["--requests-file", "r.jsonl"]).requests_file == Path("r.jsonl")
    chosen = parse(["--find-rate", "--max-errors", "0", "--precision", "0.2", "--arrivals", "constant"])
    assert (chosen.max_errors, chosen.precision, chosen.arrivals) == (0, 0.2, "constant")


def test_the_target_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TANAGER_TARGET", "other:1")
    assert parse([]).target == "other:1"
    assert parse(["host:1"]).target == "host:1"


def test_without_a_seed_each_run_has_another():
    assert len({parse([]).seed for _ in range(5)}) == 5


def test_find_rate_is_an_open_loop_with_an_objective():
    chosen = parse(["--find-rate"])
    assert (chosen.rate, chosen.concurrency, chosen.duration_s) == (50, None, 10)
    assert chosen.objective is not None
    assert chosen.objective.text == "p99<=50ms"
    assert parse(["--find-rate", "--rate", "7", "--objective", "p50<=1ms"]).rate == 7


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--nonsense"], "--nonsense"),
        (["--conc", "5"], "--conc"),
        (["a:1", "b:2"], "b:2"),
        (["--workload", "songs"], "--workload"),
        (["--concurrency", "0"], "--concurrency: must be at least 1"),
        (["--concurrency", "two"], "--concurrency: must be a whole number"),
        (["--rate", "0"], "--rate: must be above 0"),
        (["--rate", "inf"], "--rate"),
        (["--duration", "-1"], "--duration"),
        (["--timeout", "nan"], "--timeout"),
        (["--page-size", "1001"], "--page-size: must be at least 1 and at most 1,000"),
        (["--zipf", "-1"], "--zipf"),
        (["--max-errors", "1.5", "--find-rate"], "--max-errors: must be at least 0 and at most 1"),
        (["--rate", "5", "--concurrency", "5"], "--concurrency and --rate exclude each other"),
        (["--duration", "5", "--count", "5"], "--duration and --count exclude each other"),
        (["--find-rate", "--concurrency", "5"], "--concurrency and --find-rate exclude each other"),
        (["--find-rate", "--count", "5"], "--count and --find-rate exclude each other"),
        (["--objective", "p99<=5ms"], "--objective needs --find-rate"),
        (["--no-find-rate", "--objective", "p99<=5ms"], "--no-find-rate and --objective exclude each other"),
        (["--precision", "0.1"], "--precision needs --find-rate"),
        (["--max-errors", "0"], "--max-errors needs --find-rate"),
        (["--max-errors", "0", "--rate", "5"], "--max-errors needs --find-rate"),
        (["--max-errors", "0", "--concurrency", "5"], "--concurrency and --max-errors exclude each other; leave one"),
        (["--arrivals", "poisson"], "--arrivals needs --rate or --find-rate"),
        (["--arrivals", "poisson", "--concurrency", "5"], "--concurrency and --arrivals exclude each other"),
        (["--pool-size", "5", "--requests-file", "r"], "--requests-file and --pool-size exclude each other"),
        (["--no-tls", "--ca-file", "ca.pem"], "--no-tls and --ca-file exclude each other"),
        (["a:1", "--target", "b:1"], "TARGET and --target exclude each other"),
        (["--report", "-"], "--report - is no file; give one"),
        (["--report", "./same", "--json", "same"], "--json and --report name the same file"),
        (["--find-rate", "--objective", "fast"], "--objective: an objective is one of"),
        (["--connections", "20"], "--connections 20 needs --concurrency 20 or more"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(refused, argv, said):
    assert said in refused(*argv)


def test_help_tells_options_workloads_and_exit_status(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    for text in ("--concurrency", "--find-rate", "--report", "40 % text", "exit status:", "TANAGER_TARGET"):
        assert text in out


def test_a_scenario_is_read_and_the_command_line_overrides_it(scenario):
    path = scenario('target = "host:9"\nrate = 12\nseed = 3\nwarm-up = 0.5\nworkload = "history"\nzipf = 1\ntls = true')
    chosen = parse(["--scenario", path])
    assert (chosen.target, chosen.rate, chosen.seed, chosen.warm_up_s, chosen.zipf) == ("host:9", 12, 3, 0.5, 1)
    assert chosen.tls is not None
    chosen = parse(["other:1", "--scenario", path, "--seed", "4", "--workload=text", "--no-tls"])
    assert (chosen.target, chosen.seed, chosen.workload, chosen.rate, chosen.tls) == ("other:1", 4, "text", 12, None)


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("rate = 12", ["--concurrency", "5"]),
        ("find-rate = true\nobjective = 'p99<=1ms'\nrate = 5", ["--concurrency", "5"]),
        ("duration = 5\nconcurrency = 5", ["--count", "9"]),
        ("find-rate = true\nobjective = 'p99<=1ms'\nconcurrency = 5", ["--no-find-rate"]),
        ("find-rate = true\nmax-errors = 0\nprecision = 0.1\narrivals = 'constant'", ["--concurrency", "5"]),
    ],
)
def test_the_command_line_replaces_what_it_excludes(scenario, text, argv):
    chosen = parse(["--scenario", scenario(text), *argv])
    assert (chosen.concurrency, chosen.rate, chosen.objective) == (5, None, None)


def test_the_command_line_replaces_what_needs_what_it_switches_off(scenario):
    path = scenario("find-rate = true\nrate = 7\nobjective = 'p99<=1ms'\nmax-errors = 0\nprecision = 0.1")
    chosen = parse(["--scenario", path, "--no-find-rate"])
    assert (chosen.rate, chosen.objective) == (7, None)
    assert parse(["--scenario", scenario("tls = true\nca-file = 'ca.pem'"), "--no-tls"]).tls is None
    path = scenario("pool-size = 7")
    assert parse(["--scenario", path]).pool_size == 7
    assert parse(["--scenario", path, "--requests-file", "r.jsonl"]).requests_file == Path("r.jsonl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rat = 5", "unknown key 'rat'; the keys are"),
        ("warm_up = 5", "unknown key 'warm_up'"),
        ("scenario = 'a'", "unknown key 'scenario'"),
        ("rate = true", "rate must be a number or a string"),
        ("tls = 1", "tls must be true or false"),
        ("rate = [1]", "rate must be a number or a string"),
        ("rate = 'much'", "--rate: must be a number"),
        ("rate = ", "scenario.toml"),
        ("rate = 5\nconcurrency = 5", "--concurrency and --rate exclude each other"),
    ],
)
def test_a_wrong_scenario_is_named(refused, scenario, text, said):
    assert said in refused("--scenario", scenario(text))


def test_a_scenario_that_is_not_there_is_named(refused):
    assert "missing.toml: No such file" in refused("--scenario", "missing.toml")


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_scenarios_that_come_with_tanager_are_valid(path):
    parse(["--scenario", str(path)])
    assert path.read_text(encoding="utf-8").startswith("# "), "says what it is for"


def test_all_scenarios_are_there():
    names = {"text", "history", "mixed", "similar", "overload", "zipf", "find_rate"}
    assert {path.stem for path in SCENARIOS.glob("*.toml")} == names


def test_the_configuration_for_ghz_asks_for_what_the_contract_has():
    from google.protobuf import json_format

    from tanager.v1 import recommendation_pb2

    config = json.loads((SCENARIOS / "ghz.json").read_text(encoding="utf-8"))
    service, _, method = config["call"].rpartition(".")
    descriptor = recommendation_pb2.DESCRIPTOR.services_by_name["RecommendationService"]
    assert service == descriptor.full_name
    assert method in descriptor.methods_by_name
    for request in config["data"]:
        json_format.ParseDict(request, recommendation_pb2.RecommendRequest())
    # Keys and values that ghz's options reference and its Config name; it ignores other keys without a word, and takes
    # "close" for a duration-stop that it does not know.
    assert config.keys() == {
        "name", "host", "insecure", "call", "data", "concurrency", "connections", "duration", "duration-stop",
        "timeout", "format",
    }  # fmt: skip
    assert config["insecure"] is True
    assert config["duration-stop"] in ("close", "wait", "ignore")
    assert config["format"] in ("summary", "csv", "json", "pretty", "html", "influx-summary", "influx-details")
    assert all(isinstance(config[key], int) for key in ("concurrency", "connections"))
    assert all(re.fullmatch(r"\d+(ms|s|m|h)", config[key]) for key in ("duration", "timeout"))
    assert set(re.findall(r"{{(.*?)}}", json.dumps(config["data"]))) <= {".RequestNumber", ".UUID"}
