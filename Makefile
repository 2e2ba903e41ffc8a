# Every target makes what it needs by itself: only Python (3.10 or newer) and make are taken for granted.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEEDS ?= 20000
# Of the soak: how long, how many trainers at a time, which seed.
MINUTES ?= 30
TRAINERS ?= 20
SEED ?= 1
# Processes that run tests: most tests wait for a server, or for time to pass.
WORKERS ?= 4
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal
# Kinds of servers, as tests/servers/kinds.py names them.
KINDS ?= 3.17.2-sqlite 3.17.2-postgres 3.17.2-file 2.22.0-sqlite 2.22.0-file

.PHONY: help demo test test-versions postgres lint bench bench-scale simulate herd soak fault-matrix clean
help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	touch $(READY)

demo: $(READY) ## Train offline, replay to a real MLflow server twice, compare
	$(BIN)/python -m demo

test: $(READY) ## Run the tests (makes a venv with a real MLflow server)
	$(PYTEST)

test-versions: $(READY) ## Run what needs a server on each kind: 3.17 and 2.22; SQLite, PostgreSQL (make postgres), files
	$(PYTEST) -m versions
	@for kind in $(KINDS); do echo "== $$kind"; \
	  LOCALTRACK_TEST_SERVER=$$kind $(PYTEST) -m "server and not versions" tests/acceptance || exit 1; \
	done

postgres: ## Install a PostgreSQL server from Debian's packages (as root), for test-versions
	ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null || { apt-get update -q && apt-get install -qy postgresql; }

lint: $(READY) ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## Measure, each number beside its yardstick in the same run
	$(BIN)/python -m bench

bench-scale: $(READY) ## Measure the daemon: 10 million points, live, idle, fair (20 minutes, Linux)
	$(BIN)/python -m bench --daemon

simulate: $(READY) ## Run the seeded simulator: make simulate SEEDS=100000
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

herd: $(READY) ## A thousand daemons come back to a small server, 20 seeds of each scenario (a quarter of an hour)
	$(BIN)/python -m tests.simulation.herd
soak: $(READY) ## Kill and cut everything for 30 minutes, heal, compare: make soak MINUTES=60 TRAINERS=40 SEED=7
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --trainers $(TRAINERS) --seed $(SEED)

fault-matrix: $(READY) ## Every kind of request times every fault, all of it (minutes)
	$(BIN)/python -m tests.simulation.matrix

clean: ## Remove what the targets made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
