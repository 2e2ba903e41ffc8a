"""Drives the engine: performs what it asks for, with a real clock, files and connections."""
