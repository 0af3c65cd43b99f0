"""The methods of `Client`, by service."""
