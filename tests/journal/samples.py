"""Journals and ops for the journal tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops
from localtrack.journal.reader import JournalReader
from localtrack.journal.writer import Journal
from localtrack.store import Store

RUN = "0123456789abcdef0123456789abcdef"
CREATE = ops.RunCreate(RUN, "0", "a run", "someone", 1_700_000_000_000, (("mlflow.runName", "a run"),))

#: Any text that a Python str can hold, lone surrogates too.
text = st.text(st.characters(codec=None), max_size=12)
int64 = st.integers(-(2**63), 2**63 - 1)
times = st.one_of(st.integers(1_690_000_000_000, 1_710_000_000_000), int64)
values = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | text
pairs = st.lists(st.tuples(text, text), max_size=3).map(tuple)
texts = st.lists(text, max_size=3).map(tuple)

metrics = st.builds(
    Metric, text, values, times, st.one_of(st.integers(0, 100), int64), *[st.none() | st.none() | text] * 3, st.none()
)
batches = st.builds(
    ops.LogBatch,
    text,
    st.lists(metrics, max_size=8).map(tuple),
    st.lists(st.builds(Param, text, text), max_size=3).map(tuple),
    st.lists(st.builds(RunTag, text, text), max_size=3).map(tuple),
    st.lists(text, max_size=2).map(tuple),
)
any_op = st.one_of(
    batches,
    st.builds(ops.ExperimentCreate, text, text, maybe, pairs),
    st.builds(ops.ExperimentRename, text, text),
    st.builds(ops.ExperimentTagSet, text, text, maybe),
    st.builds(ops.ExperimentLifecycle, text, st.booleans()),
    st.builds(ops.RunCreate, text, text, text, text, int64, pairs, maybe, maybe),
    st.builds(ops.RunUpdate, text, maybe, st.none() | int64, maybe, maybe),
    st.builds(ops.RunLifecycle, text, st.booleans()),
    st.builds(ops.RunInputs, text, st.lists(st.tuples(*[text] * 4, maybe, maybe, pairs), max_size=2).map(tuple), texts),
    st.builds(ops.RunOutputs, text, st.lists(st.tuples(text, int64), max_size=2).map(tuple)),
    st.builds(ops.RunModelLogged, text, text),
    st.builds(ops.RunAttach, text, int64, maybe, maybe),
    st.builds(ops.ModelCreate, text, text, text, maybe, maybe, pairs, pairs, maybe, maybe),
    st.builds(ops.ModelFinalize, text, text),
    st.builds(ops.ModelTagsSet, text, st.lists(st.tuples(text, maybe), max_size=3).map(tuple)),
    st.builds(ops.ModelParamsLogged, text, pairs),
    st.builds(ops.ModelLifecycle, text, st.booleans()),
    st.builds(ops.ArtifactStored, text, text, int64, text),
    st.builds(ops.Loss, st.lists(st.tuples(text, int64), max_size=3).map(tuple), int64, int64, text),
    st.builds(ops.Unknown, st.integers(100, 255), st.binary(max_size=20)),
)


@contextmanager
def journal_in(directory: Path | str, **settings: object) -> Iterator[Journal]:
    """An open journal in a store at `directory`; closed at the end."""
    journal = Journal(Store.at(str(directory)), **settings)  # type: ignore[arg-type]
    try:
        yield journal
    finally:
        journal.close()


def files(directory: Path | str) -> list[str]:
    """Journal files of a store, oldest first."""
    journals = Store.at(str(directory)).journals
    found = [os.path.join(journals, name) for name in os.listdir(journals) if name.endswith(".db")]
    return sorted(found, key=lambda path: os.stat(path).st_mtime_ns)


def items(path: str, after: int = 0) -> list[ops.Record | ops.Damage]:
    """Everything that a reader finds in a journal file."""
    with JournalReader(path) as reader:
        return list(reader.read(after, 1 << 40))


def records(path: str) -> list[ops.Record]:
    """All records of a journal file, which must be undamaged."""
    found = items(path)
    assert all(isinstance(item, ops.Record) for item in found), [i for i in found if isinstance(i, ops.Damage)]
    return [item for item in found if isinstance(item, ops.Record)]


def all_metrics(directory: Path | str) -> list[Metric]:
    """Every metric in every journal of a store."""
    batches = [record.op for path in files(directory) for record in records(path)]
    return [metric for op in batches if isinstance(op, ops.LogBatch) for metric in op.metrics]


def exact(op: ops.Op) -> str:
    """A form of an op in which NaN equals NaN and 0.0 differs from -0.0."""
    return repr(op)
