"""The command line: `localtrack COMMAND`. One file per command; nothing here is imported by training code."""

from localtrack.cli.entry import main

__all__ = ["main"]
