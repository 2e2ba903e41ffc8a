"""Libraries that some artifacts need and localtrack does not bring."""

from __future__ import annotations

import importlib
from typing import Any


def library(module: str, package: str, purpose: str) -> Any:
    """A module of an optional library.

    Raises:
        ModuleNotFoundError: it is not installed; the message says what for it is needed and what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name != module.partition(".")[0]:
            raise  # it is there, and something that it needs is not
        raise ModuleNotFoundError(
            f"{purpose} needs {package}, which is not installed: pip install {package}", name=error.name
        ) from None
