"""localtrack.data: sources, and datasets without pandas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from localtrack import data
from localtrack.errors import TrackingError
from tests.unit.api.test_process import python


@pytest.mark.parametrize(
    ("given", "kind", "fields"),
    [
        ("data.csv", "local", {"uri": "data.csv"}),
        ("/data/x", "local", {"uri": "/data/x"}),
        (Path("/data/x"), "local", {"uri": "/data/x"}),
        ("file:///data/x", "local", {"uri": "file:///data/x"}),
        ("https://host/x", "http", {"url": "https://host/x"}),
        ("s3://bucket/x", "s3", {"uri": "s3://bucket/x"}),
        ("abfss://c@a/x", "abfss", {"uri": "abfss://c@a/x"}),
    ],
)
def test_sources_are_what_mlflow_makes_of_them(given: object, kind: str, fields: dict[str, str]) -> None:
    """A path or a URI becomes MLflow's source type with the text as it was given."""
    source = data.resolve_source(given)
    assert (source.source_type, source.to_dict(), json.loads(source.to_json())) == (kind, fields, fields)


@pytest.mark.parametrize("given", ["weird://x", "dbfs:/a", "runs:/a/b", 7, object(), "file://elsewhere/x"])
def test_unknown_sources_are_refused(given: object) -> None:
    """RESOURCE_DOES_NOT_EXIST, as in MLflow."""
    with pytest.raises(TrackingError) as caught:
        data.resolve_source(given)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_without_a_source_the_program_is_the_source() -> None:
    """None is the running program: a "code" source with the tags of the surroundings."""
    source = data.resolve_source(None)
    assert source.source_type == "code"
    assert "mlflow.source.name" in source.to_dict()["tags"]


def test_a_meta_dataset_has_a_digest_of_its_own() -> None:
    """Name, source and schema make the digest, unless one is given; a foreign source object is kept."""
    one = data.MetaDataset("s3://b/x", "train")
    assert one.digest == data.MetaDataset("s3://b/x", "train").digest != data.MetaDataset("s3://b/y", "train").digest
    assert len(one.digest) == 8
    given = data.MetaDataset(one.source, digest="v7", schema=[{"type": "long", "name": "n"}])
    assert given.source is one.source
    assert json.loads(given.to_json()) == {
        "name": "dataset",
        "digest": "v7",
        "source": '{"uri": "s3://b/x"}',
        "source_type": "s3",
        "schema": '{"mlflow_colspec": [{"type": "long", "name": "n"}]}',
    }


def test_arrays_are_profiled() -> None:
    """Shape, size and bytes are the profile, types and shapes the schema; with a digest numpy is enough."""
    np: Any = pytest.importorskip("numpy")
    found = data.from_numpy({"a": np.zeros((4, 2)), "b": np.array(["x"])}, "x.npz", np.arange(4), "arrays", "v1")
    told = found.to_dict()
    assert json.loads(told["profile"] or "") == {
        "features_shape": {"a": [4, 2], "b": [1]},
        "features_size": {"a": 8, "b": 1},
        "features_nbytes": {"a": 64, "b": 4},
        "targets_shape": [4],
        "targets_size": 4,
        "targets_nbytes": 32,
    }
    schema = json.loads(told["schema"] or "")["mlflow_tensorspec"]
    assert json.loads(schema["features"])[1] == {
        "name": "b",
        "type": "tensor",
        "tensor-spec": {"dtype": "str", "shape": [-1]},
    }


def test_a_digest_of_arrays_needs_pandas(tmp_path: Path) -> None:
    """Where pandas is not installed, the error says to install it or to give a digest; with one nothing is missing."""
    pytest.importorskip("numpy")
    done = python(
        tmp_path,
        """
        import sys
        sys.modules["pandas"] = None  # what makes an import fail
        import numpy, localtrack
        assert localtrack.data.from_numpy(numpy.zeros(3), digest="v1").digest == "v1"
        try:
            localtrack.data.from_numpy(numpy.zeros(3))
        except localtrack.TrackingError as error:
            print(error.error_code, error.hint)
        """,
    )
    assert done.stdout.startswith("INVALID_PARAMETER_VALUE pip install pandas"), done.stderr


@pytest.mark.parametrize("given", [[1, 2], "x", {"a": [1]}])
def test_what_are_no_arrays_is_refused(given: object) -> None:
    """Lists and text are no numpy arrays, and no data frames."""
    with pytest.raises(TrackingError):
        data.from_numpy(given, digest="v1")
    with pytest.raises(TrackingError):
        data.from_pandas(given, digest="v1")
