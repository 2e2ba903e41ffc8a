"""Datasets to record as inputs of runs, with MLflow's names: `localtrack.data.from_pandas(df, source="train.csv")`.

Digest, schema and profile are computed as MLflow computes them, so that the same data has the same digest whoever
logged it. pandas and numpy are imported by the functions that need them.
"""

from __future__ import annotations

from localtrack.data import meta_dataset
from localtrack.data.dataset import Dataset
from localtrack.data.frames import NumpyDataset, PandasDataset, from_numpy, from_pandas
from localtrack.data.meta_dataset import MetaDataset
from localtrack.data.sources import DatasetSource, resolve_source

__all__ = [
    "Dataset",
    "DatasetSource",
    "MetaDataset",
    "NumpyDataset",
    "PandasDataset",
    "from_numpy",
    "from_pandas",
    "meta_dataset",
    "resolve_source",
]
