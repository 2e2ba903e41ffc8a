"""How much memory this process holds."""

from __future__ import annotations

import os
import resource
import sys


def resident_bytes() -> int:
    """Resident memory now; where the system does not tell (no /proc), the most that there ever was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
