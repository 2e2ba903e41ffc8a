"""Offline-first experiment tracking."""
