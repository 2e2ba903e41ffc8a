"""Measurements. Each room's module has `rows()`; `python -m bench` sets every number beside its yardstick."""
