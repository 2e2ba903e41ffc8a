"""Findings about this machine. Pure."""

from __future__ import annotations

from localtrack_sync.checkup.facts import MachineLook
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.local_kinds import MACHINE

_find = Finder(MACHINE)

SQLITE_LEAST = (3, 37)
PYTHON_TESTED = (3, 13)
#: Below this a process that reads many journals, and delivers files meanwhile, may run out.
OPEN_FILES_LEAST = 512
#: First and last version with the WAL-reset bug, and the older lines that it was repaired in (SQLite's page on WAL).
_WAL_BUG = (3, 7, 0), (3, 51, 2)
_WHY_SAFE = "localtrack cannot reach it (one writer per journal, locks around the rest); other tools that write might."
_REPAIRED = {(3, 44): 6, (3, 50): 7}


def machine_findings(look: MachineLook) -> list[Finding]:
    """What there is to say about this machine."""
    sqlite = dotted(look.sqlite)
    found = [_find("versions", f"localtrack {look.localtrack}, Python {dotted(look.python)}, SQLite {sqlite}")]
    if look.python[:2] > PYTHON_TESTED:
        found.append(_find("python-untested", f"It is {dotted(look.python)}, and {dotted(PYTHON_TESTED)} was tested."))
    if look.sqlite[:2] < SQLITE_LEAST:
        found.append(_find("sqlite-too-old", f"Python is linked with SQLite {sqlite}."))
    elif has_wal_bug(look.sqlite):
        found.append(_find("sqlite-wal-reset", f"It is {sqlite}. {_WHY_SAFE}"))
    if look.open_files is not None and look.open_files < OPEN_FILES_LEAST:
        found.append(_find("open-files-low", f"A process may open {look.open_files:,}."))
    else:
        limit = "no limit" if look.open_files is None else f"{look.open_files:,}"
        found.append(_find("open-files", f"files open at once: {limit}"))
    if not look.key.sound:
        detail = f"{look.key.path} is open to others, or is not yours."
        found.append(_find("identity-key-open", detail, path=look.key.path))
    elif look.key.exists:
        found.append(_find("identity-key", "identity key closed to others"))
    return found


def has_wal_bug(version: tuple[int, ...]) -> bool:
    """Whether a version of SQLite has the WAL-reset bug."""
    first, last = _WAL_BUG
    full = (*version, 0, 0, 0)[:3]
    repaired = _REPAIRED.get((full[0], full[1]))
    return first <= full <= last and (repaired is None or full[2] < repaired)


def dotted(version: tuple[int, ...]) -> str:
    """`3.11.7`."""
    return ".".join(map(str, version))
