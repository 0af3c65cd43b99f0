"""The version of the distribution: client, server and export are released together."""

__version__ = "0.1.0"
