"""MovieLens: each layout, titles, genres, tags, and what is malformed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tanager_export.dataset import DatasetError, check_dataset, import_movielens, load_dataset
from tanager_export.dataset.films import parse_title

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_text(content, encoding=encoding, newline="")
    return directory


LATEST = {
    "movies.csv": "movieId,title,genres\r\n"
    '1,"Matrix, The (1999)",Action|Sci-Fi|Thriller\r\n'
    '2,"Amélie (Fabuleux destin d\'Amélie Poulain, Le) (2001)",Comedy\r\n'
    "3,Paterson,(no genres listed)\r\n",
    "ratings.csv": "userId,movieId,rating,timestamp\r\n7,1,4.5,964982703\r\n8,1,3.0,964982704\r\n7,2,0.5,964982705\r\n",
    "tags.csv": "userId,movieId,tag,timestamp\r\n"
    "1,1,virtual  reality,1\r\n2,1,Virtual Reality,2\r\n1,1,dystopia,3\r\n1,1,dystopia,4\r\n"
    '1,1,thriller,5\r\n1,1,In Netflix queue,6\r\n2,1,"a, b",7\r\n3,1,dystopia,8\r\n'
    + "".join(f"9,2,tag {letter},9\r\n" for letter in "jihgfedcba"),
    "links.csv": "movieId,imdbId,tmdbId\r\n1,0133093,603\r\n",
}
ML_1M = {
    "movies.dat": "1::Toy Story (1995)::Animation|Children's|Comedy\n2::Misérables, Les (1995)::Drama|Film-Noir\n",
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072-1234\n",
    "ratings.dat": "1::2::5::978300760\n2::1::3::978302109\n",
}
ML_10M = {
    "movies.dat": "1::Amélie (2001)::Comedy|Romance\n2::Heat (1995)::Action\n",
    "ratings.dat": "1::2::3.5::978300760\n2::1::5::978302109\n",
    "tags.dat": "1::1::Montmartre::1000\n1::2::heist::2000\n2::2::L.A.::3000\n",
}
FLAGS = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
GENRES = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"]
GENRES += ["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
ML_100K = {
    "u.item": f"1|Toy Story (1995)|01-Jan-1995||http://example.org/?Toy|{FLAGS}\n"
    f"2|Café, Le (1995)|01-Jan-1995|||1{'|0' * 18}\n",
    "u.genre": "".join(f"{genre}|{number}\n" for number, genre in enumerate(GENRES)) + "\n",
    "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    "u.data": "1\t2\t3\t881250949\n2\t1\t5\t881250950\n",
}
LAYOUTS = {
    "ml-latest-small": (LATEST, "utf-8"),
    "ml-10m": (ML_10M, "utf-8"),
    "ml-1m": (ML_1M, "latin-1"),
    "ml-100k": (ML_100K, "latin-1"),
}


@pytest.fixture(params=LAYOUTS)
def source(request, tmp_path):
    files, encoding = LAYOUTS[request.param]
    return write(tmp_path / request.param, files, encoding)


def test_every_layout_becomes_a_dataset_without_errors(source, tmp_path):
    written = import_movielens(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert check_dataset(tmp_path / "out").ok
    assert written.directory == tmp_path / "out"
    assert written.name == dataset.name == source.name
    assert (written.items, written.users, written.interactions) == (
        len(dataset.items),
        len(dataset.interactions.user_ids),
        len(dataset.interactions),
    )
    assert not dataset.simulated_behaviour
    assert "grouplens.org" in dataset.source
    assert {item.domain for item in dataset.items} == {"film"}


def test_latest(tmp_path):
    import_movielens(write(tmp_path / "ml", LATEST), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    matrix, amelie, paterson = dataset.items
    assert (matrix.id, matrix.title, dict(matrix.attributes)) == ("1", "The Matrix", {"year": 1999})
    assert matrix.categories == ("action", "science fiction", "thriller")
    assert matrix.text == (
        "The Matrix (1999). Film. Action, science fiction, thriller. Tags: dystopia, virtual reality, a, b."
    )
    assert amelie.title == "Amélie (Le Fabuleux destin d'Amélie Poulain)"
    assert amelie.text.endswith("Comedy. Tags: tag a, tag b, tag c, tag d, tag e, tag f, tag g, tag h.")
    assert (paterson.text, paterson.categories, dict(paterson.attributes)) == ("Paterson. Film.", (), {})
    columns = dataset.interactions
    assert columns.weight.tolist() == [4.5, 3, 0.5]
    assert columns.timestamp.tolist() == [964982703, 964982704, 964982705]
    assert columns.item.tolist() == [0, 0, 1]
    assert columns.user_ids == ("7", "8")
    assert dataset.users == ()
    assert (tmp_path / "out" / "interactions.csv").read_text().splitlines()[1] == "7,1,964982703,rating,4.5"


def test_latest_needs_neither_tags_nor_links(tmp_path):
    files = {name: LATEST[name] for name in ("movies.csv", "ratings.csv")}
    import_movielens(write(tmp_path / "ml", files), tmp_path / "out")
    assert load_dataset(tmp_path / "out").items[0].text.endswith("thriller.")


@pytest.mark.parametrize(
    ("before_s", "tags", "said", "until"),
    [
        (9, " Tags: dystopia, virtual reality, a, b.", "before 1970-01-01T00:00:09", 8),
        (3, " Tags: virtual reality.", "before 1970-01-01T00:00:03", 2),
        (2, " Tags: virtual reality.", "before 1970-01-01T00:00:02", 1),
        (0, "", "Texts hold no tags.", None),
    ],
)
def test_tags_given_later_than_wanted_stay_out_of_the_texts(tmp_path, before_s, tags, said, until):
    import_movielens(write(tmp_path / "ml", LATEST), tmp_path / "out", tags_before_s=before_s)
    dataset = load_dataset(tmp_path / "out")
    assert dataset.items[0].text == "The Matrix (1999). Film. Action, science fiction, thriller." + tags
    assert dataset.items[1].text.endswith("Film. Comedy.")
    assert said in dataset.description
    assert dataset.texts_until == until


def test_10m(tmp_path):
    import_movielens(write(tmp_path / "ml", ML_10M), tmp_path / "out", tags_before_s=3000)
    dataset = load_dataset(tmp_path / "out")
    assert [item.text for item in dataset.items] == [
        "Amélie (2001). Film. Comedy, romance. Tags: montmartre.",
        "Heat (1995). Film. Action. Tags: heist.",
    ]
    assert dataset.interactions.weight.tolist() == [3.5, 5]
    assert dataset.users == ()


def test_1m(tmp_path):
    import_movielens(write(tmp_path / "ml", ML_1M, "latin-1"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert [item.text for item in dataset.items] == [
        "Toy Story (1995). Film. Animation, children, comedy.",
        "Les Misérables (1995). Film. Drama, film noir.",
    ]
    assert [dict(user.attributes) for user in dataset.users] == [
        {"age": "under 18", "gender": "female", "occupation": "K-12 student"},
        {"age": "56+", "gender": "male", "occupation": "self-employed"},
    ]
    assert dataset.interactions.weight.tolist() == [5, 3]


def test_100k(tmp_path):
    import_movielens(write(tmp_path / "ml", ML_100K, "latin-1"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert [item.text for item in dataset.items] == [
        "Toy Story (1995). Film. Animation, children, comedy.",
        "Le Café (1995). Film.",
    ]
    assert [dict(user.attributes) for user in dataset.users] == [
        {"age": 24, "gender": "male", "occupation": "technician"},
        {"age": 53, "gender": "female", "occupation": "other"},
    ]
    assert dataset.interactions.item.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("listed", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Matrix, The (1999) ", "The Matrix", 1999),
        ("Avventura, L' (1960)", "L'Avventura", 1960),
        ("Postman, The (Postino, Il) (1994)", "The Postman (Il Postino)", 1994),
        ("Léon: The Professional (a.k.a. The Professional) (Léon) (1994)", "", 1994),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("Death Note: Desu nôto (2006–2007)", "Death Note: Desu nôto", 2006),
        ("I, Tonya (2017)", "I, Tonya", 2017),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Babylon 5", "Babylon 5", None),
        ("(1999)", "(1999)", None),
    ],
)
def test_titles(listed, title, year):
    assert parse_title(listed) == (title or listed.removesuffix(" (1994)"), year)


@pytest.mark.parametrize(
    ("files", "name", "content", "message"),
    [
        (LATEST, "movies.csv", "id,title,genres\n", "movies.csv, line 1: expected the header movieId,title,genres"),
        (LATEST, "movies.csv", "movieId,title,genres\n1,x,Comedy\n2,x", "line 3: expected 3 fields separated by ','"),
        (
            LATEST,
            "movies.csv",
            "movieId,title,genres\n1,x,Comedy\n1,y,\n",
            "movies.csv, line 3: film '1' is listed",
        ),
        (LATEST, "movies.csv", "movieId,title,genres\n1, ,Comedy\n", "movies.csv, line 2: no title"),
        (LATEST, "movies.csv", "movieId,title,genres\n", "movies.csv, line 1: no films"),
        (LATEST, "movies.csv", 'movieId,title,genres\n1,"x"y,\n', "movies.csv, line 2: "),
        (LATEST, "movies.csv", "", "movies.csv, line 1: expected the header"),
        (LATEST, "movies.csv", "\nmovieId,title,year\n", "movies.csv, line 2: expected the header"),
        (LATEST, "tags.csv", "userId,movieId,tag\n", "tags.csv, line 1: expected the header"),
        (LATEST, "tags.csv", "userId,movieId,tag,timestamp\n1,1,x,noon\n", "tags.csv, line 2: the timestamp is no int"),
        (LATEST, "ratings.csv", "userId,movieId,rating,timestamp\n", "ratings.csv, line 1: no ratings"),
        (LATEST, "ratings.csv", LATEST["ratings.csv"] + "1,1,x,1\n", "ratings.csv, line 5: rating 'x' is not between"),
        (LATEST, "ratings.csv", LATEST["ratings.csv"] + "1,1,nan,1\n", "ratings.csv, line 5: rating 'nan'"),
        (
            LATEST,
            "ratings.csv",
            LATEST["ratings.csv"] + "1,9,4.0,1\n",
            "ratings.csv, line 5: film '9' is not in",
        ),
        (LATEST, "ratings.csv", LATEST["ratings.csv"] + "1,1,4.0,1.5\n", "ratings.csv, line 5: the timestamp is no"),
        (LATEST, "ratings.csv", LATEST["ratings.csv"] + ",1,4.0,1\n", "ratings.csv, line 5: no user id"),
        (ML_1M, "ratings.dat", "1::2::5\n", "ratings.dat, line 1: expected 4 fields separated by '::', found 3"),
        (ML_1M, "users.dat", "1::F::1::10::4\n1::X::1::1::4\n", "users.dat, line 2: no gender and age known"),
        (ML_1M, "users.dat", "1::F::1::99::4\n", "users.dat, line 1: no occupation known to ml-1m: '99'"),
        (ML_100K, "u.data", "1 2 3 4\n", "u.data, line 1: expected 4 fields separated by a tab, found 1"),
        (ML_100K, "u.item", "1|Toy Story (1995)\n", "u.item, line 1: expected 24 fields separated by '|', found 2"),
        (ML_100K, "u.user", "1|old|M|x|1\n", "u.user, line 1: no age and gender: 'old', 'M'"),
    ],
)
def test_malformed_rows_are_refused_by_line(tmp_path, files, name, content, message):
    source = write(tmp_path / "ml", files | {name: content}, "utf-8" if files is LATEST else "latin-1")
    with pytest.raises(DatasetError) as caught:
        import_movielens(source, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_text_that_is_no_utf_8_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"movies\.csv, line 3: byte 6 of the line \(0xe9\) is not UTF-8"):
        import_movielens(write(tmp_path / "ml", LATEST, "latin-1"), tmp_path / "out")


def test_an_unknown_layout_lists_what_each_needs(tmp_path):
    with pytest.raises(DatasetError) as caught:
        import_movielens(write(tmp_path / "ml", {"movies.csv": ""}), tmp_path / "out")
    for needed in (
        "movies.csv, ratings.csv",
        "movies.dat, ratings.dat, tags.dat",
        "movies.dat, ratings.dat, users.dat",
        "u.item, u.genre, u.data, u.user",
    ):
        assert needed in str(caught.value)
    with pytest.raises(DatasetError, match="no such directory"):
        import_movielens(tmp_path / "nowhere", tmp_path / "out")
