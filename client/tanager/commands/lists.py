"""`tanager recommend`, `similar`, `rank`, `trending` and `audience`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanager._values import Diversity, Example
from tanager.commands import options

if TYPE_CHECKING:
    import argparse

    from tanager._client import Client
    from tanager._results import Audience, Ranking, Recommendations, SimilarItems, TrendingItems


def add(commands: options.Subparsers) -> None:
    """Adds the commands to the parser."""
    _add_recommend(commands)

    similar = commands.add_parser("similar", help="find items like a given item")
    similar.add_argument("item_id", metavar="ITEM_ID", help="the item to find like items for")
    options.add_size(similar)
    options.add_exclude(similar)
    options.add_common(similar, "SimilarItems")
    similar.set_defaults(run=_similar)

    rank = commands.add_parser("rank", help="order given items for a user")
    rank.add_argument("item_ids", nargs="+", metavar="ITEM_ID", help="the items")
    rank.add_argument("--text", default="", help="what is wished for, in words")
    options.add_subject(rank)
    options.add_common(rank, "Ranking")
    rank.set_defaults(run=_rank, names={"text": "--text"})

    trending = commands.add_parser("trending", help="show what users take up lately")
    trending.add_argument(
        "--half-life",
        type=float,
        metavar="HOURS",
        help="of an event: one of those that the server counts (default: the first of them)",
    )
    options.add_size(trending)
    options.add_filter(trending)
    options.add_target_domains(trending)
    options.add_exclude(trending)
    options.add_common(trending, "TrendingItems")
    trending.set_defaults(run=_trending)

    audience = commands.add_parser("audience", help="find the users who are most likely to want an item")
    audience.add_argument("item_id", metavar="ITEM_ID", help="the item")
    options.add_size(audience, noun="users", default=100)
    options.add_filter(audience, "age >= 18")
    audience.add_argument("--include-seen", action="store_true", help="allow users who did something with the item")
    audience.add_argument("--explain", action="store_true", help="say why each user is in the list")
    options.add_common(audience, "Audience")
    audience.set_defaults(run=_audience)


def _add_recommend(commands: options.Subparsers) -> None:
    recommend = commands.add_parser("recommend", help="recommend items for a user, a wish, a history or none")
    recommend.add_argument("text", nargs="?", default="", metavar="TEXT", help="what is wished for, in words")
    options.add_subject(recommend)
    recommend.add_argument(
        "--example",
        action="append",
        default=[],
        metavar="ID[=WEIGHT]",
        help="an item that says what is wanted now, by a negative weight what is not; can be repeated",
    )
    options.add_source_domains(recommend)
    options.add_target_domains(recommend)
    options.add_filter(recommend)
    recommend.add_argument(
        "--mmr",
        type=float,
        metavar="LAMBDA",
        help="pass over items of categories that are there already: from 1, which takes the best, to 0",
    )
    recommend.add_argument(
        "--max-per-category", type=int, default=0, metavar="N", help="items of one category (default: any number)"
    )
    recommend.add_argument(
        "--interests", type=int, default=0, metavar="N", help="serve up to N interests of the history by their shares"
    )
    recommend.add_argument("--include-seen", action="store_true", help="allow items of the history in the answer")
    options.add_size(recommend)
    recommend.add_argument("--page-token", default="", metavar="TOKEN", help="the page after the one that told it")
    options.add_exclude(recommend)
    recommend.add_argument(
        "--min-consistency-token", default="", metavar="TOKEN", help="fail unless the write that told the token counts"
    )
    options.add_common(recommend, "Recommendations")
    recommend.set_defaults(run=_recommend)


def _recommend(client: Client, arguments: argparse.Namespace) -> Recommendations:
    return client.recommend(
        text=arguments.text,
        user_id=arguments.user,
        history=options.history(arguments.history),
        examples=[_example(entry) for entry in arguments.example],
        page_size=arguments.page_size,
        page_token=arguments.page_token,
        filter=arguments.filter,
        target_domains=arguments.target_domain,
        source_domains=arguments.source_domain,
        exclude_item_ids=arguments.exclude,
        include_seen=arguments.include_seen,
        profile=options.profile(arguments.profile),
        context=options.context(arguments.context),
        explain=arguments.explain or arguments.max_reasons is not None,
        max_reasons=arguments.max_reasons,
        diversity=_diversity(arguments),
        min_consistency_token=arguments.min_consistency_token,
    )


def _similar(client: Client, arguments: argparse.Namespace) -> SimilarItems:
    return client.similar_items(arguments.item_id, page_size=arguments.page_size, exclude_item_ids=arguments.exclude)


def _rank(client: Client, arguments: argparse.Namespace) -> Ranking:
    return client.rank(
        arguments.item_ids,
        user_id=arguments.user,
        text=arguments.text,
        history=options.history(arguments.history),
        profile=options.profile(arguments.profile),
        context=options.context(arguments.context),
        explain=arguments.explain or arguments.max_reasons is not None,
        max_reasons=arguments.max_reasons,
    )


def _trending(client: Client, arguments: argparse.Namespace) -> TrendingItems:
    return client.trending(
        page_size=arguments.page_size,
        half_life_h=arguments.half_life,
        filter=arguments.filter,
        target_domains=arguments.target_domain,
        exclude_item_ids=arguments.exclude,
    )


def _audience(client: Client, arguments: argparse.Namespace) -> Audience:
    return client.find_audience(
        arguments.item_id,
        page_size=arguments.page_size,
        include_seen=arguments.include_seen,
        filter=arguments.filter,
        explain=arguments.explain,
    )


def _example(entry: str) -> str | Example:
    """An item id, with a weight if a number follows its last equals sign."""
    item_id, _, weight = entry.rpartition("=")
    try:
        return Example(item_id, float(weight)) if item_id else entry
    except ValueError:
        return entry


def _diversity(arguments: argparse.Namespace) -> Diversity | None:
    diversity = Diversity(
        mmr_lambda=arguments.mmr, max_per_category=arguments.max_per_category, interests=arguments.interests
    )
    return None if diversity == Diversity() else diversity
