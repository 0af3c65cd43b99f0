"""Kills a server with SIGKILL over and over while it is written to, and looks for what is lost. See `__main__`."""
