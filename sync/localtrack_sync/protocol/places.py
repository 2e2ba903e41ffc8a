"""Where an experiment lies in a Databricks workspace: its name there is an absolute path. Pure.

An absolute name is kept (`/Workspace` in front of it is left out: Databricks does not find experiments under that
spelling). Any other name is put below the folder of the settings. An experiment that is there already stays in its
folder, whoever replays later and whatever the settings say by then: only its own name follows the local one.
"""

from __future__ import annotations

from dataclasses import replace

from localtrack.catalog.desired import DesiredExperiment

FOLDER_SETTING = "LOCALTRACK_DATABRICKS_FOLDER"
_ALIAS = "/Workspace/"


def place(name: str, folder: str) -> str:
    """The path of an experiment that is called `name` here."""
    if name.startswith(_ALIAS):
        return name[len(_ALIAS) - 1 :]
    return name if name.startswith("/") else f"{folder.rstrip('/')}/{name}"


def placed(desired: DesiredExperiment, folder: str, there: str | None) -> DesiredExperiment:
    """The experiment with the names that it has, or should have, in the workspace.

    Args:
        desired: as the store has it.
        folder: of the settings.
        there: its name in the workspace when that is known.
    """
    for name in sorted({desired.name, *desired.names_ever}, key=len, reverse=True):
        if there is not None and not name.startswith("/") and there.endswith(f"/{name}"):
            folder = there[: -len(name) - 1]
            break
    names = tuple(place(name, folder) for name in desired.names_ever)
    return replace(desired, name=place(desired.name, folder), names_ever=names)
