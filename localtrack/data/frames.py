"""Datasets from what is in memory: pandas data frames and numpy arrays, digested as MLflow digests them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localtrack.data.dataset import Dataset
from localtrack.errors import TrackingError
from localtrack.rules import shown

#: MLflow's digests look at so many rows, or elements of an array.
DIGEST_ROWS = 10_000
_DIGEST_LENGTH = 8
_UNSEEN = object()


def from_pandas(
    df: Any,
    source: Any = None,
    targets: str | None = None,
    name: str | None = None,
    digest: str | None = None,
    predictions: str | None = None,
) -> PandasDataset:
    """A dataset from a pandas DataFrame.

    Args:
        df: the data frame.
        source: where it came from (see `resolve_source`); None is the program that runs.
        targets: name of the column of targets.
        name: what it is called; None is "dataset".
        digest: which version it is; None computes MLflow's digest of the first 10,000 rows, the length and the columns.
        predictions: name of the column of predictions.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE: no data frame, or a column that it does not have.
    """
    return PandasDataset(df, source, targets, name, digest, predictions)


def from_numpy(
    features: Any, source: Any = None, targets: Any = None, name: str | None = None, digest: str | None = None
) -> NumpyDataset:
    """A dataset from numpy arrays.

    Args:
        features: an array, or a dict of names to arrays.
        source: where it came from (see `resolve_source`); None is the program that runs.
        targets: the same for targets, or None.
        name: what it is called; None is "dataset".
        digest: which version it is; None computes MLflow's digest, which needs pandas.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE: no arrays; or pandas is missing and no digest is given.
    """
    return NumpyDataset(features, source, targets, name, digest)


class PandasDataset(Dataset):
    """A pandas DataFrame; see `from_pandas`."""

    _told_of_none = ("schema", "profile")

    def __init__(
        self,
        df: Any,
        source: Any = None,
        targets: str | None = None,
        name: str | None = None,
        digest: str | None = None,
        predictions: str | None = None,
    ) -> None:
        if not hasattr(df, "columns"):
            raise TrackingError(f"Not a pandas DataFrame: {shown(type(df))}")
        for what, column in (("targets", targets), ("predictions", predictions)):
            if column is not None and column not in df.columns:
                raise TrackingError(
                    f"The specified pandas DataFrame does not contain the specified {what} column {column!r}."
                )
        self._df, self._targets, self._predictions = df, targets, predictions
        self._schema: Any = _UNSEEN
        super().__init__(source, name, digest)

    @property
    def df(self) -> Any:
        """The data frame."""
        return self._df

    @property
    def targets(self) -> str | None:
        """Name of the column of targets."""
        return self._targets

    @property
    def predictions(self) -> str | None:
        """Name of the column of predictions."""
        return self._predictions

    @property
    def profile(self) -> dict[str, int]:
        """How many rows and values."""
        return {"num_rows": len(self._df), "num_elements": int(self._df.size)}

    @property
    def schema(self) -> Any:
        """Types of the columns; None where one has no type that MLflow knows."""
        if self._schema is _UNSEEN:
            from localtrack.data import schemas

            self._schema = schemas.of_frame(self._df)
        return self._schema

    def _compute_digest(self) -> str:
        import numpy as np
        import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

        df = self._df
        head = df.head(DIGEST_ROWS)
        types = df.map(type) if hasattr(df, "map") else df.applymap(type)  # pandas before 2.1
        text = head.columns[(types == str).all(axis=0)]  # noqa: E721 - cell by cell
        numbers = head.select_dtypes(include=[np.number]).columns
        rows = pd.util.hash_pandas_object(head[text.union(numbers)]).values  # noqa: PD011 - the bytes that are digested
        return _digest([rows, np.int64(len(df)), *(str(column).encode() for column in df.columns)])


class NumpyDataset(Dataset):
    """Numpy arrays; see `from_numpy`."""

    _told_of_none = ("schema", "profile")

    def __init__(
        self, features: Any, source: Any = None, targets: Any = None, name: str | None = None, digest: str | None = None
    ) -> None:
        for array in (*_arrays(features), *_arrays(targets)):
            if not hasattr(array, "flatten"):
                raise TrackingError(f"Not a numpy array: {shown(type(array))}")
        self._features, self._targets = features, targets
        super().__init__(source, name, digest)

    @property
    def features(self) -> Any:
        """The array, or the arrays by name."""
        return self._features

    @property
    def targets(self) -> Any:
        """The same for targets, or None."""
        return self._targets

    @property
    def profile(self) -> dict[str, Any]:
        """Shape, number of elements and bytes of features and targets."""
        parts = {"features": self._features, "targets": self._targets}
        return {
            f"{part}_{what}": _each(data, what)
            for part, data in parts.items()
            if data is not None
            for what in ("shape", "size", "nbytes")
        }

    @property
    def schema(self) -> Any:
        """Types and shapes of features and targets, or None."""
        from localtrack.data import schemas

        return schemas.of_arrays(self._features, self._targets)

    def _compute_digest(self) -> str:
        import numpy as np

        try:
            from pandas.util import hash_array  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise TrackingError(
                "MLflow's digest of numpy arrays needs pandas, which is not installed",
                hint="pip install pandas, or give a digest of your own: from_numpy(..., digest='v1').",
            ) from error
        elements: list[Any] = []
        for array in (*_arrays(self._features), *_arrays(self._targets)):
            some = array.flatten()[:DIGEST_ROWS]
            try:
                elements.append(hash_array(some))
            except TypeError:
                elements.append(np.int64(some.size))
            elements.extend(np.int64(length) for length in array.shape)
        return _digest(elements)


def _arrays(data: Any) -> list[Any]:
    if data is None:
        return []
    return [data[name] for name in sorted(data)] if isinstance(data, dict) else [data]


def _each(data: Any, what: str) -> Any:
    if isinstance(data, dict):
        return {name: getattr(array, what) for name, array in data.items()}
    return getattr(data, what)


def _digest(elements: Iterable[Any]) -> str:
    import hashlib

    digest = hashlib.md5(usedforsecurity=False)
    for element in elements:
        digest.update(element)
    return digest.hexdigest()[:_DIGEST_LENGTH]
