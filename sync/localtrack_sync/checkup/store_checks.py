"""Findings about a store. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from localtrack.catalog.entries import JournalEntry
from localtrack.cli import wording
from localtrack_sync.checkup.facts import FileLook, StoreLook
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.local_kinds import STORE

_find = Finder(STORE)

LOW_BYTES = 1_000_000_000
LOW_PART = 0.05
#: Names that a finding lists, of files of the same kind.
LISTED = 3
_OTHERS_WRITE, _OTHERS = 0o022, 0o077
_DAY_MS = wording.DAY * 1000


def store_findings(look: StoreLook, now_ms: int) -> list[Finding]:
    """What there is to say about a store.

    Args:
        look: what was seen.
        now_ms: milliseconds since the epoch.
    """
    if not look.exists:
        return [_find("store-missing", look.path), *_disk(look)]
    found = [_find("store", look.path)]
    if look.unwritable:
        found.append(_find("store-not-writable", f"No writing in {_list(look.unwritable)}.", path=look.path))
    found += [*_permissions(look), *_disk(look), *_file_system(look), *_catalog(look), *_states(look)]
    if not look.trouble:
        found += [*_journals(look), *_owing(look, now_ms)]
    if look.leftovers:
        found.append(_find("leftovers", f"{_list(look.leftovers)}."))
    return found


def _permissions(look: StoreLook) -> list[Finding]:
    closed = all(not one.mode & _OTHERS for one in look.seen if not one.path)
    writable = [one.path or "." for one in look.seen if one.mode & _OTHERS_WRITE]
    readable = [one.path or "." for one in look.seen if one.mode & _OTHERS]
    foreign = [one.path or "." for one in look.seen if not one.mine]
    found = []
    if readable and closed:
        found.append(_find("store-loose-files", f"{_list(readable)}.", path=look.path))
    elif writable:
        found.append(_find("store-writable-by-others", f"{_list(writable)}.", path=look.path))
    elif readable:
        found.append(_find("store-readable-by-others", f"{_list(readable)}.", path=look.path))
    if foreign:
        found.append(_find("store-foreign-owner", f"{_list(foreign)}.", path=look.path))
    return found or [_find("store-permissions", "readable by you only")]


def _disk(look: StoreLook) -> list[Finding]:
    disk = look.disk
    if disk is None or not disk.total:
        return []
    found = []
    free = f"{wording.size(disk.free)} of {wording.size(disk.total)} free"
    if disk.free < LOW_BYTES or disk.free < disk.total * LOW_PART:
        found.append(_find("disk-space-low", f"{free} ({disk.free / disk.total:.1%}).", path=look.path))
    else:
        found.append(_find("disk-space", free))
    if disk.inodes and disk.free_inodes < disk.inodes * LOW_PART:
        detail = f"{disk.free_inodes:,} of {disk.inodes:,} inodes are free."
        found.append(_find("disk-inodes-low", detail, path=look.path))
    return found


def _file_system(look: StoreLook) -> list[Finding]:
    kind = look.file_system
    if look.network:
        return [_find("network-file-system", f"It is {kind}.")]
    return (
        [_find("local-file-system", f"{kind} (local: events, journals are read while they are written)")]
        if kind
        else []
    )


def _catalog(look: StoreLook) -> list[Finding]:
    file = look.catalog
    if file is not None and file.version > file.known:
        return [_find("catalog-newer", _formats(file), path=file.path)]
    if file is not None and file.trouble:
        return [_find("catalog-unusable", f"{file.path}: {file.trouble}", path=file.path)]
    if look.trouble:
        return [_find("catalog-unusable", look.trouble, path=file.path if file is not None else "catalog.db")]
    if file is not None and file.version < file.known:
        return [_find("catalog-older", _formats(file))]
    return [_find("catalog", f"catalog of format {file.version}")] if file is not None else []


def _states(look: StoreLook) -> list[Finding]:
    found = []
    for file in look.states:
        if file.version > file.known:
            found.append(_find("delivery-state-newer", _formats(file)))
        elif file.trouble:
            found.append(_find("delivery-state-unusable", f"{file.path}: {file.trouble}", path=file.path))
        elif file.version < file.known:
            found.append(_find("delivery-state-older", _formats(file)))
    if look.states and not found:
        found.append(_find("delivery-states", wording.count(len(look.states), "delivery state")))
    return found


def _formats(file: FileLook) -> str:
    return f"{file.path} has format {file.version}; this version of localtrack writes {file.known}."


def _journals(look: StoreLook) -> list[Finding]:
    damaged = [one for one in look.journals if one.damage]
    newer = [one for one in look.journals if one.unknown_ops or is_newer(one)]
    unreadable = [one for one in look.journals if one.error and not is_newer(one) and not is_held(one)]
    lost: Counter[str] = Counter()
    for one in look.journals:
        lost.update(one.losses)
    found = []
    if newer:
        found.append(_find("journal-newer", f"{_list(_names(newer))}."))
    if sum(lost.values()):
        told = ", ".join(wording.count(number, kind) for kind, number in sorted(lost.items()) if number)
        found.append(_find("journal-losses", f"{told}, in {_list(_names(o for o in look.journals if o.losses))}."))
    if unreadable:
        detail = "; ".join(f"{one.file}: {one.error}" for one in unreadable[:LISTED]) + _more(unreadable)
        found.append(_find("journal-unreadable", detail, path=f"{look.path}/journals"))
    if damaged:
        told = "; ".join(f"{one.file}: {one.damage[0].reason}" for one in damaged[:LISTED]) + _more(damaged)
        found.append(_find("journal-damaged", told))
    return found or [_find("journals", f"{wording.count(len(look.journals), 'journal')} in good order")]


def is_newer(journal: JournalEntry) -> bool:
    """Whether a newer localtrack wrote this journal, so that it is not read at all."""
    return "this version of localtrack reads up to" in journal.error


def is_held(journal: JournalEntry) -> bool:
    """Whether its process holds it exclusively, as on network file systems: nothing is wrong with it."""
    return "is held by the process that writes it" in journal.error


def _owing(look: StoreLook, now_ms: int) -> list[Finding]:
    if look.owing_trouble:
        explained = any(state.trouble or state.version > state.known for state in look.states)
        return [] if explained else [_find("owed-unknown", look.owing_trouble)]
    owed = sum(one.owed for one in look.owing)
    oldest = min((one.oldest_ms for one in look.owing if one.owed and one.oldest_ms is not None), default=None)
    stuck = sum(one.stuck for one in look.owing)
    found = []
    if not owed:
        found.append(_find("nothing-owed", "nothing is owed"))
    else:
        age = 0 if oldest is None else now_ms - oldest
        kind = "owed-for-a-week" if age > 7 * _DAY_MS else "owed-for-a-day" if age > _DAY_MS else "owed"
        to = ", ".join(f"{one.owed:,} to {one.remote or 'no remote yet'}" for one in look.owing if one.owed)
        ending = "" if kind == "owed" else "."
        found.append(
            _find(kind, f"{wording.count(owed, 'record')} owed ({to}), oldest {wording.ago(oldest, now_ms)}{ending}")
        )
    if stuck:
        found.append(_find("records-stuck", f"{wording.count(stuck, 'record')}: conflicts, rejected or parked."))
    return found


def _names(journals: Iterable[JournalEntry]) -> list[str]:
    return [one.file or f"(file is gone) {one.incarnation}" for one in journals]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + _more(names)


def _more(names: Sequence[object]) -> str:
    return f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
