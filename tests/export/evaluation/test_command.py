"""`tanager-export evaluate`, the real command from end to end on small made data."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from tests.support import ServerProcess

from tanager_export.cli import main
from tanager_export.dataset import Dataset, Interactions, Item, User, load_dataset, write_dataset
from tanager_export.errors import ExportError
from tanager_export.evaluation.experiment.plan import BASELINES
from tanager_export.training.sequence import SequenceOptions

TOPICS = ("space", "love", "war", "music", "nature")
USERS, DAY_S = 90, 86_400
SOME = ("popularity", "ease", "hybrid-mf", "frozen-encoder", "ridge-text-to-ease")
FEW = ("--baselines", "popularity,ease", "--trials", "2")


def run(*words: object) -> int:
    return main(["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Users each of one topic, half of whom come late; who likes what, their profile tells as well."""
    random = np.random.default_rng(0)
    items = tuple(
        Item(
            id=f"{topic}-{number}",
            title=f"{topic} {number}",
            text=f"{topic} {number}",
            categories=(topic, f"shelf {number % 4}"),
        )
        for topic in TOPICS
        for number in range(24)
    )
    rows = []
    for user in range(USERS):
        own = random.permutation(24)[:14] + 24 * (user % 5)
        start = 1_700_000_000 + (user * 40 * DAY_S) // 10
        rows += [(user, int(item), start + step * 2 * DAY_S) for step, item in enumerate(own)]
    rows.sort(key=lambda row: row[2])
    columns = np.array(rows)
    directory = tmp_path_factory.mktemp("evaluate") / "made"
    write_dataset(
        Dataset(
            name="made",
            items=items,
            interactions=Interactions(
                columns[:, 0].astype(np.int32),
                columns[:, 1].astype(np.int32),
                columns[:, 2],
                np.ones(len(rows), np.float32),
                tuple(f"user-{user}" for user in range(USERS)),
            ),
            users=tuple(User(f"user-{user}", {"taste": TOPICS[user % 5]}) for user in range(USERS)),
            simulated_behaviour=True,
        ),
        directory,
    )
    return directory


@pytest.fixture(scope="module")
def trained(dataset, tiny_model, tmp_path_factory):
    """A run whose test was held out."""
    run_directory = tmp_path_factory.mktemp("run") / "run"
    assert (
        main(
            [
                "train",
                *map(
                    str,
                    (dataset, run_directory, "--base", tiny_model, "--hold-out", "--epochs", 1, "--sequence-epochs", 1),
                ),
            ]
        )
        == 0
    )
    return run_directory


