"""Offline evaluation: the full catalogue ranked, seen items masked, ties counted against the recommender."""
