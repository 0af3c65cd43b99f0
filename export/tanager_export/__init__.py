"""Dataset and language model in, bundle out. Torch lives here only."""
