-- The catalog: a read model of all journals of a store. Derived: delete the file and it is built again.
-- docs/catalog.md describes it; no feature newer than SQLite 3.24 is used.

-- One row per journal (incarnation). `upto` is written in the same transaction as what was imported up to there.
CREATE TABLE journal (
  id INTEGER PRIMARY KEY,
  incarnation TEXT NOT NULL UNIQUE,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  user TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  format INTEGER NOT NULL,
  upto INTEGER NOT NULL DEFAULT 0,        -- records 1..upto are imported or named in `damage`
  last_stamp INTEGER NOT NULL DEFAULT 0,  -- stamp of record upto (0: damaged): a file that has another one there is not the same
  sealed INTEGER NOT NULL DEFAULT 0,      -- 1: closed in good order, nothing follows
  max_stamp INTEGER NOT NULL DEFAULT 0,
  first_ms INTEGER,
  last_ms INTEGER
);

-- One row per file in journals/: what it looked like when it was last read, so that an unchanged one is not opened.
CREATE TABLE file (
  name TEXT PRIMARY KEY,
  journal INTEGER,                        -- NULL: could not be read
  signature TEXT NOT NULL,                -- '' : read it again
  size INTEGER NOT NULL,
  error TEXT                              -- why it could not be read
) WITHOUT ROWID;

-- Records that are in a journal and cannot be trusted, or are missing before later ones.
CREATE TABLE damage (
  journal INTEGER NOT NULL,
  first_n INTEGER NOT NULL,
  last_n INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (journal, first_n)
) WITHOUT ROWID;

-- What a writer could not record (disk full, ...).
CREATE TABLE loss (
  journal INTEGER NOT NULL,
  n INTEGER NOT NULL,
  kind TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (journal, n, kind)
) WITHOUT ROWID;

-- Ops that a newer localtrack wrote and this one does not know.
CREATE TABLE unknown_op (
  journal INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (journal, kind)
) WITHOUT ROWID;

-- Experiments. create_* is NULL while only other ops of the experiment were imported. The last four columns follow from
-- experiment_cell.
CREATE TABLE experiment (
  experiment_id TEXT PRIMARY KEY,
  created_name TEXT,
  artifact_location TEXT,
  create_stamp INTEGER,
  create_incarnation TEXT,
  create_n INTEGER,
  creation_ms INTEGER,
  name TEXT NOT NULL DEFAULT '',
  deleted INTEGER NOT NULL DEFAULT 0,
  updated_ms INTEGER
);
CREATE INDEX experiment_by_name ON experiment (name);

-- Last-writer-wins registers of experiments: tags (kind 'tag'), 'name', 'deleted', 'covers' (delete/restore: its runs follow).
CREATE TABLE experiment_cell (
  experiment_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value,                                  -- NULL: the tag was deleted
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (experiment_id, kind, key)
) WITHOUT ROWID;

-- Every value that was ever written to a tag (kind 'tag') of an experiment, or given to it as its name (kind 'name', key '').
CREATE TABLE experiment_ever (
  experiment_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (experiment_id, kind, key, value)
) WITHOUT ROWID;

-- Runs. create_* is NULL while the creation is not imported; such a run is kept but not listed. name, status, end_time
-- and deleted follow from run_cell, the creation and the experiment's 'covers' cell.
CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL UNIQUE,
  experiment_id TEXT,
  user_id TEXT,
  start_time INTEGER,
  remote TEXT,
  remote_proof TEXT,
  attached INTEGER NOT NULL DEFAULT 0,    -- 1: created elsewhere; create_* is the first attach, experiment_id is ''
  create_stamp INTEGER,
  create_incarnation TEXT,
  create_n INTEGER,
  name TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT 'RUNNING',
  end_time INTEGER,
  deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX run_search ON run (experiment_id, start_time, run_id);

-- The runs that have not ended: few, and asked for every minute.
CREATE INDEX run_open ON run (id) WHERE status IN ('RUNNING', 'SCHEDULED');

-- Last-writer-wins registers of runs: tags (kind 'tag'), 'name', 'status', 'end_time', 'deleted', 'ended' (the end time
-- that somebody else gave it, which counts while that same op holds the status).
CREATE TABLE run_cell (
  run INTEGER NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value,                                  -- NULL: the tag was deleted
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (run, kind, key)
) WITHOUT ROWID;

-- Every value that was ever written to a tag of a run.
CREATE TABLE run_tag_ever (
  run INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key, value)
) WITHOUT ROWID;

-- Every value that a journal logged for a param, with its first op; `param` holds the winners.
CREATE TABLE param_claim (
  run INTEGER NOT NULL,
  key TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  value TEXT NOT NULL,
  stamp INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (run, key, incarnation, value)
) WITHOUT ROWID;

