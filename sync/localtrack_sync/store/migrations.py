"""Steps from each format of the delivery state to the next, as they were: what a version wrote never changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping

_TO_2 = (
    "ALTER TABLE remote_facts RENAME TO earlier_facts",
    """CREATE TABLE remote_facts (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  version TEXT NOT NULL,
  store_type TEXT NOT NULL,
  dedupes INTEGER NOT NULL,
  nan_safe INTEGER NOT NULL,
  born_wall_s REAL NOT NULL,
  models INTEGER NOT NULL,
  PRIMARY KEY (scope, scope_id)
) WITHOUT ROWID""",
    "INSERT INTO remote_facts SELECT *, 0 FROM earlier_facts",  # asked again before anything is sent
    "DROP TABLE earlier_facts",
    """CREATE TABLE linked (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, kind, key)
) WITHOUT ROWID""",
    """CREATE TABLE file_delivered (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  sent_sha256 TEXT NOT NULL,
  sent_size INTEGER NOT NULL,
  unsettled TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, path)
) WITHOUT ROWID""",
    """CREATE TABLE partial_upload (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  upload_id TEXT NOT NULL,
  part_bytes INTEGER NOT NULL,
  addresses TEXT NOT NULL,
  etags TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, path)
) WITHOUT ROWID""",
    "DELETE FROM settled",  # their inputs, outputs, models and files were not looked at
)


def _logged_models(db: sqlite3.Connection) -> None:
    for statement in _TO_2:
        db.execute(statement)


#: Version -> what makes a file of that version one of the next; runs in the transaction that also raises the version.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _logged_models}
