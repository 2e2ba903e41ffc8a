"""`localtrack sync`, `verify`, `status` and `conflicts`, and what they print."""