@pytest.fixture
def altered(trained, tmp_path):
    """The run, with another manifest."""

    def alter(**changes: object):
        copy = tmp_path / "altered"
        shutil.copytree(trained, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        for key, value in changes.items():
            if value is None:
                manifest.pop(key)
            else:
                manifest[key] = value
        (copy / "manifest.json").write_text(json.dumps(manifest))
        return copy

    return alter


@pytest.fixture(scope="module")
def all_of_it(dataset, tiny_model, tmp_path_factory):
    """Exit status, figures and page of a run over every protocol."""
    place = tmp_path_factory.mktemp("figures")
    compression = place / "compression.json"
    rows = [
        {"variant": "fp32", "texts_per_s": 300.0, "loss": 0.0},
        {"variant": "int8<", "texts_per_s": 9e2, "loss": 0.01},
    ]
    compression.write_text(json.dumps({"rows": rows}))
    files = ("--output", place / "f.json", "--report", place / "deep" / "r.html", "--compression", compression)
    some = ("--baselines", ",".join(SOME), "--trials", "2")
    status = run(dataset, "--model", tiny_model, "--frozen", tiny_model, "--protocol", "all", *some, *files)
    return status, json.loads((place / "f.json").read_text()), (place / "deep" / "r.html").read_text()


def test_every_protocol_is_measured_in_one_run(all_of_it):
    status, figures, _ = all_of_it
    assert status == 0
    assert figures["incomplete"] == []
    assert [table["protocol"] for table in figures["tables"]] == ["global-time", "leave-one-out"]
    for table in figures["tables"]:
        rows = {row["method"]: row for row in table["rows"]}
        assert list(rows) == ["tanager", *SOME]
        for row in rows.values():
            assert all(row["metrics"][name] is not None for name in ("ndcg@10", "auc", "gini", "ease_diversity"))
            assert 0 < row["metrics"]["ndcg@10"] <= 1
        ours, theirs = (rows[name]["metrics"]["ndcg@10"] for name in ("tanager", "popularity"))
        assert rows["popularity"]["ratio"]["value"] == pytest.approx(ours / theirs)
        assert rows["popularity"]["ratio"]["low"] > 1, "each user has one topic, which the popular items are not all of"
        assert len(rows["ease"]["trials"]) == 2
        assert rows["ease"]["validation"] == max(rows["ease"]["trials"])
        assert table["slices"]["all"] == [table["cases"], table["targets"]]


def test_new_users_are_known_by_their_profiles_and_by_what_they_did(all_of_it):
    found = all_of_it[1]["cold_users"]
    assert list(found["ndcg"]["events_0"]) == ["tanager", "popularity", "ease"]
    assert list(found["ndcg"]) == ["events_0", "events_1", "events_3", "events_5", "events_10", "profile_only"]
    assert found["ratios"]["profile_only"]["popularity"]["low"] > 1
    assert found["ratios"]["events_5"]["popularity"]["low"] > 1
    by_ease = [found["ndcg"][shown]["ease"]["value"] for shown in ("events_0", "events_10")]
    assert by_ease[0] < by_ease[1]


def test_hidden_items_are_found_by_their_text(all_of_it):
    found = all_of_it[1]["cold_items"]
    assert found["hidden"] == 24
    assert list(found["among_cold"]) == ["tanager", *SOME[2:]]
    assert {name: len(ratios) for name, ratios in found["ratios_by_seed"].items()} == dict.fromkeys(SOME[2:], 1)
    for name, ratios in found["ratios_by_seed"].items():
        assert ratios[0] == pytest.approx(found["ratios"][name]["value"])
    assert found["share_by_seed"] == [pytest.approx(found["share"]["value"])]
    share = found["among_all"]["value"] / found["warm"]["value"]
    assert found["share"]["value"] == pytest.approx(share, rel=0.2)  # of the cases that have both
    assert found["together"]["value"] > 1, "who never ranks hidden items misses all of them"


def test_diversity_is_bought_with_accuracy(all_of_it):
    curve = all_of_it[1]["tables"][1]["curve"]
    by_lambda = {point["value"]: point for point in curve if point["kind"] == "mmr"}
    assert by_lambda[1.0]["ratio"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert by_lambda[0.3]["diversity"]["category_diversity"]["low"] > 1.2
    assert by_lambda[0.3]["ratio"]["value"] < 1
    capped = next(point for point in curve if point["kind"] == "category cap" and point["value"] == 1)
    assert capped["metrics"]["category_diversity"] == 1


def test_the_page_needs_nothing_from_anywhere(all_of_it):
    page = all_of_it[2]
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org)", page)
    assert page.count("<svg") > 20
    assert "int8&lt;" in page
    assert "int8<" not in page
    assert "simulated" in page
    assert not re.findall(r'\s(?:d|cx|cy|x|y|width|height)="[^"]*(?:nan|inf)', page.lower())


def test_a_plain_model_directory_is_said_to_be_of_unknown_past(all_of_it):
    figures, page = all_of_it[1:]
    assert "no manifest says what it learned from" in figures["model"]
    assert "no manifest says what it learned from" in page


def test_the_table_is_for_people_and_json_for_programs(dataset, tiny_model, capsys):
    assert run(dataset, "--model", tiny_model, "--frozen", tiny_model, "--baselines", "popularity") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("popularity") and "[" in line for line in lines)
    assert run(dataset, "--model", tiny_model, "--frozen", tiny_model, "--baselines", "", "--format", "json") == 0
    assert [row["method"] for row in json.loads(capsys.readouterr().out)["tables"][0]["rows"]] == ["tanager"]


