"""Runs, experiments and logged models, and questions about them, for localtrack's catalog and MLflow's own store."""

from __future__ import annotations

import math
import random
from typing import Any

MS = 1_700_000_000_000

#: Runs that the points of models are logged in, by turns: two that are active and in an active experiment.
RUNS_OF_POINTS = (0, 1)

_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
_TEXTS = ("a", "A", "b", "ab", "AB", "a%", "a_b", "axb", "[x]", "a*", "?", "it's", 'say "x"', "ü", "Ü", "10", "9", "")
_VALUES = (0.0, 1.0, -1.0, 0.5, 1e-3, 1e300, math.nan, 72.0, 90.5)


def data() -> dict[str, Any]:
    """Three experiments beside Default, 60 runs and 24 logged models; the same for every call."""
    dice = random.Random(20)
    return {
        "experiments": [
            {"name": name, "created": MS + 10 * number, "tags": tags}
            for number, (name, tags) in enumerate(
                [("first", {"team": "a", "Stage": "x"}), ("Second", {"team": "A", "k y": "1"}), ("third", {})]
            )
        ],
        "runs": [_run(dice, number) for number in range(60)],
        "models": [_model(dice, number) for number in range(24)],
    }


def _run(dice: random.Random, number: int) -> dict[str, Any]:
    def some(names: str, values: tuple[Any, ...]) -> dict[str, Any]:
        return {name: dice.choice(values) for name in names.split(",") if dice.random() < 0.7}

    return {
        "experiment": dice.randrange(3) if number > 1 else 0,
        "name": dice.choice(("run", "Run", f"run {number}", "other")),
        "user": dice.choice(("ada", "Bob", "eve")),
        "start": MS + dice.randrange(20) * 1000,
        "end": dice.choice((None, MS + 30_000, MS + 40_000)),
        "status": dice.choice(_STATUSES),
        "metrics": some("loss,acc,a b,val/x", _VALUES),
        "params": some("lr,model,p q,order", _TEXTS),
        "tags": some("team,k.y,version,mlflow.source.name", _TEXTS),
        "datasets": [
            (dice.choice(("iris", "Iris", "wine")), dice.choice(("d1", "d2")), dice.choice(("train", "Train", None)))
            for _ in range(dice.choice((0, 0, 1, 2)))
        ],
        "deleted": dice.random() < 0.1 and number > 1,
    }


def _model(dice: random.Random, number: int) -> dict[str, Any]:
    def some(names: str, values: tuple[Any, ...]) -> dict[str, Any]:
        return {name: dice.choice(values) for name in names.split(",") if dice.random() < 0.7}

    return {
        "experiment": dice.randrange(2),
        "name": dice.choice(("net", "Net", f"net{number}", "tree")),
        "type": dice.choice((None, "agent", "Agent")),
        "run": dice.choice((None, 0, 1)),
        "created": MS + 1000 + 10 * number,
        "params": some("lr,depth", _TEXTS[:-1]),
        "tags": some("team,k.y", _TEXTS[:-1]),
        "status": dice.choice((None, "READY", "FAILED")),
        "deleted": dice.random() < 0.1,
        # Numbers only: MLflow's store keeps a NaN of a model as 0.
        "points": [
            (key, dice.choice((0.0, 0.5, 1.0, 2.0)), step, MS + dice.randrange(3), dataset, digest)
            for step in range(dice.randrange(3))
            for key in ("acc", "loss")
            for dataset, digest in (dice.choice(((None, None), ("iris", "d1"), ("iris", "d2"), ("wine", "d1"))),)
        ],
    }


