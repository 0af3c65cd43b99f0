"""Plain CSV files: files and columns by common names or as told, texts, attributes, times, and what is malformed."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tanager_export.dataset import CsvOptions, DatasetError, check_dataset, import_csv, load_dataset

if TYPE_CHECKING:
    from pathlib import Path

SHOP = {
    "products.csv": "id,Product Name,Description,category,price,stock,code,colour\n"
    'a,Red  shoe,"A shoe, red.",Shoes > Sneakers,19.5,3,007,red\n'
    "b,Hat,,Hats|Summer|Hats,5,0,12,\n",
    "events.csv": "customer_id,product_id,event_time,event_type,rating,device\n"
    "u,a,2024-01-31T00:00:00Z,view,1,phone\nv,b,1706659201,buy,2.5,\nu,b,1706659202999,view,1,web\n",
    "customers.csv": "customer_id,age,city\nu,33,Oslo\nw,,Bergen\n",
}


def write(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8", newline="")
    return directory


def test_files_and_columns_are_found_by_common_names(tmp_path):
    written = import_csv(write(tmp_path / "shop", SHOP), tmp_path / "out")
    assert (written.name, written.items, written.users, written.interactions) == ("shop", 2, 2, 3)
    assert written.notes == (
        "products.csv: id from id; title from Product Name; categories from category; "
        "text from Product Name, category, Description",
        "customers.csv: id from customer_id",
        "events.csv: user from customer_id; item from product_id; time from event_time; event from event_type; "
        "weight from rating; context from device",
    )
    dataset = load_dataset(tmp_path / "out")
    assert check_dataset(tmp_path / "out").ok
    shoe, hat = dataset.items
    assert (shoe.id, shoe.title, shoe.categories) == ("a", "Red shoe", ("Shoes", "Sneakers"))
    assert shoe.text == "Red  shoe. Shoes, Sneakers. A shoe, red."
    assert dict(shoe.attributes) == {"price": 19.5, "stock": 3, "code": "007", "colour": "red"}
    assert (hat.text, hat.categories) == ("Hat. Hats, Summer.", ("Hats", "Summer"))
    assert dict(hat.attributes) == {"price": 5, "stock": 0, "code": "12"}
    assert [(user.id, dict(user.attributes)) for user in dataset.users] == [
        ("u", {"age": 33, "city": "Oslo"}),
        ("w", {"city": "Bergen"}),
    ]
    assert dataset.interactions.timestamp.tolist() == [1706659200, 1706659201, 1706659202]
    assert dataset.interactions.weight.tolist() == [1, 2.5, 1]
    assert dataset.times == "seconds"
    assert (tmp_path / "out" / "interactions.csv").read_text().splitlines()[:2] == [
        "user_id,item_id,timestamp,event,weight,device",
        "u,a,1706659200,view,1,phone",
    ]


def test_files_and_columns_as_told(tmp_path):
    files = {
        "stock.txt": "\ufeffnr;what;kind;blurb\n1;Saw;['tools', 'steel'];Cuts wood!\n2;Vase;;\n",
        "log.tsv": "who\twhich\tstep\thow\n\u00e5\t2\t1\tx\n\u00e5\t1\t2\t\n",
    }
    options = CsvOptions(
        items="stock.txt",
        interactions="log.tsv",
        user_column="who",
        item_column="which",
        time_column="step",
        event_column="how",
        title_column="what",
        category_column="kind",
        text_columns=("blurb", "what"),
        times="order",
    )
    source = write(tmp_path / "in", files)
    with pytest.raises(
        DatasetError, match=r"stock\.txt, line 1: no column that looks like the item's id: name it with"
    ):
        import_csv(source, tmp_path / "out", options)
    (source / "stock.txt").write_text(files["stock.txt"].replace("nr;", "which;"), encoding="utf-8")
    import_csv(source, tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    assert [(item.id, item.title, item.text, item.categories) for item in dataset.items] == [
        ("1", "Saw", "Cuts wood! Saw.", ("tools", "steel")),
        ("2", "Vase", "Vase.", ()),
    ]
    assert (dataset.times, dataset.interactions.timestamp.tolist()) == ("order", [1, 2])
    assert dataset.interactions.user_ids == ("å",)


def test_a_catalogue_alone_is_a_dataset(tmp_path):
    written = import_csv(write(tmp_path / "in", {"items.tsv": "id\ttitle\n1\tx\n"}), tmp_path / "out")
    assert (written.items, written.users, written.interactions) == (1, 0, 0)
    assert not (tmp_path / "out" / "interactions.csv").exists()


@pytest.mark.parametrize("options", [CsvOptions(), CsvOptions(times="none")])
def test_without_times_the_dataset_says_so(tmp_path, options):
    interactions = "user,item,time\nu,a,noon\n" if options.times == "none" else "user,item\nu,a\n"
    files = {"products.csv": SHOP["products.csv"], "interactions.csv": interactions}
    import_csv(write(tmp_path / "in", files), tmp_path / "out", options)
    dataset = load_dataset(tmp_path / "out")
    assert (dataset.times, dataset.interactions.timestamp.tolist()) == ("none", [0])


def test_orphans_are_left_out_on_demand_and_counted(tmp_path):
    source = write(tmp_path / "in", SHOP | {"events.csv": SHOP["events.csv"] + "w,gone,1,view,1,\n"})
    with pytest.raises(DatasetError, match=r"events\.csv, line 5: item 'gone' is not in products\.csv: add it, or"):
        import_csv(source, tmp_path / "out")
    written = import_csv(source, tmp_path / "out", CsvOptions(drop_orphans=True))
    assert (written.users, written.interactions) == (2, 3)
    assert written.notes[-1] == "left out: 1 interactions with items that are not in products.csv"


def test_a_column_of_row_numbers_has_no_name_and_is_left_out(tmp_path):
    files = {"items.csv": ",item_id,title\n0,a,x\n1,b,y\n"}
    import_csv(write(tmp_path / "in", files), tmp_path / "out")
    assert [dict(item.attributes) for item in load_dataset(tmp_path / "out").items] == [{}, {}]


EVENTS = "user,item,time,rating\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"products.csv": ""}, "products.csv, line 1: no header"),
        ({"products.csv": "id,title,title\n"}, "products.csv, line 1: two columns are named 'title'"),
        ({"products.csv": "id,title\n"}, "products.csv, line 1: no items"),
        (
            {"products.csv": "id,price\na,1\n"},
            "no column to make a text of: name some with --text-columns: the columns",
        ),
        ({"products.csv": "id,title\na,\n"}, "products.csv, line 2: item 'a' has no text in 'title'"),
        ({"products.csv": "id,title\n ,x\n"}, "products.csv, line 2: column 'id' is blank"),
        ({"products.csv": 'id,title\n"a\tb",x\n'}, "products.csv, line 2: column 'id': 'a\\tb' holds a line break or"),
        ({"products.csv": "id,title\na,x\na,y\n"}, "products.csv, line 3: column 'id': 'a' is already on line 2"),
        ({"products.csv": "id,title\na\n"}, "products.csv, line 2: expected 2 fields separated by ',', found 1: quote"),
        ({"products.csv": 'id,title\na,"x"y\n'}, "products.csv, line 2: ',' expected after '\"': quote fields"),
        ({"products.csv": "name,title\na,x\n"}, "no column that looks like the item's id: name it with --item-column"),
        ({"customers.csv": "customer_id\nu\nu\n"}, "customers.csv, line 3: column 'customer_id': 'u' is already on"),
        ({"events.csv": EVENTS}, "events.csv, line 1: no interactions: leave the file out"),
        ({"events.csv": "item,time\n"}, "no column that looks like the user's id: name it with --user-column: the col"),
        ({"events.csv": EVENTS + ",a,1,1\n"}, "events.csv, line 2: column 'user' is blank"),
        (
            {"events.csv": EVENTS + "u,a,noon,1\n"},
            "events.csv, line 2: column 'time': 'noon' is no time: give Unix sec",
        ),
        ({"events.csv": EVENTS + "u,a,1,good\n"}, "events.csv, line 2: column 'rating': 'good' is no number: give"),
        ({"events.csv": EVENTS + "u,a,1,1e39\n"}, "events.csv, line 2: column 'rating': '1e39' is no number"),
    ],
)
def test_malformed_files_are_refused_by_line_and_column(tmp_path, files, message):
    with pytest.raises(DatasetError) as caught:
        import_csv(write(tmp_path / "in", SHOP | files), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CsvOptions(items="no.csv"), "no.csv: no such file: name a file below "),
        (CsvOptions(interactions="no.csv"), "or an absolute path, with --interactions"),
        (CsvOptions(users="no.csv"), "or an absolute path, with --users"),
        (CsvOptions(text_columns=("blurb",)), "no column 'blurb': choose another with --text-columns: the columns are"),
        (CsvOptions(title_column="x"), "products.csv, line 1: no column 'x': choose another with --title-column"),
        (CsvOptions(time_column="x"), "events.csv, line 1: no column 'x': choose another with --time-column"),
        (CsvOptions(user_column="x"), "no column 'x': choose another with --user-column"),
        (
            CsvOptions(times="order"),
            "events.csv, line 2: column 'event_time': '2024-01-31T00:00:00Z' is no whole number",
        ),
    ],
)
def test_options_that_fit_no_file_are_refused(tmp_path, options, message):
    with pytest.raises(DatasetError) as caught:
        import_csv(write(tmp_path / "in", SHOP), tmp_path / "out", options)
    assert message in str(caught.value)


def test_a_column_that_would_change_its_meaning_is_refused(tmp_path):
    events = "user,item,when,weight,stars\nu,a,1,2,3\n"
    source = write(tmp_path / "in", SHOP | {"events.csv": events})
    with pytest.raises(
        DatasetError, match=r"column 'weight' would be taken for the weight: rename it, or take it with"
    ):
        import_csv(source, tmp_path / "out", CsvOptions(weight_column="stars"))
    (source / "events.csv").write_text(events.replace("when", "timestamp").replace("weight", "since"))
    with pytest.raises(DatasetError, match="column 'timestamp' would be taken for the time"):
        import_csv(source, tmp_path / "out", CsvOptions(time_column="since"))


def test_an_unknown_directory_says_what_is_needed(tmp_path):
    with pytest.raises(DatasetError, match=r"none of items\.csv, .*: name the file with --items"):
        import_csv(write(tmp_path / "in", {}), tmp_path / "out")
    with pytest.raises(DatasetError, match="no such directory"):
        import_csv(tmp_path / "nowhere", tmp_path / "out")


fields = st.text(st.sampled_from("ab1.-e9|;>[]'\"\n\r \u0661\u2028é"), max_size=6) | st.sampled_from(
    ["1e39", "007", "a", "u"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.lists(fields, min_size=4, max_size=4), min_size=1, max_size=4),
    events=st.lists(st.lists(fields, min_size=4, max_size=4), max_size=4),
)
@example(items=[["a", "x", "", "9" * 400]], events=[["u", "a", "1e39", "b"]])
@example(items=[["a", "x", "", "1"]], events=[["u", "a", "1", "b\rc"]])
def test_what_is_imported_loads(tmp_path, items, events):
    quoted = {
        "items.csv": [["id", "title", "category", "size"], *items],
        "events.csv": [["user", "item", "rating", "place"], *events],
    }
    for name, rows in quoted.items():
        lines = (",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows)
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    with contextlib.suppress(DatasetError):
        written = import_csv(tmp_path, tmp_path / "out", CsvOptions(drop_orphans=True), overwrite=True)
        dataset = load_dataset(tmp_path / "out")
        assert len(dataset.items) == written.items == len(items)
        assert len(dataset.interactions) == written.interactions


def test_of_two_columns_that_are_called_the_same_the_first_counts(tmp_path):
    files = {"items.csv": "item_id,itemid,title\na,b,x\n"}
    import_csv(write(tmp_path / "in", files), tmp_path / "out")
    (item,) = load_dataset(tmp_path / "out").items
    assert (item.id, dict(item.attributes)) == ("a", {"itemid": "b"})


def test_a_time_that_is_left_out_is_not_told(tmp_path):
    written = import_csv(write(tmp_path / "shop", SHOP), tmp_path / "out", CsvOptions(times="none"))
    assert not any("time from" in note for note in written.notes)
