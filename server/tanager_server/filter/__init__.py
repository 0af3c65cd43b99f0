"""Filters over the attributes of items: the language, what is known of the items, and masks."""

from tanager_server.filter.columns import Columns
from tanager_server.filter.parser import parse
from tanager_server.filter.planner import Predicate, Predicates
from tanager_server.filter.syntax import FilterError

__all__ = ["Columns", "FilterError", "Predicate", "Predicates", "parse"]