def test_a_library_that_is_missing_is_told_and_the_exit_status_tells(dataset, tiny_model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "implicit", None)
    monkeypatch.setitem(sys.modules, "implicit.als", None)
    words = (dataset, "--model", tiny_model, "--frozen", tiny_model, "--baselines", "ials,popularity", "--trials", "1")
    assert run(*words) == 3
    captured = capsys.readouterr()
    row = next(line for line in captured.out.splitlines() if line.startswith("ials"))
    assert "missing" in row
    assert "pip install 'tanager[evaluate]'" in row
    assert "incomplete" in captured.err
    assert any(line.startswith("popularity") for line in captured.out.splitlines())


def test_seeds_are_taken_together(dataset, tiny_model, tmp_path):
    words = (dataset, "--model", tiny_model, "--frozen", tiny_model, "--baselines", "popularity", "--seeds", "0,1")
    assert run(*words, "--output", tmp_path / "f.json") == 0
    assert run(*words[:-2], "--output", tmp_path / "one.json") == 0
    two, one = (json.loads((tmp_path / name).read_text()) for name in ("f.json", "one.json"))
    assert two["seeds"] == [0, 1]
    assert two["tables"][0]["cases"] == 2 * one["tables"][0]["cases"]
    # The same cases twice over are no more people: the interval is no narrower.
    widths = []
    for figures in (one, two):
        found = figures["tables"][0]["rows"][1]["slices"]["all"]
        widths.append(found["high"] - found["low"])
    assert widths[1] == pytest.approx(widths[0])


def test_a_run_that_held_the_test_out_is_measured_with_its_blend(dataset, trained, tiny_model, tmp_path):
    files = ("--output", tmp_path / "f.json", "--report", tmp_path / "r.html")
    assert run(dataset, "--model", trained, "--frozen", tiny_model, *FEW, "--no-curve", *files) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["tables"][0]["curve"] == []
    blend = json.loads((trained / "blend.json").read_text())["weights"]
    assert {name: figures["tables"][0]["blend"][name] for name in blend} == blend
    assert [epoch["epoch"] for epoch in figures["epochs"]] == [0, 1]
    assert "Learning curve of the encoder: loss" in (tmp_path / "r.html").read_text()
    assert "the test held out" in figures["model"]


def test_runs_of_several_seeds_are_taken_together(dataset, trained, altered, tiny_model, tmp_path, capsys):
    """Without and with a sequence head; the second run stands in for one of another seed."""
    options = json.loads((trained / "manifest.json").read_text())["options"]
    second = altered(options=options | {"seed": 1})
    words = ("--frozen", tiny_model, "--baselines", "popularity", "--trials", "1")
    assert run(dataset, "--model", trained, "--model", second, *words, "--output", tmp_path / "f.json") == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["seeds"] == [0, 1]
    assert run(dataset, "--model", trained, *words, "--output", tmp_path / "one.json") == 0
    one = json.loads((tmp_path / "one.json").read_text())
    assert figures["tables"][0]["cases"] == 2 * one["tables"][0]["cases"]
    assert figures["tables"][0]["rows"][0]["metrics"] == pytest.approx(one["tables"][0]["rows"][0]["metrics"])
    assert run(dataset, "--model", second, *words, "--output", tmp_path / "one.json") == 0
    assert json.loads((tmp_path / "one.json").read_text())["seeds"] == [1]
    capsys.readouterr()
    assert run(dataset, "--model", trained, "--model", trained, *words) == 1
    assert "two runs have the same seed" in capsys.readouterr().err
    other = json.loads((second / "manifest.json").read_text())
    other["options"]["encoder"]["epochs"] += 1
    (second / "manifest.json").write_text(json.dumps(other))
    assert run(dataset, "--model", trained, "--model", second, *words) == 1
    assert "runs of different options" in capsys.readouterr().err
    assert run(dataset, "--model", tiny_model, "--model", trained, *words) == 1
    assert "have to be runs of `train`" in capsys.readouterr().err
    assert run(dataset, "--model", trained, "--model", second, *words, "--seeds", "0,1") == 1
    assert "several runs have seeds of their own" in capsys.readouterr().err


