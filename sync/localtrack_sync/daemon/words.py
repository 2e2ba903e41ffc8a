"""What an error says of itself. Pure."""

from __future__ import annotations

from localtrack.errors import LocaltrackError


def words_of(error: Exception) -> str:
    """One line or more, never nothing: "" would be taken for "all is well"."""
    told = error.message if isinstance(error, LocaltrackError) else str(error)
    return told.strip() or type(error).__name__
