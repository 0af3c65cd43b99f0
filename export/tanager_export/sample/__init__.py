"""The sample dataset: real works, described in our own words, and behaviour that is simulated and says so."""

from tanager_export.sample.works import DOMAINS, Work, load_works
from tanager_export.sample.writer import write_sample

__all__ = ["DOMAINS", "Work", "load_works", "write_sample"]