def test_a_run_with_a_sequence_head_is_measured_without_it_too(dataset, altered, trained, tiny_model, tmp_path):
    blend = json.loads((trained / "manifest.json").read_text())["blend"]
    head = asdict(SequenceOptions(dim=8, layers=1, heads=1, epochs=1))
    with_head = blend | {
        "weights": blend["weights"] | {"sequence": 50.0},
        "sequence": head,
        "without_sequence": blend["weights"],
        "ndcg_of_trial": [0.1, 0.2],
    }
    words = ("--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
    assert run(dataset, "--model", altered(blend=with_head), *words) == 0
    rows = json.loads((tmp_path / "f.json").read_text())["tables"][0]["rows"]
    assert [row["method"] for row in rows] == ["tanager", "tanager without its sequence head"]
    assert run(dataset, "--model", trained, *words) == 0
    plain = json.loads((tmp_path / "f.json").read_text())["tables"][0]["rows"]
    assert [row["method"] for row in plain] == ["tanager"]
    assert rows[1]["metrics"] == pytest.approx(plain[0]["metrics"])
    assert rows[0]["metrics"] != pytest.approx(plain[0]["metrics"])
    assert rows[1]["ratio"]["value"] == pytest.approx(rows[0]["metrics"]["ndcg@10"] / rows[1]["metrics"]["ndcg@10"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder_trained_until": 1_900_000_000}, "encoder_trained_until is 1900000000"),
        ({"blend_trained_until": 1_900_000_000}, "blend_trained_until is 1900000000"),
        ({"encoder_trained_until": None}, "does not say encoder_trained_until"),
        ({"dataset_sha256": "0" * 64}, "another dataset"),
    ],
)
def test_a_run_that_may_know_what_is_asked_is_refused(dataset, altered, tiny_model, capsys, tmp_path, changes, said):
    words = (dataset, "--model", altered(**changes), "--frozen", tiny_model, *FEW)
    assert run(*words, "--output", tmp_path / "f.json") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line
    assert "train" in line
    assert not (tmp_path / "f.json").exists()


def test_of_several_protocols_those_are_left_out_that_the_run_does_not_allow(
    dataset, trained, tiny_model, tmp_path, capsys
):
    words = (dataset, "--model", trained, "--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
    assert run(*words, "--protocol", "global-time,leave-one-out") == 3
    assert "leave-one-out is left out" in capsys.readouterr().err
    figures = json.loads((tmp_path / "f.json").read_text())
    assert [table["protocol"] for table in figures["tables"]] == ["global-time"]
    with pytest.raises(SystemExit):
        run(*words, "--protocol", "global-time,tomorrow")
    assert "no 'tomorrow'" in capsys.readouterr().err


def test_a_run_of_one_protocol_is_refused_by_another(dataset, altered, trained, tiny_model, capsys):
    assert run(dataset, "--model", trained, "--frozen", tiny_model, "--protocol", "leave-one-out") == 1
    assert "was trained for global-time" in capsys.readouterr().err
    copy = altered(protocol="leave-one-out", hold_out=False)
    assert run(dataset, "--model", copy, "--frozen", tiny_model, "--protocol", "leave-one-out") == 1
    assert "nothing was held out" in capsys.readouterr().err


def test_a_run_that_learned_from_warm_items_that_are_asked_is_refused(dataset, altered, tiny_model, capsys):
    words = (dataset, "--frozen", tiny_model, "--baselines", "", "--protocol", "cold-items", "--trials", "1")
    copy = altered(protocol="cold-items")  # all of it but the last tenth, the warm ones among them
    assert run(*words, "--model", copy) == 1
    assert "it may have learned from what is asked" in capsys.readouterr().err


def test_the_encoder_of_a_run_is_not_taken_for_one_that_nothing_is_known_of(
    dataset, trained, tiny_model, tmp_path, capsys
):
    assert run(dataset, "--model", trained / "model", "--frozen", tiny_model) == 1
    assert f"name the run, {trained}" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(trained / "model")
    for frozen in (trained / "model", tmp_path / "link"):
        assert run(dataset, "--model", tiny_model, "--frozen", frozen) == 1
        assert "is the encoder of a run" in capsys.readouterr().err
    assert run(dataset, "--model", tiny_model, "--frozen", trained) == 1
    assert "is a run of `train`, which is not frozen" in capsys.readouterr().err


def test_all_protocols_leaves_out_what_the_run_may_know_and_says_so(dataset, trained, tiny_model, tmp_path):
    words = (dataset, "--model", trained, "--frozen", tiny_model, "--baselines", "", "--protocol", "all")
    assert run(*words, "--trials", "1", "--output", tmp_path / "f.json") == 3
    figures = json.loads((tmp_path / "f.json").read_text())
    assert [table["protocol"] for table in figures["tables"]] == ["global-time"]
    assert figures["cold_users"] is not None
    assert figures["cold_items"] is None
    assert [text.split()[0] for text in figures["incomplete"]] == ["leave-one-out", "cold-items"]


def test_the_served_answers_are_those_of_the_exact_scores(dataset, trained, tiny_model, tmp_path):
    assert main(["bundle", *map(str, (trained, dataset, tmp_path / "b", "--precision", "fp32"))]) == 0
    with ServerProcess(tmp_path / "b") as server:
        words = ("--model", trained, "--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
        assert run(dataset, *words, "--served", server.address, "--report", tmp_path / "r.html") == 0
    served = json.loads((tmp_path / "f.json").read_text())["tables"][0]["served"]
    assert served["overlap"] > 0.9
    assert abs(served["loss"]["value"]) < 0.05
    assert served["warnings"] == []
    # Of two protocols a bundle suits one: the other's figures stay.
    with ServerProcess(tmp_path / "b") as server:
        words = ("--model", tiny_model, "--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
        assert run(dataset, *words, "--served", server.address, "--protocol", "global-time,leave-one-out") == 3
    figures = json.loads((tmp_path / "f.json").read_text())
    assert [table["served"] is None for table in figures["tables"]] == [False, True]
    assert [text.split(":")[0] for text in figures["incomplete"]] == ["leave-one-out"]
    assert "Through the server" in (tmp_path / "r.html").read_text()


def test_a_server_that_may_know_what_is_asked_is_refused_before_any_work(
    dataset, trained, tiny_model, tmp_path, capsys, monkeypatch
):
    """Without a run, a bundle is fitted to all there is."""
    assert main(["bundle", *map(str, (tiny_model, dataset, tmp_path / "b", "--precision", "fp32"))]) == 0
    monkeypatch.setattr("tanager_export.evaluation.experiment.run._Bench", lambda *_: pytest.fail("worked"))
    with ServerProcess(tmp_path / "b") as server:
        words = ("--model", trained, "--frozen", tiny_model, "--baselines", "")
        assert run(dataset, *words, "--served", server.address) == 1
    assert "serve the bundle of a run that was trained with --hold-out" in capsys.readouterr().err


def test_what_fails_late_does_not_take_the_rest_with_it(dataset, trained, tiny_model, tmp_path, capsys, monkeypatch):
    def fails(*_: object, **__: object):
        raise ExportError("the lights went out")

    place = "tanager_export.evaluation.experiment"
    words = (dataset, "--model", trained, "--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
    with monkeypatch.context() as patched:
        patched.setattr(f"{place}.run.evaluate_cold_user_counts", fails)
        assert run(*words, "--protocol", "global-time,cold-users") == 3
    assert "cold-users: the lights went out" in capsys.readouterr().err
    figures = json.loads((tmp_path / "f.json").read_text())
    assert [table["protocol"] for table in figures["tables"]] == ["global-time"]
    (tmp_path / "f.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(f"{place}.beforehand.require_served", lambda *_: None)
        patched.setattr(f"{place}.run.ask_server", fails)
        assert run(*words, "--served", "127.0.0.1:1") == 3
    assert "--served: the lights went out" in capsys.readouterr().err
    assert json.loads((tmp_path / "f.json").read_text())["tables"][0]["rows"][0]["method"] == "tanager"


def test_texts_that_hold_behaviour_of_after_the_cut_are_refused(dataset, tiny_model, tmp_path, capsys):
    until = int(np.quantile(load_dataset(dataset).interactions.timestamp, 0.95))
    write_dataset(replace(load_dataset(dataset), texts_until=until), tmp_path / "tagged")
    words = ("--model", tiny_model, "--frozen", tiny_model, "--baselines", "", "--protocol", "global-time")
    assert run(tmp_path / "tagged", *words) == 1
    told = capsys.readouterr().err
    assert f"its texts hold behaviour, such as tags, up to {until}" in told
    [last] = map(int, re.findall(r"--tags-before (\d+)", told))
    write_dataset(replace(load_dataset(dataset), texts_until=last), tmp_path / "early")
    assert run(tmp_path / "early", *words) == 0


def test_baselines_that_encode_with_another_model_than_the_run_began_with_are_told(
    dataset, altered, tiny_model, tmp_path
):
    copy = altered(base="0" * 64, base_name="another")
    words = ("--model", copy, "--frozen", tiny_model, "--baselines", "", "--output", tmp_path / "f.json")
    assert run(dataset, *words) == 0
    notices = json.loads((tmp_path / "f.json").read_text())["notices"]
    assert any("The run began with another" in notice for notice in notices)


def test_a_server_of_other_items_is_refused(dataset, tiny_model, tiny_bundle, tmp_path, capsys, monkeypatch):
    words = ("--model", tiny_model, "--frozen", tiny_model, "--baselines", "")
    assert run(dataset, *words, "--served", "127.0.0.1:1", "--protocol", "cold-items", "--trials", "1") == 1
    assert "--served asks the cases of global-time or leave-one-out" in capsys.readouterr().err
    made = load_dataset(dataset)
    write_dataset(replace(made, items=(*made.items, Item(id="one-more", text="space"))), tmp_path / "more")
    with ServerProcess(tiny_bundle) as server:
        assert run(tmp_path / "more", *words, "--served", server.address) == 1
        assert "serves 120 items, the dataset has 121: serve a bundle of this dataset" in capsys.readouterr().err
        # As many items, but others: found when it is asked.
        for place in ("beforehand", "served"):
            monkeypatch.setattr(f"tanager_export.evaluation.experiment.{place}.require_served", lambda *_: None)
        assert run(dataset, *words, "--served", server.address) == 3
    assert "serve a bundle of this dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--baselines", "eas"), f"there are {', '.join(BASELINES)}"),
        (("--compression", "nowhere.json"), "cannot be read"),
        (("--report", "."), "is a directory"),
        (("--model", "./nowhere"), "no such directory"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(dataset, capsys, words, said):
    assert run(dataset, *words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1]


@pytest.mark.parametrize("words", [("--trials", "0"), ("--seeds", "1,1"), ("--seed", "-1"), ("--protocol", "time")])
def test_options_out_of_bounds_are_refused(dataset, words):
    with pytest.raises(SystemExit) as exited:
        run(dataset, *words)
    assert exited.value.code == 2
