"""`tanager items`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager import _render
from tanager._records import Item
from tanager.commands import bulk, options

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client
    from tanager._writes import DeletedItems, ImportedItems, ItemPage
    from tanager.commands.fields import Fields

_FILE_HELP = """\
JSON lines, - for standard input: item_id (or id), text, and optionally title, domain, categories, attributes; \
without a text the title is it, so that items.jsonl of a dataset can be put"""


def add(commands: options.Subparsers) -> None:
    """Adds the command to the parser."""
    items = commands.add_parser("items", help="read and change the catalogue")
    verbs = items.add_subparsers(dest="verb", required=True, metavar="VERB")

    get = verbs.add_parser("get", help="show one item")
    get.add_argument("item_id", metavar="ITEM_ID", help="the item")
    options.add_common(get, "Item")
    get.set_defaults(run=_get)

    found = verbs.add_parser("list", help="list items, all or those that a filter allows")
    options.add_filter(found)
    options.add_size(found, default=100)
    found.add_argument("--page-token", default="", metavar="TOKEN", help="the page after the one that told it")
    found.add_argument(
        "--all", action="store_true", help="all pages, each item a line of JSON, as `items put` reads it"
    )
    options.add_common(found, "ItemPage")
    found.set_defaults(run=_list)

    put = verbs.add_parser("put", help="create items, or replace them as a whole")
    put.add_argument("file", metavar="FILE", help=_FILE_HELP)
    bulk.add_options(put, batch_size=100)
    options.add_common(put, "ImportedItems", timeout_s=bulk.TIMEOUT_S)
    put.set_defaults(run=_put)

    delete = verbs.add_parser("delete", help="delete items")
    delete.add_argument("item_ids", nargs="+", metavar="ITEM_ID", help="the items")
    options.add_common(delete, "DeletedItems")
    delete.set_defaults(run=_delete)


def _get(client: Client, arguments: argparse.Namespace) -> Item:
    return client.get_item(arguments.item_id)


def _list(client: Client, arguments: argparse.Namespace) -> ItemPage | None:
    if not arguments.all:
        return client.list_items(
            filter=arguments.filter, page_size=arguments.page_size, page_token=arguments.page_token
        )
    if arguments.page_token:
        raise ValueError("--all lists every page; without it, --page-token lists one")
    for item in client.iter_items(filter=arguments.filter, page_size=arguments.page_size or 1000):
        print(_render.json_text(item, indent=None))
    return None


def _put(client: Client, arguments: argparse.Namespace) -> ImportedItems:
    return bulk.put(client.import_items, "items", arguments, item)


def _delete(client: Client, arguments: argparse.Namespace) -> DeletedItems:
    return client.delete_items(arguments.item_ids)


def item(fields: Fields) -> Item:
    """An item from one object of a file."""
    title, text = fields.text("title"), fields.text("text")
    found = Item(
        item_id=fields.required_text("item_id", "id"),
        text=text if text.strip() else title or fields.required_text("text"),
        title=title,
        domain=fields.text("domain"),
        categories=fields.texts("categories"),
        attributes=fields.attributes("attributes"),
    )
    fields.ignore("update_time")
    return found
