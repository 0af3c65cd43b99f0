"""What `dataset check` looks at, a kind a module."""
