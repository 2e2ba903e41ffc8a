"""Logs every kind of file, under `import mlflow` or under `import localtrack`, and prints what lies there."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: What every image of a series has of its own: time and uuid.
OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def log(mlflow: Any, here: Path) -> None:
    """Log to the active run."""
    # Not by name: the types of these libraries are not there where the tests are checked.
    np, pd, picture, mpl = map(importlib.import_module, ("numpy", "pandas", "PIL.Image", "matplotlib"))
    mpl.use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    source = here / "src"
    mlflow.log_artifact(str(source / "x.txt"))
    mlflow.log_artifact(str(source / "x.txt"), "deep/er")
    mlflow.log_artifact(str(source), "whole")
    mlflow.log_artifacts(str(source))
    mlflow.log_artifacts(str(here / "nowhere"))
    mlflow.log_text("h\u00e9llo\n", "texts/./a.txt")
    mlflow.log_dict({"b": [1, None], "a": {"x": 1.5}}, "d.json")
    mlflow.log_dict({"b": [1, None], "a": {"x": 1.5}}, "d.yaml")
    mlflow.log_dict({"a": 1}, "no-ending")
    mlflow.log_stream(io.BytesIO(b"stream" * 5000), "s/stream.bin")
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    mlflow.log_figure(figure, "figures/f.png", save_kwargs={"metadata": {"Software": None}})
    array = np.arange(300 * 200 * 3, dtype=np.uint8).reshape(300, 200, 3)
    mlflow.log_image(array, "images/static.png")
    mlflow.log_image(array, key="a/b c", step=3, timestamp=17, synchronous=True)
    mlflow.log_image(np.linspace(0.0, 1.0, 100).reshape(10, 10, 1), key="grey", synchronous=True, timestamp=5)
    mlflow.log_image(picture.new("RGB", (500, 10), "red"), "red.jpeg")
    mlflow.log_table({"n": [1, 2], "s": ["x/y", "\u00e9"], "f": [1 / 3, None]}, "t/table.json")
    mlflow.log_table({"n": 3, "s": "one row", "g": True}, "t/table.json")
    mlflow.log_table(pd.DataFrame({"d": pd.to_datetime(["2020-01-01"]), "n": [1]}), "frame.json")
    mlflow.log_table(pd.DataFrame({"n": [1, 2]}), "frame.parquet")
    mlflow.log_table({"i": [picture.new("L", (4, 4))], "n": [1]}, "pictures.json")


def outcomes(mlflow: Any, here: Path) -> dict[str, str]:
    """What is refused, by the class of what is raised (MLflow's own class counts as ValueError)."""
    calls = {
        "missing": lambda: mlflow.log_artifact(str(here / "missing")),
        "traversal": lambda: mlflow.log_artifact(str(here / "src" / "x.txt"), "../out"),
        "absolute": lambda: mlflow.log_text("x", "/abs/a.txt"),
        "not normal": lambda: mlflow.log_artifact(str(here / "src" / "x.txt"), "a//b"),
        "table ending": lambda: mlflow.log_table({"a": [1]}, "t.csv"),
        "table type": lambda: mlflow.log_table([1], "t.json"),
        "image both": lambda: mlflow.log_image(None, "a.png", key="k"),
        "image none": lambda: mlflow.log_image(None),
        "figure": lambda: mlflow.log_figure(object(), "f.png"),
        "no table": lambda: mlflow.load_table("none.json"),
        "no artifact": lambda: mlflow.artifacts.load_text(f"runs:/{mlflow.active_run().info.run_id}/none"),
        "not JSON": lambda: mlflow.artifacts.load_dict(f"runs:/{mlflow.active_run().info.run_id}/x.txt"),
    }
    return {name: outcome(call) for name, call in calls.items()}


def outcome(call: Callable[[], object]) -> str:
    """What became of a call."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - that is what is compared
        return str(getattr(error, "error_code", type(error).__name__))
    return "fine"


def files_below(root: Path) -> dict[str, str]:
    """Hash by path, without what every image of a series has of its own."""
    files = {}
    for path in root.rglob("*"):
        if path.is_file():
            text = OWN.sub("UUID", path.read_bytes().decode("latin-1"))
            files[OWN.sub("UUID", str(path.relative_to(root)))] = hashlib.sha256(text.encode("latin-1")).hexdigest()
    return files


def dump(mlflow: Any, run_id: str, here: Path) -> dict[str, Any]:
    """What lies there."""
    client = mlflow.MlflowClient()
    listed = {
        str(path): [
            [OWN.sub("UUID", info.path), info.is_dir, info.file_size] for info in client.list_artifacts(run_id, path)
        ]
        for path in (None, "t", "whole/src", "x.txt", "none")
    }
    loaded = mlflow.load_table("t/table.json", extra_columns=["run_id"])
    loaded["run_id"] = loaded["run_id"] == run_id
    target = here / mlflow.__name__
    copied = client.download_artifacts(run_id, "whole", str(target))
    tags = client.get_run(run_id).data.tags
    return {
        "files": files_below(Path(client.download_artifacts(run_id, ""))),
        "listed": listed,
        "loaded": loaded.to_json(orient="split"),
        "copied": sorted(files_below(target)),
        "returned": os.path.relpath(copied, target),
        "tags": {key: tags.get(key) for key in ("mlflow.loggedImages", "mlflow.loggedArtifacts")},
        "text": mlflow.artifacts.load_text(f"runs:/{run_id}/x.txt"),
    }


def main() -> None:
    """Run the script and print what it left behind."""
    module, uri, place = sys.argv[1:]
    mlflow = importlib.import_module(module)
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run() as run:
        log(mlflow, Path(place))
        found = dump(mlflow, run.info.run_id, Path(place))
        found["outcomes"] = outcomes(mlflow, Path(place))
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
