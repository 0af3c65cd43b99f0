"""The root of what `tanager_export` raises."""


class ExportError(Exception):
    """Something the export program refuses to do; the message says what and why."""
