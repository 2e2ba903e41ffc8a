"""What an error says of itself."""

from __future__ import annotations

import traceback

from localtrack.errors import LocaltrackError


def words_of(error: Exception) -> str:
    """One line or more, never nothing: "" would be taken for "all is well"."""
    told = error.message if isinstance(error, LocaltrackError) else str(error)
    return told.strip() or type(error).__name__


def mistake_of(error: Exception) -> str:
    """The same of an invariant that broke, with the place: for whoever mends localtrack. Within its `except`."""
    return f"a mistake in localtrack: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
