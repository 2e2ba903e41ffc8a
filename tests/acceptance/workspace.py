"""What differs between a store and the stand-in for Databricks that it was replayed to."""

from __future__ import annotations

from typing import Any

from localtrack.catalog.catalog import Catalog
from tests.acceptance.compare import UID, differences
from tests.acceptance.worlds import World
from tests.servers.databricks_rules import SYSTEM_TAGS
from tests.servers.databricks_server import DatabricksServer

#: Tags that Databricks gives every experiment.
_OWNERS = {"mlflow.ownerEmail", "mlflow.experimentType"}


def compared_there(
    world: World, server: DatabricksServer, folder: str = "", runs: list[str] | None = None
) -> list[str]:
    """One line for each difference, apart from what Databricks decides itself: the user and its system tags.

    Args:
        world: the store.
        server: the stand-in.
        folder: where experiments without an absolute name are; "": the home of the server's user.
        runs: local ids of the runs to compare; None: all, and no other run of ours may be there.
    """
    home = (folder or f"/Users/{server.workspace.user}") + "/"
    with Catalog(world.store) as catalog:
        there = {name.removeprefix(home): _like_mlflow(catalog, found) for name, found in server.dump().items()}
        return differences(catalog, there, runs)


def _like_mlflow(catalog: Catalog, experiment: dict[str, Any]) -> dict[str, Any]:
    tags = {key: value for key, value in experiment["tags"].items() if key not in _OWNERS}
    runs = []
    for run in experiment["runs"]:
        desired = catalog.desired_run(run["tags"].get(UID, ""))
        kept = {key: value for key, value in run["tags"].items() if key not in SYSTEM_TAGS}
        if desired is not None:
            kept.update({key: value for key, value in desired.tags.items() if key in SYSTEM_TAGS})
        runs.append({**run, "tags": kept, "user_id": desired.user_id if desired is not None else run["user_id"]})
    return {**experiment, "tags": tags, "runs": runs}
