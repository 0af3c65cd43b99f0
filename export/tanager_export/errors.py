"""The root of what `tanager_export` raises, and what is told of other libraries' errors."""


class ExportError(Exception):
    """Something the export program refuses to do; the message says what and why."""


def first_line(error: Exception) -> str:
    """What an error of another library says, in a line."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