CREATE TABLE param (
  run INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- Names of metrics, and models/datasets that points refer to, once each.
CREATE TABLE metric_key (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE metric_extra (id INTEGER PRIMARY KEY, model_id TEXT, dataset_name TEXT, dataset_digest TEXT, text TEXT NOT NULL UNIQUE);
CREATE INDEX metric_extra_by_model ON metric_extra (model_id);

-- Every recorded point in delivery order: pos = n * 4096 + index in the record. Equal points of a run are one point to a reader.
CREATE TABLE metric (
  run INTEGER NOT NULL,
  journal INTEGER NOT NULL,
  pos INTEGER NOT NULL,
  key INTEGER NOT NULL,
  step INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  value REAL NOT NULL,                    -- 0 when nan is 1: SQLite has no NaN
  nan INTEGER NOT NULL,
  extra INTEGER NOT NULL,                 -- 0: none
  PRIMARY KEY (run, journal, pos)
) WITHOUT ROWID;
-- The history of a metric in its order, without touching the table.
CREATE INDEX metric_history ON metric (run, key, ts, step, value, nan, extra);

CREATE TABLE metric_latest (
  run INTEGER NOT NULL,
  key INTEGER NOT NULL,
  step INTEGER NOT NULL,
  ts INTEGER NOT NULL,
  value REAL NOT NULL,
  nan INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- What each journal holds of each run: greatest position of a point, number of points, first and last record.
CREATE TABLE run_journal (
  run INTEGER NOT NULL,
  journal INTEGER NOT NULL,
  head INTEGER NOT NULL,                  -- -1: no points
  points INTEGER NOT NULL,
  first_ms INTEGER NOT NULL,
  last_ms INTEGER NOT NULL,
  PRIMARY KEY (run, journal)
) WITHOUT ROWID;

-- The points that carry a model or a dataset.
CREATE INDEX metric_by_extra ON metric (extra) WHERE extra <> 0;

-- Datasets that went into a run; the first input of a name and digest counts.
CREATE TABLE dataset_input (
  run INTEGER NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  source_type TEXT NOT NULL,
  source TEXT NOT NULL,
  schema TEXT,
  profile TEXT,
  tags TEXT NOT NULL,                     -- JSON: [[key, value], ...]
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (run, name, digest)
) WITHOUT ROWID;

-- Models that went into a run (kind 'input', step 0) or came out of it ('output'); the first counts.
CREATE TABLE model_link (
  run INTEGER NOT NULL,
  kind TEXT NOT NULL,
  model_id TEXT NOT NULL,
  step INTEGER NOT NULL,
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (run, kind, model_id)
) WITHOUT ROWID;

-- Entries of the deprecated log_model, in their order: what they add to the tag mlflow.log-model.history.
CREATE TABLE model_history (
  run INTEGER NOT NULL,
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  entry TEXT NOT NULL,
  PRIMARY KEY (run, stamp, incarnation, n)
) WITHOUT ROWID;

-- Logged models. create_* is NULL while the creation is not imported. status, deleted and updated_ms follow from model_cell.
CREATE TABLE model (
  id INTEGER PRIMARY KEY,
  model_id TEXT NOT NULL UNIQUE,
  experiment_id TEXT,
  name TEXT NOT NULL DEFAULT '',
  model_type TEXT,
  source_run_id TEXT,
  remote TEXT,
  remote_proof TEXT,
  create_stamp INTEGER,
  create_incarnation TEXT,
  create_n INTEGER,
  creation_ms INTEGER,
  status TEXT NOT NULL DEFAULT 'PENDING',
  deleted INTEGER NOT NULL DEFAULT 0,
  updated_ms INTEGER
);
CREATE INDEX model_search ON model (experiment_id, creation_ms, model_id);

-- Last-writer-wins registers of logged models: tags (kind 'tag'), 'status', 'deleted'.
CREATE TABLE model_cell (
  model INTEGER NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value,                                  -- NULL: the tag was deleted
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (model, kind, key)
) WITHOUT ROWID;

-- Every value that was ever written to a tag of a logged model.
CREATE TABLE model_tag_ever (
  model INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key, value)
) WITHOUT ROWID;

-- Every value that a journal logged for a param of a logged model; `model_param` holds the winners.
CREATE TABLE model_claim (
  model INTEGER NOT NULL,
  key TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  value TEXT NOT NULL,
  stamp INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (model, key, incarnation, value)
) WITHOUT ROWID;

CREATE TABLE model_param (
  model INTEGER NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
) WITHOUT ROWID;

-- Files of runs and logged models (owner: run id or model id); the last one stored at a path counts.
CREATE TABLE artifact (
  owner TEXT NOT NULL,
  path TEXT NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  stamp INTEGER NOT NULL,
  incarnation TEXT NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (owner, path)
) WITHOUT ROWID;

-- Experiment 0 exists without a creation, as on every MLflow server.
INSERT INTO experiment (experiment_id, created_name, name, create_stamp, create_incarnation, create_n)
VALUES ('0', 'Default', 'Default', 0, '', 0);
