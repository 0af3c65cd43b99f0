"""The commands: what they print and with which code they end."""

from __future__ import annotations

import argparse
import json

import pytest

import tanager_export.dataset
from tanager_export.dataset import DatasetError, load_dataset
from tanager_export.dataset_commands import add_dataset_parser


def run(*words) -> int:
    parser = argparse.ArgumentParser()
    add_dataset_parser(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["dataset", *map(str, words)])
    return int(arguments.run(arguments))


def test_sample(tmp_path, capsys):
    assert run("sample", tmp_path / "out", "--seed", 2) == 0
    dataset = load_dataset(tmp_path / "out")
    assert len(dataset.interactions.user_ids) >= 2000
    printed = capsys.readouterr()
    assert f"{len(dataset.items)} items, 2,400 users, {len(dataset.interactions):,} interactions" in printed.out
    assert str(tmp_path / "out") in printed.out
    assert "simulated" in printed.out
    assert printed.err == ""
    assert "--seed 2" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_a_seed_is_an_integer_from_0(tmp_path, capsys, seed):
    with pytest.raises(SystemExit):
        run("sample", tmp_path, f"--seed={seed}")
    assert "an integer from 0" in capsys.readouterr().err


def test_movielens(tmp_path, capsys):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Heat (1995),Action\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    assert run("movielens", tmp_path, tmp_path / "out") == 0
    assert run("movielens", tmp_path, tmp_path / "out", "--overwrite") == 0
    printed = capsys.readouterr()
    assert "1 item, 1 user, 1 interaction\n" in printed.out
    assert printed.err == ""


def test_tags_of_movielens_up_to_a_time(tmp_path, capsys):
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Heat (1995),Action\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,1,heist,1000000000\n2,1,cop,1100000000\n")
    tags = {
        (): "Action. Tags: cop, heist.",
        ("--tags-before", "2004-11-09"): "Action. Tags: heist.",
        ("--tags-before", "1000000000"): "Action.",
        ("--no-tags",): "Action.",
    }
    for options, text in tags.items():
        assert run("movielens", tmp_path, tmp_path / "out", "--overwrite", *options) == 0
        assert load_dataset(tmp_path / "out").items[0].text.endswith(f"Film. {text}")
    with pytest.raises(SystemExit):
        run("movielens", tmp_path, tmp_path / "out", "--tags-before", "soon")
    assert "--tags-before: Unix seconds, or ISO 8601 such as 2016-05-01" in capsys.readouterr().err


def test_csv(tmp_path, capsys):
    (tmp_path / "goods.csv").write_text("item_id,label,blurb\na,Hat,Straw\n")
    (tmp_path / "log.csv").write_text("user,item,when\nu,a,2024-01-31\nu,b,2024-01-31\n")
    options = ("--items", "goods.csv", "--interactions", "log.csv", "--time-column", "when", "--drop-orphans")
    assert run("csv", tmp_path, tmp_path / "out", *options, "--text-columns", "blurb, label") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "goods.csv: id from item_id; text from blurb, label",
        "log.csv: user from user; item from item; time from when",
        "left out: 1 interactions with items that are not in goods.csv",
        f"{tmp_path.name}: 1 item, 1 user, 1 interaction",
        f"written to {tmp_path / 'out'}",
    ]
    dataset = load_dataset(tmp_path / "out")
    assert dataset.items[0].text == "Straw. Hat."
    assert dataset.interactions.timestamp.tolist() == [1706659200]


@pytest.mark.parametrize(("command", "file"), [("amazon", "S.text"), ("lastfm", "artists.dat")])
def test_other_imports_refuse_what_is_not_theirs(tmp_path, command, file):
    (tmp_path / file).write_text("")
    with pytest.raises(DatasetError):
        run(command, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_check_prints_a_table(make_dataset, capsys):
    directory = make_dataset(interactions=["u,i1,1", "u,i1,1", "u,gone,2", "u,lost,3"])
    assert run("check", directory) == 1
    printed = capsys.readouterr().out
    assert "made: 4 items, 1 user, 2 interactions" in printed
    assert "error    orphan-interactions" in printed
    assert "Mend: add the items or drop these rows" in " ".join(printed.split())
    assert "1 error, " in printed
    assert max(map(len, printed.splitlines())) <= 110


def test_check_prints_json(make_dataset, capsys):
    directory = make_dataset(interactions=["u,i1,1", "v,i2,2"])
    assert run("check", directory, "--format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert (report["items"], report["users"], report["interactions"]) == (4, 2, 2)
    density = next(finding for finding in report["findings"] if finding["code"] == "density")
    assert density["severity"] == "warning"
    assert set(density) == {"severity", "code", "message", "count", "places", "mend"}


def test_what_the_package_offers_is_there_and_in_order():
    offered = tanager_export.dataset.__all__
    assert offered == sorted(offered)
    for name in offered:
        assert getattr(tanager_export.dataset, name).__doc__
