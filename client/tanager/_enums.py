"""What the contract names: how a list came about, and why what is in it is there."""

from __future__ import annotations

from enum import StrEnum


class Strategy(StrEnum):
    """How a list came about."""

    #: Scored from the history, and from the wish too if one was sent.
    PERSONAL = "personal"
    #: Scored from the wish alone.
    WISH = "wish"
    #: Nothing was known about the user: the most popular items.
    COLD_START = "cold_start"
    #: Items like a given item.
    SIMILAR = "similar"
    #: Scored from the profile or the context: there was neither a history nor a wish.
    PROFILE = "profile"
    #: What users take up lately.
    TRENDING = "trending"
    #: Given items, ordered for the user.
    RANK = "rank"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class Shortfall(StrEnum):
    """Why fewer results came back than were asked for."""

    #: As many came back as were asked for.
    NONE = "none"
    #: The filter, or the seen and excluded items, left fewer.
    FILTER = "filter"
    #: The catalogue holds fewer.
    CATALOGUE = "catalogue"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class Source(StrEnum):
    """A way by which an item became a candidate."""

    #: Nearest to the wish in the space of the text encoder.
    WISH = "wish"
    #: Nearest in that space to the items of the history, or to the item asked about.
    TEXT = "text"
    #: Liked by the same users as the items of the history, or as the item asked about.
    COLLABORATIVE = "collaborative"
    #: One of the items that most users like.
    POPULAR = "popular"
    #: Often taken up soon after the items of the history.
    TRANSITION = "transition"
    #: Liked by users with the same attributes, or nearest to what the profile or the context says in words.
    PROFILE = "profile"
    #: What a model of the order in which users take up items says comes next.
    SEQUENCE = "sequence"
    #: Taken up by many users lately.
    TRENDING = "trending"
    #: Given by the caller.
    GIVEN = "given"
    #: Drawn at random among what came next, to learn what else users may like.
    EXPLORATION = "exploration"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class ReasonKind(StrEnum):
    """What a term of a score comes from."""

    #: An item of the history: who likes it likes this one.
    COLLABORATIVE = "collaborative"
    #: An item of the history: this one is often taken up soon after it.
    TRANSITION = "transition"
    #: An item of the history: its text is like this one's.
    TEXT = "text"
    #: The wish.
    WISH = "wish"
    #: An attribute of the profile that the bundle has learned of.
    PROFILE = "profile"
    #: What else the profile says in words.
    PROFILE_TEXT = "profile_text"
    #: The context.
    CONTEXT = "context"
    #: How much users like the item of whom as much is known.
    POPULARITY = "popularity"
    #: An item of the history: after it, this one is likelier to come next.
    SEQUENCE = "sequence"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"


class TrialMode(StrEnum):
    """How a bundle is tried."""

    #: A share of the users, always the same ones, is answered from it.
    SPLIT = "split"
    #: Nobody is: what it would have answered is compared with what was.
    SHADOW = "shadow"
    #: A value that this version of the client does not know.
    UNKNOWN = "unknown"
