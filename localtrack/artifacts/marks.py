"""A mark on files that localtrack stored: the last six digits of a file's mtime in nanoseconds are of its own SHA-256.

A scan needs to know whether a file is still what was registered, without reading it. Its ctime alone cannot say: the
kernel's clock for files ticks every 1 to 10 ms, so a change right after the registration may carry a time before it.
Such a change sets the mtime as well, and then the digits do not fit. Where a file system keeps no nanoseconds, they
never fit, and the file is read.
"""

from __future__ import annotations

import os
from contextlib import suppress

_MILLISECOND = 1_000_000


def mark(descriptor: int, sha256: str) -> None:
    """Give an open file of ours the mtime that fits its content; what refuses that costs a hash later, no more."""
    with suppress(OSError):
        time_ns = os.fstat(descriptor).st_mtime_ns
        time_ns += _digits(sha256) - time_ns % _MILLISECOND
        os.utime(descriptor, ns=(time_ns, time_ns))


def fits(mtime_ns: int, sha256: str) -> bool:
    """Whether a file of that mtime was marked for that content, and not written to since."""
    return mtime_ns % _MILLISECOND == _digits(sha256)


def _digits(sha256: str) -> int:
    return int(sha256[:12], 16) % _MILLISECOND