_FILTERS = """
metrics.loss > 0.1
metrics.loss>0.1
metrics.loss > -1
metrics.loss >= -1
metrics.loss > .5
metrics.loss < 5.
metrics.loss >= 1e-3
metrics.loss <= 1E3
metrics.loss = 0
metrics.loss != 0
metrics.loss != 1
metrics.loss < 1e299
metrics.`a b` > 0
metrics."a b" <= 1
metrics.'a b' <= 1
`metrics`.`a b` > 1
metric.acc = 72
metrics.acc <= 90.5 AND metrics.loss != 0
metrics.`val/x` >= 0
metrics.none > 0
metrics.none != 0
metrics.loss > 0 and metrics.loss < 2
metrics.loss > 0 AND AND metrics.acc > 0
metrics.loss > 0 AND
AND metrics.loss > 0
metrics.loss > 0 params.lr = 'a'
params.lr = 'a'
params.lr = "a"
param.lr = 'A'
parameter.lr != 'a'
parameters.lr != ''
params.lr = ''
params.lr LIKE 'a%'
params.lr like 'a%'
params.lr LIKE 'A%'
params.lr ILIKE 'a%'
params.lr ilike 'A_'
params.lr LIKE 'a_b'
params.lr LIKE '%b'
params.lr LIKE '[x]'
params.lr LIKE 'a*'
params.lr LIKE '?'
params.lr LIKE ''
params.lr LIKE '_'
params.lr ILIKE 'Ü'
params.lr LIKE 'ü'
params.lr = "it's"
params.lr = 'it''s'
params.lr = 'say "x"'
params.lr IS NULL
params.lr is not null
params.model IS NOT NULL AND params.lr IS NULL
params.none IS NULL
params.`p q` = 'a'
params."p q" != 'a'
params.order = 'a'
params.lr = '10'
tags.team = 'a'
tag.team != 'a'
tags.team LIKE 'a%'
tags.team ILIKE 'A%'
tags.team IS NULL
tags.team IS NOT NULL
tags.k.y = 'a'
tags.`k.y` != 'a'
tags."k.y" IS NULL
tags.version = 'b'
tags.mlflow.source.name ILIKE 'a%'
tags.`mlflow.runName` = 'run'
tags.mlflow.runName LIKE 'R%'
status = 'FINISHED'
attribute.status = 'FINISHED'
attributes.status != 'RUNNING'
attr.status LIKE 'F%'
run.status ILIKE 'f%'
`status` = "KILLED"
attr.`status` = 'FAILED'
status = 'finished'
run_name = 'run'
attributes.run_name LIKE 'run%'
`run name` = 'Run'
attributes.`Run name` ILIKE 'run'
attributes."Run Name" != 'run'
user_id = 'ada'
attributes.user_id ILIKE 'b%'
artifact_uri LIKE '%/artifacts'
artifact_uri = 'x'
start_time > @5000@
start_time >= @5000@
attributes.start_time = @5000@
Created < @5000@
attributes.created != @5000@
created > 1.5
end_time < @35000@
end_time > @35000@
end_time != @30000@
run_id = '@RUN3@'
attributes.run_id LIKE '@RUN3@'
run_id IN ('@RUN3@', "@RUN4@", 'none')
run_id in ('@RUN3@',)
run_id NOT IN ('@RUN3@')
run_id not in ('@RUN3@', '@RUN5@') AND status = 'FINISHED'
datasets.name = 'iris'
dataset.name != 'iris'
datasets.name LIKE 'I%'
datasets.name ILIKE 'I%'
datasets.name IN ('iris', 'wine')
datasets.name NOT IN ('iris')
datasets.digest = 'd1'
dataset.digest IN ('d1', 'd2')
datasets.context = 'train'
datasets.context != 'train'
datasets.context LIKE 'tr%'
datasets.context ILIKE 'TR%'
datasets.context IN ('train') AND metrics.loss >= 0
datasets.name = 'iris' AND datasets.digest = 'd2' AND datasets.context = 'train'
metrics.loss >= 0 AND params.lr != 'b' AND tags.team IS NOT NULL AND status IN ('x')
metrics.loss >= 0 AND params.lr != 'b' AND tags.team IS NOT NULL AND attr.user_id != 'eve'
params.lr = 'x'AND tags.team != 'y'
"""
_BAD_FILTERS = """
metrics.loss > - 1
metrics.loss > +1
metrics.loss > 1e+3
metrics.loss > inf
metrics.loss > nan
metrics.loss > '1'
metrics.loss == 1
metrics.loss <> 1
metrics.loss > = 1
metrics.loss IN (1, 2)
metrics.loss LIKE '1'
metrics.loss IS NULL
metrics.loss BETWEEN 1 AND 2
metrics.loss > metrics.acc
metrics.loss > (1)
metrics.loss > 1,000
`metrics.loss` > 1
"metrics".loss > 1
Metrics.loss > 1
metrics.a/b > 1
metrics.a-b > 1
metrics.a:b > 1
metrics .loss > 1
metrics.loss
metrics.loss >
> 1
1 < metrics.loss
'x' = 'x'
metrics.loss > 1 OR params.lr = 'b'
NOT metrics.loss > 1
(metrics.loss > 1)
metrics.loss > 1; params.lr = 'b'
metrics.loss > 1;
metrics.loss > 1 -- comment
params.lr = `b`
params.lr = b
params.lr = 5
params.lr = '
params.lr = 'x
params.lr = 'a' 'b'
params.lr > 'b'
params.lr NOT LIKE 'b'
params.lr RLIKE 'b'
params.lr ~ 'b'
params.lr IN ('a')
params.lr IS 'a'
params.lr IS NOT
params.lr = NULL
params.lr = TRUE
params.lr = params.model
tags.team IN ('a')
tags.team < 'a'
status IN ('A')
status > 'A'
status IS NULL
status = FINISHED
run_id IN ()
run_id IN (1)
run_id IN ('a', 1)
run_id IN 'a'
start_time > '5'
start_time LIKE 5
start_time IN (5)
end_time = 'x'
run name = 'x'
experiment_id = '0'
lifecycle_stage = 'active'
name = 'x'
foo.bar = 'x'
foo = 'x'
datasets.foo = 'x'
datasets.name > 'x'
datasets.name IS NULL
"""
_ORDERS = """
start_time
start_time DESC
attributes.start_time asc
`start_time` DESC
Created
attribute.created DESC
end_time
end_time DESC
status
status DESC
user_id
run_name DESC
run_id
attributes.run_id DESC
artifact_uri
metrics.loss
metrics.loss DESC
metric.acc DESC
metrics.`a b`
metrics."a b" DESC
metrics.'a b' DESC
metrics.none
params.lr
params.lr DESC
parameter.model
params.`p q` DESC
params.order
tags.team
tags.team DESC
tag.`k.y`
tags.k.y DESC
tags.mlflow.source.name
tags.`mlflow.runName` DESC
"""
_BAD_ORDERS = """
start_time foo
start_time DESC foo
start_time, end_time
 start_time
start_time DESC NULLS LAST
`run name`
experiment_id
foo
foo.bar
metrics.loss x
metrics.a/b
metrics.loss;
(metrics.loss)
-metrics.loss
datasets.name
DESC
name
timestamp
"""
_EXPERIMENT_FILTERS = """
name = 'first'
name != 'first'
name LIKE 'S%'
name LIKE 's%'
name ILIKE 's%'
attribute.name = 'Second'
`name` = "third"
tags.team = 'a'
tag.team ILIKE 'A'
tags.team != 'a'
tags.team IS NULL
tags.team IS NOT NULL AND name != 'first'
tags.`k y` = '1'
creation_time > @5@
attribute.creation_time <= @10@
creation_time = @10@
experiment_id = '@EXPERIMENT1@'
experiment_id != '@EXPERIMENT1@'
experiment_id IN ('@EXPERIMENT1@', '0')
experiment_id NOT IN ('@EXPERIMENT1@')
name like 's%'
attributes.name = 'first'
metrics.loss > 1
name IN ('first')
name > 'first'
name IS NULL
tags.team IN ('a')
tags.team like 'a'
creation_time > 1.5
creation_time > '5'
creation_time LIKE 5
experiment_id = 'x'
experiment_id LIKE '1'
experiment_id > '1'
experiment_id = 1
lifecycle_stage = 'active'
name = 'first' OR name = 'third'
"""
_EXPERIMENT_ORDERS = """
name
name DESC
attribute.name
creation_time
creation_time DESC
experiment_id
experiment_id DESC
tags.team
attributes.name
lifecycle_stage
metrics.loss
name foo
"""
_MODEL_FILTERS = """
name = 'net'
name != 'net'
name LIKE 'N%'
name ILIKE 'N%'
name like 'net%'
attributes.name = 'tree'
`name` = 'net'
name IN ('net', 'tree')
name NOT IN ('net')
name in ('net')
model_id = '@MODEL3@'
attributes.model_id IN ('@MODEL3@', '@MODEL4@')
model_type = 'agent'
model_type != 'agent'
model_type ILIKE 'AGENT'
source_run_id = '@RUN0@'
creation_time > @1050@
creation_timestamp <= @1050@
creation_timestamp_ms >= @1050@ AND creation_timestamp_ms < @1100@
params.lr = 'a'
params.lr != 'a'
params.lr LIKE 'a%'
params.lr ILIKE 'A%'
params.lr IN ('a', 'b')
params.depth = 'it''s'
tags.team = 'a'
tags.k.y != 'a'
tags.`k.y` NOT IN ('a', 'b')
metrics.acc > 0.5
metrics.acc >= 1 AND metrics.loss < 1
metrics.acc != 0.5
metrics.none > 0
metrics.acc > 0.5 AND params.lr != 'a' AND tags.team IS NULL
name > 'a'
name IS NULL
metrics.acc LIKE '1'
metrics.acc IN (1)
creation_time LIKE '1'
tag.team = 'a'
param.lr = 'a'
attribute.name = 'net'
Metrics.acc > 1
name = 'net' OR name = 'tree'
name = 'net';
name =
(name = 'net')
params.lr RLIKE 'a'
"""
_MODEL_ORDERS: list[dict[str, Any]] = [
    {"field_name": "name"},
    {"field_name": "name", "ascending": False},
    {"field_name": "creation_time"},
    {"field_name": "creation_timestamp", "ascending": False},
    {"field_name": "model_id"},
    {"field_name": "model_type", "ascending": False},
    {"field_name": "source_run_id"},
    {"field_name": "status"},
    {"field_name": "metrics.acc"},
    {"field_name": "metrics.acc", "ascending": False},
    {"field_name": "metrics.acc", "dataset_name": "iris"},
    {"field_name": "metrics.acc", "ascending": False, "dataset_name": "iris", "dataset_digest": "d2"},
    {"field_name": "metrics.none"},
    {"field_name": "params.lr"},
    {"field_name": "foo"},
]
_DATASETS: list[list[dict[str, Any]]] = [
    [{"dataset_name": "iris"}],
    [{"dataset_name": "iris", "dataset_digest": "d1"}],
    [{"dataset_name": "iris", "dataset_digest": "d2"}, {"dataset_name": "wine"}],
    [{"dataset_name": "none"}],
    [{"dataset_digest": "d1"}],
]

