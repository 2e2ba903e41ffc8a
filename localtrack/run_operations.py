"""What log calls with synchronous=False return."""

from __future__ import annotations


class RunOperations:
    """Handle of finished operations: everything was in the journal before the call returned."""

    def wait(self) -> None:
        """Return at once."""


def finished(synchronous: bool | None, *, async_by_default: bool) -> RunOperations | None:
    """What a log call returns: None, or a handle when the caller asked for asynchronous logging."""
    wants_handle = async_by_default if synchronous is None else not synchronous
    return RunOperations() if wants_handle else None
