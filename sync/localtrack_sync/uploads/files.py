"""Files of a run or logged model to the remote's artifact root. Pure.

A file is overwritten whole, and the same content twice is harmless, so nothing has to be known before the same bytes go
out again. Only other bytes must wait: an upload of older content that nobody answered may still be executed, and would
undo the newer one. So what is about to be sent is written down first, as for tags (`cells`).

What was sent is looked at afterwards, directory by directory, in the remote's own list: a size that differs is sent
again, and parked when it stays so. At last a manifest with the hashes of all files goes beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from localtrack.catalog.desired import StoredFile
from localtrack_sync.protocol.effects import ReadContent, Upload
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import FileDelivered, Parked, Record, Rejected
from localtrack_sync.protocol.steps import Desk, Ended, Part, Turn, Wait
from localtrack_sync.protocol.verdict import Judged, Verdict
from localtrack_sync.uploads.artifact_root import Way, refused
from localtrack_sync.uploads.file_place import Place, file_open, manifest_owed, owed_files
from localtrack_sync.uploads.manifest import MANIFEST, listed, manifest_of
from localtrack_sync.uploads.mlmodel import is_model_file, rewritten
from localtrack_sync.uploads.outlets import Item, Outlet, outlet

#: Tries of one file in a pass before it is parked.
TRIES = 3
#: Files of a directory that were parked in a row, after which the others of it wait for the next pass: where a file
#: stands in the place of the directory, none of them can arrive.
GIVEN_UP_AFTER = 3
#: Files parked in a pass in which none arrived, after which the way there counts as closed.
CLOSED_AFTER = 6
#: Bytes that are sent before they are looked at together.
BATCH_BYTES = 64 << 20
#: Answers that mean the same for every file of the owner.
_CLOSED = frozenset({Verdict.FORBIDDEN, Verdict.MISROUTED, Verdict.GONE, Verdict.INACTIVE, Verdict.UNAUTHORIZED})
_DISABLED = "no-serve-artifacts"


def deliver_files(desk: Desk, ledger: Ledger, files: Sequence[StoredFile], place: Place) -> Part[None]:
    """Bring every file to an end: delivered, rejected or parked; then the manifest.

    Raises:
        Ended: the replay is stopping, or nothing is answered.
    """
    delivery = _Delivery(desk, ledger, place)
    yield from delivery.clear(files)
    owed = owed_files(ledger, files, place.put_off, place.most_tries)
    if owed or (manifest_owed(ledger, place.owner) and ("file", MANIFEST) not in place.put_off):
        yield from delivery.run(owed)


class _Closed(Exception):  # noqa: N818 - not an error: it is answered by parking
    """No file of this owner can be delivered now."""


class _Delivery:
    """The files of one owner in one pass."""

    def __init__(self, desk: Desk, ledger: Ledger, place: Place) -> None:
        self.desk = desk
        self.ledger = ledger
        self.place = place
        self.arrived = self.failed = self.failed_in_a_row = 0
        self.words: dict[str, str] = {}
        self.untried: set[str] = set()

    # --- the course of it ---

    def clear(self, files: Sequence[StoredFile]) -> Part[None]:
        """Names that must not be used are refused; what is settled is not parked any more."""
        ledger, new = self.ledger, list[Record]()
        for file in files:
            words = f"{MANIFEST} is localtrack's own" if file.path == MANIFEST else refused(file.path)
            if words and file_open(ledger, file):
                new.append(self._rejected(file, words))
        yield from ledger.save(*new)
        named = {file.path: file for file in files}
        drops = [
            record
            for (kind, path), record in ledger.parked.items()
            if kind == "file" and path not in ("", MANIFEST) and not (path in named and file_open(ledger, named[path]))
        ]
        if ("file", "") in ledger.parked and not owed_files(ledger, files, set()):
            drops.append(ledger.parked["file", ""])
        yield from ledger.save(drops=drops)

    def run(self, owed: Sequence[StoredFile]) -> Part[None]:
        """Deliver what is owed."""
        way = outlet(self.desk, self.ledger, self.place.root, self.place.remote_id)
        try:
            if not isinstance(way, Outlet):
                raise _Closed(way)  # noqa: TRY301 - the one place where a closed way is answered
            listing = yield from self._manifest_there(way)
            left = (yield from self._adopt(way, owed, listing)) if listing else owed
            yield from self._withdraw(way, left, listing)
            for (_, directory), group in groupby(sorted(left, key=self._order), key=lambda file: self._order(file)[:2]):
                yield from self._directory(way, directory, list(group))
            yield from self._send_manifest(way)
        except _Closed as closed:
            yield from self._park("", str(closed))
            return
        whole = self.ledger.parked.get(("file", ""))
        yield from self.ledger.save(drops=(whole,) if whole is not None else ())

    def _order(self, file: StoredFile) -> tuple[bool, str, str]:
        """Directory by directory; what was parked before comes last, so that it holds nothing up."""
        return (("file", file.path) in self.ledger.parked, *_split(file.path))

    def _directory(self, way: Outlet, directory: str, files: Sequence[StoredFile]) -> Part[None]:
        self.failed_in_a_row = 0
        for batch in self._batches(way, files):
            if self.failed_in_a_row >= GIVEN_UP_AFTER:
                self.place.put_off.update(("file", file.path) for file in batch)
                continue
            yield from self._batch(way, directory, (yield from self._items(batch)))
            yield Turn()

    def _batches(self, way: Outlet, files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
        batch, size = list[StoredFile](), 0
        for file in files:
            # Whether a directory is the remote's is known when its list shows the first file.
            most = 1 if way.root.way is Way.FILE and not self.arrived else self.desk.settings.artifact_batch
            if batch and (len(batch) >= most or size + file.size > BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += file.size
        if batch:
            yield batch

    # --- what is sent ---

    def _items(self, files: Sequence[StoredFile]) -> Part[list[Item]]:
        items = []
        for file in files:
            item = yield from self._item(file)
            if item is not None:
                items.append(item)
        return items

    def _item(self, file: StoredFile) -> Part[Item | None]:
        """A file as it is sent; None when it is not here as it was registered (then it is parked)."""
        upload = Upload(self.place.directory, file.path, file.size, file.sha256)
        plain = Item(file.path, file.sha256, file.size, file.sha256, file.size, upload)
        if not self.place.ids or not is_model_file(file.path, file.size):
            return plain
        content: bytes | None = yield ReadContent(upload)
        if content is None:
            words = "the file is missing, or not what it was when it was registered"
            yield from self._park(file.path, words, counts=False)
            return None
        new = rewritten(content, self.place.ids)
        if new == content:
            return plain
        digest = hashlib.sha256(new).hexdigest()
        return Item(file.path, file.sha256, file.size, digest, len(new), body=new)

    def _batch(self, way: Outlet, directory: str, items: Sequence[Item]) -> Part[None]:
        """Send some files of one directory and look at them; what is not there is sent again, at last parked."""
        left = list(items)
        # One that was parked before gets a single try.
        for attempt in range(1 if items and ("file", items[0].path) in self.ledger.parked else TRIES):
            if not left:
                return
            if attempt:
                yield Wait(self.desk.now + 2.0**attempt * self.desk.rng(), "a file did not arrive; it is sent again")
            left = yield from self._round(way, directory, left)
        self.place.put_off.update(("file", item.path) for item in left if item.path in self.untried)
        if left and way.root.way is Way.FILE and not self.arrived:
            raise _Closed(f"{way.root.base} is a directory here, but what is written there is not in the remote's list")
        for item in left:
            if item.path not in self.untried:
                yield from self._park(item.path, self.words.get(item.path, "it does not arrive"))

    def _round(self, way: Outlet, directory: str, items: Sequence[Item]) -> Part[list[Item]]:
        """Every file once; those that have to be sent again."""
        before = {item.path: self._record(item.path) for item in items}
        until = max((self._may_send_at(item) for item in items), default=0.0)
        if self.desk.now < until:
            yield Wait(until, "an upload of other content may still be executed")
        pending = [self._pending(item) for item in items]
        yield from self.ledger.save(*pending)
        sent, again, in_a_row = list[Item](), list[Item](), 0
        self.untried = set()
        for index, item in enumerate(items):
            if in_a_row >= GIVEN_UP_AFTER:
                yield from self._take_back([before[one.path] for one in items[index:]])
                self.untried = {one.path for one in items[index:]}
                break
            try:
                judged = yield from way.put(item)
            except Ended:
                yield from self._take_back([before[one.path] for one in items[index:]])
                raise
            in_a_row += 1
            if judged.verdict is Verdict.OK:
                in_a_row = 0
                sent.append(item)
            elif (yield from self._not_sent(item, before[item.path], judged, items[index + 1 :], before)):
                again.append(item)
            else:
                in_a_row = 0  # the trouble is this file's own
        if not sent and not again:
            return []
        left = yield from self._verify(way, directory, sent, again, before)
        return [*left, *(item for item in items if item.path in self.untried)]

    def _not_sent(
        self, item: Item, old: FileDelivered, judged: Judged, rest: Sequence[Item], before: Mapping[str, FileDelivered]
    ) -> Part[bool]:
        """A file was not, or perhaps not, taken: whether to try again."""
        self.words[item.path] = judged.words
        match judged.verdict:
            case Verdict.UNKNOWN | Verdict.MAYBE | Verdict.NOT_APPLIED | Verdict.THROTTLED if (
                _DISABLED not in judged.words
            ):
                if judged.verdict in (Verdict.UNKNOWN, Verdict.MAYBE):
                    self.ledger.unknown_files[item.path] = self.desk.now
                else:
                    yield from self._take_back([old])
                return True
            case Verdict.REFUSED:
                record = StoredFile(item.path, item.local_size, item.local_sha256)
                yield from self._take_back([old])
                yield from self.ledger.save(self._rejected(record, judged.words))
            case verdict if verdict in _CLOSED or _DISABLED in judged.words:
                yield from self._take_back([old, *(before[one.path] for one in rest)])
                raise _Closed(judged.words)
            case _:
                yield from self._take_back([old])
                yield from self._park(item.path, judged.words, counts=False)
        return False

    # --- what is there ---

    def _verify(
        self,
        way: Outlet,
        directory: str,
        sent: Sequence[Item],
        unknown: Sequence[Item],
        before: Mapping[str, FileDelivered],
    ) -> Part[list[Item]]:
        """Look at what was sent; those that are not there."""
        there = yield from way.sizes(directory)
        if isinstance(there, str):
            self.words |= dict.fromkeys((item.path for item in sent), there)
            return [*sent, *unknown]
        again, puts, drops = list[Item](), list[Record](), list[Record]()
        for item in (*sent, *unknown):
            old, shown = before[item.path], there.get(_split(item.path)[1])
            if shown == item.size and (item in sent or self._proves(item, old)):
                puts.append(self._delivered(item, old, answered=item in sent))
                drops += [r for r in (self.ledger.parked.get(("file", item.path)),) if r is not None]
                drops += [r for r in (self.ledger.rejected.get(("file", item.path)),) if r is not None]
            else:
                again.append(item)
                if item in sent:
                    held = "it is not there" if shown is None else f"{shown} bytes are there"
                    self.words[item.path] = f"{item.size} bytes were sent and taken, but {held}"
        yield from self.ledger.save(*puts, drops=drops)
        self.desk.progress.files += sum(isinstance(r, FileDelivered) and r.path != MANIFEST for r in puts)
        self.arrived += len(puts)
        self.failed_in_a_row = 0 if puts else self.failed_in_a_row
        return again

    def _proves(self, item: Item, old: FileDelivered) -> bool:
        """Whether the right size alone proves the right content: nothing else of that size can be there."""
        known = self.place.fresh or bool(old.sent_sha256)
        return known and old.sent_size != item.size and set(self._still(old)) <= {item.sha256}

    def _manifest_there(self, way: Outlet) -> Part[dict[str, tuple[int, str]]]:
        """What an earlier delivery state left in a run that is adopted, until this one has written the manifest."""
        mine = self.ledger.files.get(MANIFEST)
        if self.place.fresh or (mine is not None and mine.sha256):
            return {}
        there = yield from way.sizes("")
        if isinstance(there, str) or MANIFEST not in there:
            return {}
        return listed((yield from way.fetch(MANIFEST)), self.place.owner)

    def _adopt(
        self, way: Outlet, owed: Sequence[StoredFile], listing: Mapping[str, tuple[int, str]]
    ) -> Part[list[StoredFile]]:
        """Take for delivered what the manifest and the remote's list agree on; the others."""
        left, named = list[StoredFile](), list[StoredFile]()
        for file in sorted(owed, key=lambda one: _split(one.path)):
            # What this very state has begun to send may be there instead of what the manifest says.
            (named if file.path in listing and file.path not in self.ledger.files else left).append(file)
        for directory, group in groupby(named, key=lambda one: _split(one.path)[0]):
            there = yield from way.sizes(directory)
            puts = list[Record]()
            for file in group:
                item = yield from self._item(file)
                shown = -1 if isinstance(there, str) else there.get(_split(file.path)[1])
                if item is None:
                    continue
                if listing[file.path] == (item.size, item.sha256) and shown == item.size:
                    puts.append(self._delivered(item, self._record(file.path), answered=True))
                else:
                    left.append(file)
            yield from self.ledger.save(*puts)
        return left

    def _withdraw(self, way: Outlet, owed: Sequence[StoredFile], listing: Mapping[str, tuple[int, str]]) -> Part[None]:
        """Before a file is overwritten, the manifest stops naming it.

        Else a later delivery state could find the new content, of the same size, under a hash of the old one: when this
        process dies before the next manifest, and its state is lost, and the old content is wanted again.
        """
        records = [self._record(file.path) for file in owed]
        changed = [replace(record, sha256="", size=-1) for record in records if record.sha256]
        yield from self.ledger.save(*changed)
        if changed or (listing and owed):
            yield from self._write_manifest(way)
            if ("file", MANIFEST) in self.place.put_off:
                raise _Closed(self.words.get(MANIFEST, "the manifest does not arrive"))

    def _send_manifest(self, way: Outlet) -> Part[None]:
        if manifest_owed(self.ledger, self.place.owner):
            yield from self._write_manifest(way)

    def _write_manifest(self, way: Outlet) -> Part[None]:
        content = manifest_of(self.place.owner, self.ledger.files.values())
        digest = hashlib.sha256(content).hexdigest()
        yield from self._batch(way, "", [Item(MANIFEST, digest, len(content), digest, len(content), body=content)])

    # --- records ---

    def _record(self, path: str) -> FileDelivered:
        return self.ledger.files.get(path) or FileDelivered(self.ledger.scope, self.ledger.scope_id, path)

    def _still(self, record: FileDelivered) -> tuple[str, ...]:
        """Contents whose unanswered upload may still be executed at this moment."""
        since = self.ledger.unknown_files.get(record.path, self.desk.started)
        return record.unsettled if self.desk.now < since + self.desk.settle_s else ()

    def _may_send_at(self, item: Item) -> float:
        record = self._record(item.path)
        if set(self._still(record)) - {item.sha256}:
            return self.ledger.unknown_files.get(item.path, self.desk.started) + self.desk.settle_s
        if not self.place.fresh and item.path not in self.ledger.files:
            # A lost delivery state may have sent other content: this one is younger than that upload.
            return self.desk.now + self.desk.born_wall_s + self.desk.settle_s - self.desk.wall_s
        return 0.0

    def _pending(self, item: Item) -> FileDelivered:
        record = self._record(item.path)
        return replace(record, unsettled=tuple(sorted({*self._still(record), item.sha256})))

    def _delivered(self, item: Item, old: FileDelivered, *, answered: bool) -> FileDelivered:
        still = self._still(old) if answered else self._still(self._record(item.path))
        return replace(
            old, sha256=item.local_sha256, size=item.local_size, sent_sha256=item.sha256, sent_size=item.size,
            unsettled=still,
        )  # fmt: skip

    def _take_back(self, records: Sequence[FileDelivered]) -> Part[None]:
        """These uploads were certainly not executed: what is known is what was known before."""
        empty = [record for record in records if not record.sent_sha256 and not record.unsettled]
        yield from self.ledger.save(*(record for record in records if record not in empty), drops=empty)

    def _rejected(self, file: StoredFile, words: str) -> Rejected:
        ledger = self.ledger
        return Rejected(ledger.scope, ledger.scope_id, "file", file.path, file.sha256, words, self.desk.wall_s)

    def _park(self, path: str, words: str, *, counts: bool = True) -> Part[None]:
        """Nobody refused it, but it cannot be delivered now."""
        self.place.put_off.add(("file", path))
        old = self.ledger.parked.get(("file", path))
        since, tries = (old.since_wall_s, old.tries + 1) if old is not None else (self.desk.wall_s, 1)
        yield from self.ledger.save(
            Parked(self.ledger.scope, self.ledger.scope_id, "file", path, "", words, since, tries)
        )
        if path and counts:
            self.failed += 1
            self.failed_in_a_row += 1
            if not self.arrived and self.failed >= CLOSED_AFTER:
                raise _Closed(words)


def _split(path: str) -> tuple[str, str]:
    """Directory and name."""
    directory, _, name = path.rpartition("/")
    return directory, name
