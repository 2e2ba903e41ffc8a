"""The journal: append-only SQLite file of one writing process (docs/journal-format.md)."""
