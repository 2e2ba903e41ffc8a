"""Words to the person who runs the training: visible, never an exception.

The logger "localtrack" is used, not the warnings module: under `python -W error` a warning would end the training.
"""

from __future__ import annotations

_said: set[str] = set()


def warn(message: str) -> None:
    """Show `message` on stderr, or wherever the program sends the logger "localtrack"."""
    import logging  # 5 ms that only somebody with something to hear pays

    logging.getLogger("localtrack").warning("%s", message)


def warn_once(topic: str, message: str) -> None:
    """Show `message` unless something was said about `topic` in this process."""
    if topic not in _said:
        _said.add(topic)
        warn(message)
