CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE asked (run_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE settled (run_id TEXT PRIMARY KEY, content TEXT NOT NULL, account TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE remote_facts (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  version TEXT NOT NULL,
  store_type TEXT NOT NULL,
  dedupes INTEGER NOT NULL,
  nan_safe INTEGER NOT NULL,
  born_wall_s REAL NOT NULL,
  models INTEGER NOT NULL,
  PRIMARY KEY (scope, scope_id)
) WITHOUT ROWID;
CREATE TABLE experiment_binding (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  remote_id TEXT NOT NULL,
  created INTEGER NOT NULL,
  virgin INTEGER NOT NULL,
  restores INTEGER NOT NULL,
  PRIMARY KEY (scope, scope_id)
) WITHOUT ROWID;
CREATE TABLE run_binding (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  state TEXT NOT NULL,
  remote_id TEXT NOT NULL,
  experiment_remote_id TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  nonce TEXT NOT NULL,
  artifact_uri TEXT NOT NULL,
  fresh INTEGER NOT NULL,
  bound_wall_s REAL NOT NULL,
  restores INTEGER NOT NULL,
  sweep_wall_s REAL NOT NULL,
  PRIMARY KEY (scope, scope_id)
) WITHOUT ROWID;
CREATE TABLE intent (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  covers TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, kind)
) WITHOUT ROWID;
CREATE TABLE watermark (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  upto INTEGER NOT NULL,
  verify_upto INTEGER NOT NULL,
  top_ts INTEGER NOT NULL,
  PRIMARY KEY (scope, scope_id, incarnation)
) WITHOUT ROWID;
CREATE TABLE param_delivered (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, key)
) WITHOUT ROWID;
CREATE TABLE linked (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, kind, key)
) WITHOUT ROWID;
CREATE TABLE cell (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  key TEXT NOT NULL,
  base TEXT,
  poss TEXT NOT NULL,
  unsettled TEXT NOT NULL,
  sure INTEGER NOT NULL,
  pinned INTEGER NOT NULL,
  wrote_wall_s REAL NOT NULL,
  PRIMARY KEY (scope, scope_id, key)
) WITHOUT ROWID;
CREATE TABLE file_delivered (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  size INTEGER NOT NULL,
  sent_sha256 TEXT NOT NULL,
  sent_size INTEGER NOT NULL,
  unsettled TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, path)
) WITHOUT ROWID;
CREATE TABLE partial_upload (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  upload_id TEXT NOT NULL,
  part_bytes INTEGER NOT NULL,
  addresses TEXT NOT NULL,
  etags TEXT NOT NULL,
  PRIMARY KEY (scope, scope_id, path)
) WITHOUT ROWID;
CREATE TABLE conflict (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  ours TEXT,
  theirs TEXT,
  since_wall_s REAL NOT NULL,
  PRIMARY KEY (scope, scope_id, kind, key)
) WITHOUT ROWID;
CREATE TABLE rejected (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_wall_s REAL NOT NULL,
  PRIMARY KEY (scope, scope_id, kind, key)
) WITHOUT ROWID;
CREATE TABLE parked (
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_wall_s REAL NOT NULL,
  tries INTEGER NOT NULL,
  PRIMARY KEY (scope, scope_id, kind, key)
) WITHOUT ROWID;
