"""Last.fm of HetRec 2011: artists, listening counts, tags, and what is malformed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tanager_export.dataset import DatasetError, check_dataset, import_lastfm, load_dataset

if TYPE_CHECKING:
    from pathlib import Path

HETREC = {
    "artists.dat": "id\tname\turl\tpictureURL\n1\tSigur Rós\thttp://x\thttp://y\n7\tNobody  Known\thttp://x\t\n",
    "user_artists.dat": "userID\tartistID\tweight\r\n2\t1\t13883\r\n3\t1\t1\r\n2\t7\t5\r\n",
    "tags.dat": "tagID\ttagValue\r\n1\tpost-rock\r\n2\tSeen Live\r\n3\tcafé\r\n4\tambient\r\n5\ticelandic\r\n",
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n"
    + "".join(
        f"{user}\t1\t{tag}\t1\t4\t2009\r\n" for user, tag in [(2, 4), (3, 4), (4, 1), (2, 2), (3, 2), (2, 3), (2, 5)]
    )
    + "2\t99\t1\t1\t4\t2009\r\n",
}


def write(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        encoding = "utf-8" if name == "artists.dat" else "latin-1"
        (directory / name).write_text(content, encoding=encoding, newline="")
    return directory


def test_artists_become_items_and_counts_weights(tmp_path):
    written = import_lastfm(write(tmp_path / "lastfm", HETREC), tmp_path / "out")
    assert (written.name, written.items, written.users, written.interactions) == ("lastfm", 2, 2, 3)
    dataset = load_dataset(tmp_path / "out")
    known, unknown = dataset.items
    assert (known.id, known.title, known.domain) == ("1", "Sigur Rós", "music")
    assert known.text == "Sigur Rós. Music artist. Tags: ambient, café, icelandic, post-rock."
    assert known.categories == ("ambient", "café", "icelandic")
    assert (unknown.text, unknown.categories) == ("Nobody Known. Music artist.", ())
    assert dataset.interactions.weight.tolist() == [13883, 1, 5]
    assert dataset.interactions.timestamp.tolist() == [0, 0, 0]
    assert dataset.times == "none"
    assert "grouplens.org" in dataset.source


def test_times_that_say_nothing_are_not_checked(tmp_path):
    import_lastfm(write(tmp_path / "lastfm", HETREC), tmp_path / "out")
    report = check_dataset(tmp_path / "out")
    assert report.ok
    assert [finding.code for finding in report.findings if finding.code.startswith("time")] == ["times"]


def test_tags_with_timestamps_do_as_well(tmp_path):
    files = {name: content for name, content in HETREC.items() if name != "user_taggedartists.dat"}
    files["user_taggedartists-timestamps.dat"] = "userID\tartistID\ttagID\ttimestamp\r\n2\t7\t1\t1238536800000\r\n"
    import_lastfm(write(tmp_path / "lastfm", files), tmp_path / "out")
    assert [item.text for item in load_dataset(tmp_path / "out").items] == [
        "Sigur Rós. Music artist.",
        "Nobody Known. Music artist. Tags: post-rock.",
    ]


def test_listening_without_a_header_is_read_from_its_first_row(tmp_path):
    files = HETREC | {"user_artists.dat": "2\t1\t13883\r\n3\t1  \t1\r\n"}
    import_lastfm(write(tmp_path / "lastfm", files), tmp_path / "out")
    assert load_dataset(tmp_path / "out").interactions.weight.tolist() == [13883, 1]


@pytest.mark.parametrize("without", ["tags.dat", "user_taggedartists.dat"])
def test_tags_may_be_missing(tmp_path, without):
    files = {name: content for name, content in HETREC.items() if name != without}
    import_lastfm(write(tmp_path / "lastfm", files), tmp_path / "out")
    assert load_dataset(tmp_path / "out").items[0].text == "Sigur Rós. Music artist."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("artists.dat", "id\tname\n", "artists.dat, line 1: expected the header id name url pictureURL"),
        ("artists.dat", "id\tname\turl\tpictureURL\n", "artists.dat, line 1: no artists"),
        ("artists.dat", "id\tname\turl\tpictureURL\n1\t \t\t\n", "artists.dat, line 2: no name"),
        ("artists.dat", "id\tname\turl\tpictureURL\n1\ta\t\t\n1\tb\t\t\n", "artists.dat, line 3: artist '1' is listed"),
        ("user_artists.dat", "user\tartist\tweight\n", "line 1: expected the header userID artistID weight"),
        ("user_artists.dat", "", "user_artists.dat, line 1: no listening"),
        ("user_artists.dat", "userID\tartistID\tweight\n", "user_artists.dat, line 1: no listening"),
        ("user_artists.dat", "userID\tartistID\tweight\n2\t8\t1\n", "line 2: artist '8' is not in artists.dat"),
        ("user_artists.dat", "userID\tartistID\tweight\n \t1\t1\n", "user_artists.dat, line 2: no userID"),
        ("user_artists.dat", "userID\tartistID\tweight\n2\t1\t0\n", "line 2: weight '0' is no number of times"),
        ("user_artists.dat", "userID\tartistID\tweight\n2\t1\t" + "9" * 40, "line 2: weight '9999999999"),
        ("user_artists.dat", "userID\tartistID\tweight\n2\t1\t1.5\n", "line 2: weight '1.5' is no number of times"),
        ("tags.dat", "tagID\ttagValue\n", "user_taggedartists.dat, line 2: tag '4' is not in tags.dat"),
    ],
)
def test_malformed_rows_are_refused_by_line(tmp_path, name, content, message):
    with pytest.raises(DatasetError) as caught:
        import_lastfm(write(tmp_path / "lastfm", HETREC | {name: content}), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_says_what_is_needed(tmp_path):
    with pytest.raises(DatasetError, match=r"no artists\.dat: Last\.fm of HetRec 2011 has artists\.dat and user_art"):
        import_lastfm(write(tmp_path / "in", {}), tmp_path / "out")
    with pytest.raises(DatasetError, match="no such directory"):
        import_lastfm(tmp_path / "nowhere", tmp_path / "out")
