-- One journal: append-only, written by one process (docs/journal-format.md).
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE record (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE name (ref INTEGER PRIMARY KEY, text BLOB NOT NULL, crc INTEGER NOT NULL);
