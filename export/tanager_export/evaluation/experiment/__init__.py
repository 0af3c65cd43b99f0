"""One run of everything: splits, baselines tuned, Tanager learned, all asked the same."""
