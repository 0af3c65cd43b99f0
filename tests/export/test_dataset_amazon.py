"""Amazon reviews: sequences as UniSRec has them, RecBole's atomic files, and what is malformed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tanager_export.dataset import DatasetError, check_dataset, import_amazon, load_dataset
from tanager_export.dataset.products import titles_and_categories

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
TEXTS = {
    "A": "Glue no. 3. Black. Industrial & Scientific Adhesives & Sealants Glue. Gorilla. ",
    "B": "Tape 1.5 in. Industrial & Scientific Adhesives & Sealants. 3M. ",
    "C": "Screw. Industrial & Scientific Fasteners Screws. Acme. ",
    "D": "Fan no. 4. . TPI. ",
}
UNISREC = {
    "S.item2index": "C\t0\nA\t1\nB\t2\n",
    "S.user2index": "amy\t0\nbob\t1\n",
    "S.text": "item_id:token\ttext:token_seq\n" + "".join(f"{item}\t{text}\n" for item, text in TEXTS.items()),
    "S.train.inter": HEADER + "0\t0 1\t2\n0\t0\t1\n1\t2\t2\n",
    "S.valid.inter": HEADER + "0\t0 1 2\t1\n1\t2 2\t0\n",
    "S.test.inter": HEADER + "0\t0 1 2 1\t0\n1\t2 2 0\t1\n",
}
RECBOLE = {
    "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "u\t1\t4.0\t881250949\nv\t2\t0.5\t881250949123\n",
    "ml.item": "item_id:token\tyear:float\tmovie_title:token_seq\tclass:token_seq\n"
    "1\t1995\tToy Story\tAnimation Comedy\n2\t\tHeat!\tFilm Noir, Action\n",
    "ml.user": "user_id:token\tage:float\tjob:token\tlikes:token_seq\nu\t24\tnight watch\ta b\n",
}


def write(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8", newline="")
    return directory


def sequences(directory: Path) -> dict[str, list[str]]:
    dataset = load_dataset(directory)
    found: dict[str, list[tuple[int, str]]] = {user: [] for user in dataset.interactions.user_ids}
    columns = dataset.interactions
    for user, item, timestamp in zip(columns.user, columns.item, columns.timestamp, strict=True):
        found[columns.user_ids[user]].append((int(timestamp), dataset.items[item].id))
    return {user: [item for _, item in sorted(events)] for user, events in found.items()}


def test_sequences_are_whole_and_say_that_they_have_no_times(tmp_path):
    written = import_amazon(write(tmp_path / "s", UNISREC), tmp_path / "out")
    assert (written.name, written.items, written.users, written.interactions) == ("S", 4, 2, 9)
    assert sequences(tmp_path / "out") == {"amy": ["C", "A", "B", "A", "C"], "bob": ["B", "B", "C", "A"]}
    dataset = load_dataset(tmp_path / "out")
    assert dataset.times == "order"
    assert dataset.interactions.timestamp.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    report = check_dataset(tmp_path / "out")
    assert report.ok
    assert {"times"} == {finding.code for finding in report.findings if finding.code.startswith("time")}


def test_a_sequence_that_was_cut_gets_its_beginning_back(tmp_path):
    # As UniSRec writes a sequence of six with histories of at most three.
    train, valid, test = "0\t0 1 2\t1\n0\t0 1\t2\n0\t0\t1\n", "0\t1 2 1\t2\n", "0\t2 1 2\t0\n"
    parts = {"S.train.inter": HEADER + train, "S.valid.inter": HEADER + valid, "S.test.inter": HEADER + test}
    import_amazon(write(tmp_path / "s", UNISREC | parts), tmp_path / "out")
    assert sequences(tmp_path / "out") == {"amy": ["C", "A", "B", "A", "B", "C"]}


def test_titles_and_categories(tmp_path):
    import_amazon(write(tmp_path / "s", UNISREC), tmp_path / "out")
    items = load_dataset(tmp_path / "out").items
    assert [(item.id, item.title, item.categories) for item in items] == [
        ("A", "Glue no. 3. Black", ("Adhesives & Sealants", "Glue")),
        ("B", "Tape 1.5 in", ("Adhesives & Sealants",)),
        ("C", "Screw", ("Fasteners Screws",)),
        ("D", "Fan no. 4", ()),
    ]
    assert [item.text for item in items] == [text.strip() for text in TEXTS.values()]


def test_a_department_that_few_products_have_is_a_chance(tmp_path):
    texts = ["Doll. Baby blue. Acme.", "Drill. Tools. Acme.", "Saw. Tools. Acme."]
    assert titles_and_categories(texts) == [("Doll", ()), ("Drill", ()), ("Saw", ())]


def test_ids_may_be_spelt_out(tmp_path):
    parts = {
        f"S.{part}.inter": HEADER + f"amy\tA B\t{target}\n"
        for part, target in (("train", "C"), ("valid", "C"), ("test", "C"))
    }
    import_amazon(write(tmp_path / "s", {"S.text": UNISREC["S.text"]} | parts), tmp_path / "out")
    assert sequences(tmp_path / "out") == {"amy": ["A", "B", "C"]}


def test_atomic_files(tmp_path):
    written = import_amazon(write(tmp_path / "r", RECBOLE), tmp_path / "out")
    assert (written.name, written.items, written.users, written.interactions) == ("ml", 2, 2, 2)
    dataset = load_dataset(tmp_path / "out")
    toy, heat = dataset.items
    assert (toy.title, toy.text, toy.categories) == (
        "Toy Story",
        "Toy Story. Animation Comedy.",
        ("Animation", "Comedy"),
    )
    assert (heat.text, heat.categories) == ("Heat! Film Noir, Action.", ("Film Noir", "Action"))
    assert (dict(toy.attributes), dict(heat.attributes)) == ({"year": 1995}, {})
    assert [(user.id, dict(user.attributes)) for user in dataset.users] == [
        ("u", {"age": 24, "job": "night watch", "likes": ("a", "b")})
    ]
    assert dataset.interactions.timestamp.tolist() == [881250949, 881250949]
    assert dataset.interactions.weight.tolist() == [4, 0.5]
    assert dataset.times == "seconds"


def test_atomic_files_without_times_say_so(tmp_path):
    files = {"b.inter": "item_id:token\tuser_id:token\n1\tu\n", "b.item": RECBOLE["ml.item"]}
    import_amazon(write(tmp_path / "r", files), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert (dataset.times, dataset.interactions.weight.tolist(), dataset.users) == ("none", [1], ())


@pytest.mark.parametrize(
    ("files", "name", "content", "message"),
    [
        (UNISREC, "S.test.inter", "x\ty\tz\n", "S.test.inter, line 1: expected the header user_id:token item_id_list"),
        (UNISREC, "S.test.inter", HEADER + "0\t0\n", "S.test.inter, line 2: expected 3 fields separated by a tab"),
        (UNISREC, "S.test.inter", HEADER + "0\t0 7\t1\n", "S.test.inter, line 2: '7' is not in S.item2index"),
        (UNISREC, "S.test.inter", HEADER + "9\t0\t1\n", "S.test.inter, line 2: '9' is not in S.user2index"),
        (UNISREC, "S.test.inter", HEADER + "0\t0\t1\n0\t0\t1\n", "S.test.inter, line 3: user '0' has a row already"),
        (UNISREC, "S.test.inter", HEADER + "0\t0\t1\n", "S.valid.inter, line 3: user '1' has no row in S.test.inter"),
        (
            UNISREC,
            "S.valid.inter",
            HEADER + "0\t0 2\t1\n",
            "S.valid.inter, line 2: these items are no part of the user's",
        ),
        (UNISREC, "S.test.inter", HEADER, "S.test.inter, line 1: no sequences"),
        (UNISREC, "S.item2index", "C\t0\nA\t0\n", "S.item2index, line 2: number '0' is taken already"),
        (UNISREC, "S.item2index", "C\t0\nA\t1\nZ\t2\n", "S.test.inter, line 2: item 'Z' is not in S.text"),
        (
            UNISREC,
            "S.text",
            "item_id:token\ttext:token_seq\nA\tx\nA\ty\n",
            "S.text, line 3: item 'A' is described twice",
        ),
        (UNISREC, "S.text", "item_id:token\ttext:token_seq\nA\t \n", "S.text, line 2: no text for item 'A'"),
        (UNISREC, "S.text", "item_id:token\ttext:token_seq\n", "S.text, line 1: no items"),
        (UNISREC, "T.test.inter", "", "several files: S.test.inter, T.test.inter: give each data set a directory"),
        (RECBOLE, "ml.inter", "user_id\titem_id:token\n", "ml.inter, line 1: column 'user_id' has no kind"),
        (RECBOLE, "ml.inter", "user_id:token\n", "ml.inter, line 1: no column item_id"),
        (RECBOLE, "ml.inter", "user_id:token\titem_id:token\nu\t9\n", "ml.inter, line 2: item '9' is not in ml.item"),
        (RECBOLE, "ml.inter", "user_id:token\titem_id:token\n\t1\n", "ml.inter, line 2: no user_id"),
        (RECBOLE, "ml.inter", "user_id:token\titem_id:token\n", "ml.inter, line 1: no interactions"),
        (
            RECBOLE,
            "ml.inter",
            "user_id:token\titem_id:token\ttimestamp:float\nu\t1\tnoon\n",
            "ml.inter, line 2: timestamp 'noon' is no time",
        ),
        (
            RECBOLE,
            "ml.inter",
            "user_id:token\titem_id:token\trating:float\nu\t1\tnan\n",
            "ml.inter, line 2: rating 'nan' is no number",
        ),
        (
            RECBOLE,
            "ml.inter",
            "user_id:token\titem_id:token\trating:float\nu\t1\t1e39\n",
            "ml.inter, line 2: rating '1e39' is no number",
        ),
        (RECBOLE, "ml.item", "item_id:token\tyear:float\n1\t2\n", "ml.item, line 1: no column of tokens"),
        (RECBOLE, "ml.item", "item_id:token\ttitle:token\n1\t \n", "ml.item, line 2: item '1' has no text"),
        (RECBOLE, "ml.item", "item_id:token\ttitle:token\n1\tx\n1\ty\n", "ml.item, line 3: item '1' is listed twice"),
        (RECBOLE, "ml.item", "item_id:token\ttitle:token\tp:float\n1\tx\ty\n", "ml.item, line 2: p 'y' is no number"),
        (RECBOLE, "ml.item", "", "ml.item: missing or empty"),
        (RECBOLE, "ml.user", "user_id:token\nu\nu\n", "ml.user, line 3: user 'u' is listed twice"),
    ],
)
def test_malformed_files_are_refused_by_line(tmp_path, files, name, content, message):
    with pytest.raises(DatasetError) as caught:
        import_amazon(write(tmp_path / "in", files | {name: content}), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_says_what_is_needed(tmp_path):
    with pytest.raises(DatasetError, match=r"no file ends in \.inter: expected NAME\.inter and NAME\.item, or"):
        import_amazon(write(tmp_path / "in", {}), tmp_path / "out")
    with pytest.raises(DatasetError, match="no such directory"):
        import_amazon(tmp_path / "nowhere", tmp_path / "out")
