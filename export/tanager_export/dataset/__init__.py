"""Datasets: read, write, check, import from MovieLens, and the sample that comes with Tanager.

A dataset is a directory:

- `items.jsonl`: an object a line: `id`, `text`, and optionally `title`, `domain`, `categories`, `attributes`;
- `interactions.csv`, optional: `user_id,item_id,timestamp`, optionally `event`, `weight` and columns of context;
- `users.jsonl`, optional: an object a line: `id`, `attributes`;
- `dataset.json`, optional: `name`, `description`, `source`, `licence`, `simulated_behaviour`.
"""

from .format import AttributeValue, Dataset, Interactions, Item, User
from .reader import load_dataset
from .writer import write_dataset

__all__ = ["AttributeValue", "Dataset", "Interactions", "Item", "User", "load_dataset", "write_dataset"]
