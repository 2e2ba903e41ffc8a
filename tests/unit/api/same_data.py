"""The same datasets by `mlflow.data` and `localtrack.data`, in one interpreter that has pandas; prints both as JSON."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

PAIR = ("model_id", "step")


def frames() -> dict[str, Any]:
    """Data frames of all kinds of columns."""
    import numpy as np
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

    days = pd.date_range("2024-01-01", periods=3)
    whole = pd.DataFrame(
        {
            "i64": [1, 2, 3],
            "i32": np.array([1, 2, 3], "int32"),
            "u8": np.array([1, 2, 3], "uint8"),
            "u32": np.array([1, 2, 3], "uint32"),
            "f64": [1.0, np.nan, 3.0],
            "f32": np.array([1, 2, 3], "float32"),
            "bool": [True, False, True],
            "text": ["a", "b", "c"],
            "gaps": ["a", None, "c"],
            "bytes": [b"a", b"b", b"c"],
            "days": days,
            "category": pd.Categorical(["a", "b", "a"]),
        }
    )
    return {
        "plain": whole.drop(columns=["category"]),
        "category has no type": whole,
        "nullable": pd.DataFrame({"a": pd.array([1, None, 3], "Int64"), "b": pd.array(["x", None, "z"], "string")}),
        "lists": pd.DataFrame({"a": [[1], [2, 3], []], "b": [[["x"]], [None], None]}),
        "arrays": pd.DataFrame({"a": [np.array([1.0, 2.0]), np.array([]), np.array([3.0])]}),
        "dicts": pd.DataFrame({"a": [{"x": 1}, {"x": 2, "y": "z"}, None], "b": [{"k": [1]}, {"k": []}, {"k": None}]}),
        "mixed": pd.DataFrame({"a": [1, "x", 2.0]}),
        "nothing": pd.DataFrame({"a": [None, None]}),
        "dates": pd.DataFrame({"a": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]}),
        "objects": pd.DataFrame({"a": [object(), object()]}),
        "no rows": pd.DataFrame({"a": [], "b": []}),
        "no columns": pd.DataFrame(),
        "numbered columns": pd.DataFrame([[1, 2], [3, 4]]),
        "one name twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "long": pd.DataFrame({"n": np.arange(20_000), "s": [str(i % 7) for i in range(20_000)]}),
        "indexed": pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    }


def arrays() -> dict[str, tuple[Any, Any]]:
    """Features and targets of all kinds."""
    import numpy as np

    return {
        "floats": (np.arange(12.0).reshape(3, 4), None),
        "with targets": (np.arange(12).reshape(3, 2, 2), np.array([0, 1, 0], "int8")),
        "text": (np.array(["a", "bc"]), np.array([b"a", b"bc"])),
        "named": ({"b": np.zeros((2, 2)), "a": np.ones(2, "float32")}, {"y": np.array([True, False])}),
        "long": (np.arange(30_000), None),
        "complex": (np.array([1j, 2j]), None),
        "days": (np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"), None),
        "objects": (np.array([{"a": 1}, None], object), None),
        "empty": (np.zeros((0, 3)), None),
        "a number": (np.array(3.0), None),
    }


def cases(library: Any) -> dict[str, Callable[[], Any]]:
    """All datasets, by name, by one library."""
    found: dict[str, Callable[[], Any]] = {}
    for name, df in frames().items():
        found[f"frame: {name}"] = partial(library.from_pandas, df, source="s3://b/x", name="n")
    for name, (features, targets) in arrays().items():
        found[f"array: {name}"] = partial(library.from_numpy, features, source="/x.npy", targets=targets)
    meta = library.meta_dataset.MetaDataset
    source = library.from_pandas(frames()["indexed"], source="https://host/x").source
    found["meta"] = lambda: meta(source)
    found["meta, named"] = lambda: meta(source, name="train")
    found["bad column"] = lambda: library.from_pandas(frames()["indexed"], targets="none")
    return found


def logged(theirs: Any, ours: Any) -> tuple[Any, Any]:
    """MLflow's own objects given to localtrack: what MLflow says of them, and what localtrack recorded."""
    entities = importlib.import_module("mlflow.entities")
    datasets = [make() for name, make in cases(theirs).items() if name in ("frame: lists", "array: named", "meta")]
    client = ours.TrackingClient("store")
    run_id = client.create_run("0").info.run_id
    tags = [entities.InputTag("a", "1")]
    rows = [entities.DatasetInput(one._to_mlflow_entity(), tags) for one in datasets]
    client.log_inputs(run_id, rows[:1], [entities.LoggedModelInput("m-1")])
    ours.set_tracking_uri("store")
    with ours.start_run(run_id=run_id):
        ours.log_inputs(datasets[1:], [None, None], [{"a": "1"}, {"a": "1"}])
        ours.log_metric("m", 1.0, dataset=datasets[0])
        model = ours.initialize_logged_model("net", params={"p": 1})
        external = ours.create_external_model("outside")
    mlmodel = importlib.import_module("mlflow.models").Model.load(external.artifact_location)
    client.log_outputs(run_id, [entities.LoggedModelOutput("m-2", 7)])
    client.log_batch(run_id, [entities.Metric("k", 2.0, 1, 0, model_id=model.model_id)])
    client.finalize_logged_model(model.model_id, entities.LoggedModelStatus.READY)
    run, found = client.get_run(run_id), client.get_logged_model(model.model_id)
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    given = {
        "datasets": {one.digest: {field: one.to_dict().get(field) for field in fields} for one in datasets},
        "tags": [[["a", "1"]]] * len(datasets),
        "models": ["m-1", "m-2", 7],
        "model": ["READY", [["k", 2.0]]],
        "external": [external.model_id, external.model_id, run_id, external.artifact_location, True, 1],
    }
    inputs = run.inputs.dataset_inputs
    recorded = {
        "datasets": {one.dataset.digest: {field: getattr(one.dataset, field) for field in fields} for one in inputs},
        "tags": [[[tag.key, tag.value] for tag in one.tags] for one in inputs],
        "models": [
            run.inputs.model_inputs[0].model_id,
            *(getattr(run.outputs.model_outputs[0], name) for name in PAIR),
        ],
        "model": [found.status, [[m.key, m.value] for m in found.metrics]],
        "external": [
            mlmodel.model_id,
            mlmodel.model_uuid,
            mlmodel.run_id,
            mlmodel.artifact_path,
            mlmodel.metadata["mlflow.model.isExternal"],
            len(mlmodel.signature.inputs),
        ],
    }
    return given, recorded


def told(make: Callable[[], Any]) -> Any:
    """What a dataset says of itself, or the code of the refusal."""
    try:
        return make().to_dict()
    except Exception as error:  # noqa: BLE001 - what kind it is, is the finding
        return f"{getattr(error, 'error_code', type(error).__name__)}"


def main() -> None:
    """Print what both libraries say."""
    warnings.simplefilter("ignore")
    theirs, ours = importlib.import_module("mlflow.data"), importlib.import_module("localtrack.data")
    libraries = {"theirs": theirs, "ours": ours}
    answer: dict[str, Any] = {
        name: {case: told(make) for case, make in cases(library).items()} for name, library in libraries.items()
    }
    answer["given"], answer["recorded"] = logged(theirs, importlib.import_module("localtrack"))
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