Question = dict[str, Any]


def _lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def questions() -> list[Question]:
    """What is asked: `of` (runs, experiments, models), filter, order, view type or datasets."""
    filters = (*_lines(_FILTERS), *_lines(_BAD_FILTERS), "", " ")
    found: list[Question] = [{"of": "runs", "filter": one} for one in filters]
    found += [{"of": "runs", "order": [one], "view": 3} for one in (*_lines(_ORDERS), *_lines(_BAD_ORDERS), "")]
    found += _several(random.Random(3))
    found += [{"of": "runs", "view": view} for view in (1, 2, 3)]
    found += [{"of": "experiments", "filter": one} for one in (*_lines(_EXPERIMENT_FILTERS), "", " ")]
    found += [{"of": "experiments", "order": [one], "view": 3} for one in _lines(_EXPERIMENT_ORDERS)]
    found += [{"of": "experiments", "view": view} for view in (1, 2, 3)]
    found += [{"of": "models", "filter": one} for one in (*_lines(_MODEL_FILTERS), "", " ")]
    found += [{"of": "models", "order": [order]} for order in _MODEL_ORDERS]
    found += [{"of": "models", "order": [_MODEL_ORDERS[0], one]} for one in _MODEL_ORDERS[8:12]]
    for datasets in _DATASETS:
        found.append({"of": "models", "datasets": datasets})
        found.append({"of": "models", "datasets": datasets, "filter": "metrics.acc > 0.5"})
    return found


def _several(dice: random.Random) -> list[Question]:
    """Filters and orders put together from those above."""
    return [
        {
            "of": "runs",
            "filter": " AND ".join(dice.sample(_lines(_FILTERS)[:20] + _lines(_FILTERS)[26:60], 2)),
            "order": dice.sample(_lines(_ORDERS), 3),
            "view": 3,
        }
        for _ in range(120)
    ]


def filled(question: Question, ids: dict[str, Any]) -> Question:
    """The question with times and ids in the places that are marked with @."""
    text = question.get("filter")
    if text:
        for kind in ("run", "experiment", "model"):
            for number in (0, 1, 3, 4, 5):
                if number < len(ids[kind]):
                    text = text.replace(f"@{kind.upper()}{number}@", ids[kind][number])
        pieces = text.split("@")
        pieces[1::2] = [str(MS + int(piece)) for piece in pieces[1::2]]
        text = "".join(pieces)
    return {**question, "filter": text}
