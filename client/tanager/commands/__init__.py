"""The commands of `tanager`, by noun: each module adds its own to the parser and answers them."""
