"""`tanager load`: sends requests to a server, in a closed or an open loop, and measures what comes back.

It shares cores with the server it measures more often than not, so what it does for a call is kept small: requests are
serialised before the run, calls are frames over HTTP/2 connections of its own, and figures are made after it.
"""

from tanager.load.command import main

__all__ = ["main"]
