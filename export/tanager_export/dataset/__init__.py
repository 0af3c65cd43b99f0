"""Datasets: read, write, check, import.

A dataset is a directory:

- `items.jsonl`: an object a line: `id`, `text`, and optionally `title`, `domain`, `categories`, `attributes`;
- `interactions.csv`, optional: `user_id,item_id,timestamp`, optionally `event`, `weight`, `split` (train,
  valid or test, for `dataset check`) and columns of context;
- `users.jsonl`, optional: an object a line: `id`, `attributes`;
- `dataset.json`, optional: `name`, `description`, `source`, `licence`, `simulated_behaviour`, `times`,
  `texts_until`.
"""

from tanager_export.dataset.amazon import import_amazon
from tanager_export.dataset.check import Report, check_dataset
from tanager_export.dataset.checks.finding import Finding, Severity
from tanager_export.dataset.format import AttributeValue, Dataset, Interactions, Item, User
from tanager_export.dataset.from_state import export_state
from tanager_export.dataset.lastfm import import_lastfm
from tanager_export.dataset.movielens import import_movielens
from tanager_export.dataset.plain_csv import CsvOptions, import_csv
from tanager_export.dataset.problem import DatasetError, Problem
from tanager_export.dataset.reader import load_dataset
from tanager_export.dataset.writer import Written, write_dataset

__all__ = [
    "AttributeValue",
    "CsvOptions",
    "Dataset",
    "DatasetError",
    "Finding",
    "Interactions",
    "Item",
    "Problem",
    "Report",
    "Severity",
    "User",
    "Written",
    "check_dataset",
    "export_state",
    "import_amazon",
    "import_csv",
    "import_lastfm",
    "import_movielens",
    "load_dataset",
    "write_dataset",
]
