"""Products as Amazon's texts describe them: "Title. Department Category Category. Brand."."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The departments of Amazon, with which the path of categories of a product begins.
_DEPARTMENTS = (
    "All Beauty", "Appliances", "Apps & Games", "Arts, Crafts & Sewing", "Automotive", "Baby", "Baby Products",
    "Beauty", "Beauty & Personal Care", "Books", "CDs & Vinyl", "Cell Phones & Accessories",
    "Clothing, Shoes & Jewelry", "Digital Music", "Electronics", "Gift Cards", "Grocery & Gourmet Food",
    "Handmade Products", "Health & Household", "Health & Personal Care", "Home & Kitchen", "Industrial & Scientific",
    "Kindle Store", "Luxury Beauty", "Magazine Subscriptions", "Movies & TV", "Musical Instruments", "Office Products",
    "Patio, Lawn & Garden", "Pet Supplies", "Software", "Sports & Outdoors", "Tools & Home Improvement", "Toys & Games",
    "Video Games",
)  # fmt: skip


def titles_and_categories(texts: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The title of each product, and its categories, broadest first, without the department.

    Titles hold full stops too ("1.75 mm. Black. Spool"), so the categories are known by the department that they
    begin with, which most products of a data set share; there are none where it is missing. The names of the levels
    run into each other, but where one product's path is the beginning of another's, it ends where a level ends. So
    "Industrial Electrical Wiring & Connecting" is split if there are products that are "Industrial Electrical" and
    no more.

    Args:
        texts: One a product.
    """
    department = _department(texts)
    parts = [text.partition(f". {department} ") if department else (text, "", "") for text in texts]
    paths = [rest.partition(". ")[0].strip().removesuffix(".") for _, _, rest in parts]
    known = set(paths)
    levels = {path: tuple(_levels(path.split(), known)) for path in known}
    return [
        ((before if path else _first_sentence(text)).strip(), levels[path])
        for text, (before, _, _), path in zip(texts, parts, paths, strict=True)
    ]


def _department(texts: Sequence[str]) -> str:
    """The department of more than half of the products; empty where there is none."""
    share = {department: sum(f". {department} " in text for text in texts) for department in _DEPARTMENTS}
    likely = max(share, key=lambda department: (share[department], len(department)))
    return likely if share[likely] > len(texts) / 2 else ""


def _first_sentence(text: str) -> str:
    return text.partition(". . " if ". . " in text else ". ")[0]  # nothing between two stops: the categories are empty


def _levels(words: list[str], known: set[str]) -> Iterator[str]:
    start = 0
    for end in range(1, len(words) + 1):
        if end == len(words) or " ".join(words[:end]) in known:
            yield " ".join(words[start:end])
            start = end
