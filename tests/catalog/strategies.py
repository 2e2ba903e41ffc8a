"""Random journals: few runs, keys and stamps, so that everything collides."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops

RUNS = [letter * 32 for letter in "ab"]
EXPERIMENTS = ["0", "7"]
KEYS = ["k", "mlflow.runName"]
VALUES = ["", "1", "2"]
MS = 1_700_000_000_000

runs, experiments, keys, values = (st.sampled_from(each) for each in (RUNS, EXPERIMENTS, KEYS, VALUES))
pairs = st.lists(st.tuples(keys, values), max_size=2).map(tuple)
numbers = st.sampled_from([0.0, -0.0, 1.5, -2.0, float("nan"), float("inf"), float("-inf"), 1e308])
metrics = st.builds(
    Metric,
    key=st.sampled_from(["loss", "acc"]),
    value=numbers,
    timestamp=st.integers(0, 2),
    step=st.integers(-1, 1),
    model_id=st.sampled_from([None, None, "m-1"]),
    dataset_name=st.sampled_from([None, "", "3:d"]),
    dataset_digest=st.none(),
    run_id=st.none(),
)
MODELS = ["m-1", "m-2"]
models = st.sampled_from(MODELS)
some_pairs = st.lists(st.tuples(keys, values), min_size=1, max_size=2).map(tuple)
texts = st.none() | values
datasets = st.tuples(
    *(
        st.sampled_from(["d", "e"]),
        st.just("1"),
        st.just("local"),
        values,
        st.none() | values,
        st.none() | values,
        pairs,
    )
)

OPS: list[st.SearchStrategy[ops.Op]] = [
    st.builds(ops.ExperimentCreate, experiments, values, st.sampled_from([None, "s3://x"]), pairs),
    st.builds(ops.ExperimentRename, experiments, values),
    st.builds(ops.ExperimentTagSet, experiments, keys, st.one_of(st.none(), values)),
    st.builds(ops.ExperimentLifecycle, experiments, st.booleans()),
    st.builds(
        *(ops.RunCreate, runs, experiments, values, values, st.integers(0, 3), pairs),
        st.sampled_from([None, "http://r"]),
    ),
    st.builds(
        ops.RunUpdate,
        runs,
        st.sampled_from([None, "FINISHED", "FAILED"]),
        st.sampled_from([None, 5, 6]),
        st.one_of(st.none(), values),
    ),
    st.builds(ops.RunUpdate, runs, st.just("KILLED"), st.sampled_from([None, 7]), st.none(), values),
    st.builds(
        *(ops.LogBatch, runs, st.just(()), st.just(())),
        st.lists(st.builds(RunTag, st.just(ops.ENDED_BY_TAG), values), max_size=1).map(tuple),
        st.sampled_from([(), (ops.ENDED_BY_TAG,)]),
    ),
    st.builds(ops.RunLifecycle, runs, st.booleans()),
    st.builds(ops.LogBatch, runs, st.lists(metrics, max_size=4).map(tuple)),
    st.builds(
        ops.LogBatch,
        runs,
        st.lists(metrics, max_size=1).map(tuple),
        st.lists(st.builds(Param, keys, values), max_size=2).map(tuple),
        st.lists(st.builds(RunTag, keys, values), max_size=2).map(tuple),
        st.lists(keys, max_size=1).map(tuple),
    ),
    st.builds(ops.RunAttach, runs, st.integers(0, 3), st.sampled_from([None, "http://r"])),
    st.builds(ops.RunInputs, runs, st.lists(datasets, max_size=2).map(tuple), st.lists(models, max_size=2).map(tuple)),
    st.builds(ops.RunOutputs, runs, st.lists(st.tuples(models, st.integers(0, 1)), max_size=2).map(tuple)),
    st.builds(ops.RunModelLogged, runs, st.sampled_from(['{"a":1}', '{"a":2}'])),
    st.builds(
        *(ops.ModelCreate, models, experiments, values, st.sampled_from([None, "t"]), st.sampled_from([None, *RUNS])),
        *(pairs, pairs, st.sampled_from([None, "http://r"])),
    ),
    st.builds(ops.ModelFinalize, models, st.sampled_from(["PENDING", "READY", "FAILED"])),
    st.builds(
        ops.ModelTagsSet, models, st.lists(st.tuples(keys, st.none() | values), min_size=1, max_size=2).map(tuple)
    ),
    st.builds(ops.ModelParamsLogged, models, some_pairs),
    st.builds(ops.ModelLifecycle, models, st.booleans()),
    st.builds(
        *(ops.ArtifactStored, st.sampled_from([*RUNS, *MODELS]), st.sampled_from(["a", "d/a"]), st.integers(0, 1)),
        st.sampled_from(["0" * 64, "1" * 64]),
    ),
    st.builds(ops.Loss, st.just((("metric", 2), ("tag", 1))), st.just(1), st.just(2), st.just("disk full")),
    st.just(ops.Unknown(99, b"x")),
]


@dataclass(frozen=True)
class FakeJournal:
    """A whole journal as values: what a reader of its file would yield at its end."""

    info: ops.JournalInfo
    items: tuple[ops.Record | ops.Damage, ...]

    @property
    def records(self) -> list[ops.Record]:
        """Its records without the damage."""
        return [item for item in self.items if isinstance(item, ops.Record)]


@st.composite
def journal(draw: st.DrawFn, number: int, any_op: st.SearchStrategy[ops.Op]) -> FakeJournal:
    """One journal: stamps rise, collide with those of other journals, and some records are damaged."""
    info = ops.JournalInfo(f"{number:032x}", MS + number, f"host{number}", number, "me", 1)
    items: list[ops.Record | ops.Damage] = []
    stamp = (MS << 16) + draw(st.integers(0, 3))
    for n, op in enumerate(draw(st.lists(any_op, max_size=12)), 1):
        stamp += draw(st.sampled_from([1, 1, 2, 1 << 16]))
        if draw(st.integers(0, 15)) == 0:
            items.append(ops.Damage(n, n, f"record {n} checksum does not match"))
        else:
            items.append(ops.Record(n, stamp, op))
    if draw(st.booleans()):
        items.append(ops.Record(len(items) + 1, stamp + 1, ops.Seal()))
    return FakeJournal(info, tuple(items))


@st.composite
def journals(draw: st.DrawFn) -> list[FakeJournal]:
    """One to four journals, often of a few kinds of ops only, so that the same thing is written again and again."""
    kinds = draw(st.one_of(st.just(OPS), st.lists(st.sampled_from(OPS), min_size=1, max_size=2)))
    return [draw(journal(number, st.one_of(kinds))) for number in range(draw(st.integers(1, 4)))]


@st.composite
def schedules(draw: st.DrawFn, of: list[FakeJournal]) -> list[tuple[int, int]]:
    """Steps (journal, records visible by then) in any order, with repetitions, that end with everything visible."""
    steps = draw(
        st.lists(
            st.integers(0, len(of) - 1).flatmap(
                lambda number: st.tuples(st.just(number), st.integers(0, len(of[number].items)))
            ),
            max_size=12,
        )
    )
    return steps + [(number, len(of[number].items)) for number in draw(st.permutations(range(len(of))))]
