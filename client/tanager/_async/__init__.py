"""The methods of `AsyncClient`, by service."""
