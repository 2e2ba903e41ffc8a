"""Multiplexes jobs over one remote, and decides when a request may go out. Pure."""
