"""What of a store goes where, as of now: the question that `localtrack sync` and the daemon ask of the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack.catalog.news import Mark
from localtrack.entities import ViewType
from localtrack.errors import SettingsError
from localtrack.settings import Settings
from localtrack_sync.remote.remotes import Address
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.store.accounts import default_address, proven
from localtrack_sync.store.choice import Choice, choose, select


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        to: `--to`, or None.
        runs, experiments: `--run` and `--experiment`.
    """

    to: Address | None
    runs: tuple[str, ...]
    experiments: tuple[str, ...]


def chosen(catalog: Catalog, wanted: Wanted, settings: Settings, environ: Mapping[str, str]) -> Choice:
    """Which of the store's runs and experiments go where, as of now."""
    index = catalog.run_index()
    runs = select(index, wanted.runs, wanted.experiments)
    models = _models_of(catalog, wanted, {run.run_id for run in index}, runs)
    empty = []
    if not wanted.runs and not wanted.experiments:
        used = {run.experiment_id for run in index} | {model.experiment_id for model in models}
        empty = _without_runs(catalog, used)
    default = default_address(settings, environ)
    return choose(runs, empty, wanted.to, default, lambda one: proven(one, settings), environ, models)


def _models_of(catalog: Catalog, wanted: Wanted, known: set[str], runs: Sequence[RunEntry]) -> list[ModelEntry]:
    """Logged models that go along: those of the runs, and those without a run that stand in the same experiments."""
    models = catalog.model_index(refresh=False)
    if not wanted.runs and not wanted.experiments:
        return models
    ids = {run.run_id for run in runs}
    within = set() if wanted.runs else {run.experiment_id for run in runs}
    return [
        model
        for model in models
        if (model.source_run_id in ids if model.source_run_id in known else model.experiment_id in within)
    ]


def _without_runs(catalog: Catalog, with_runs: set[str]) -> list[str]:
    """Experiments without runs; the built-in one counts when somebody has written to it."""
    found = []
    token = None
    while True:
        page = catalog.experiments(ViewType.ALL, 1000, token, refresh=False)
        found += [
            e.experiment_id for e in page if e.experiment_id not in with_runs and (e.experiment_id != "0" or e.tags)
        ]
        token = page.token
        if not token:
            return found


def transport_settings(environ: Mapping[str, str]) -> TransportSettings:
    """Bounds of a request; MLFLOW_HTTP_REQUEST_TIMEOUT (seconds) sets the whole request's, as in MLflow's client.

    Raises:
        SettingsError: it is no number of seconds.
    """
    name = f"localtrack/{version('localtrack')}"
    workspace = environ.get("MLFLOW_WORKSPACE", "").strip()
    given = environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "").strip()
    if not given:
        return TransportSettings(user_agent=name, workspace=workspace)
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:  # noqa: PLR2004  a day
        raise SettingsError(f"MLFLOW_HTTP_REQUEST_TIMEOUT={given!r}: must be a number of seconds above 0.")
    return TransportSettings(
        connect_s=min(TransportSettings().connect_s, seconds), total_s=seconds, user_agent=name, workspace=workspace
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the store found.

    Attributes:
        choice: what goes where, of what may have changed.
        whole: of everything.
        experiments: id of an experiment -> changes whenever anything of it does.
    """

    choice: Choice
    whole: bool
    experiments: Mapping[str, str]


class Following:
    """What of a store goes where, looked at again and again while training goes on; each look costs what is new.

    Args:
        catalog: of the store.
        settings, environ: as in `chosen`.

    Attributes:
        runs: id -> all runs that are known.
    """

    def __init__(self, catalog: Catalog, settings: Settings, environ: Mapping[str, str]) -> None:
        self.runs: dict[str, RunEntry] = {}
        self._catalog = catalog
        self._settings = settings
        self._environ = environ
        self._models: dict[str, ModelEntry] = {}
        self._mark = Mark()

    def look(self, *, whole: bool = False) -> Look | None:
        """What was imported since the last look; None when nothing was. It imports nothing itself.

        Args:
            whole: look at everything.

        Raises:
            StoreError: the catalog cannot be used.
            ReplayError: LOCALTRACK_REMOTE is no address of a server.
        """
        news = self._catalog.news(Mark() if whole else self._mark, refresh=False)
        if news is None:
            return None
        if news.whole:
            self.runs = {}
        self.runs.update((run.run_id, run) for run in news.runs)
        runs = {run.run_id: run for run in news.runs}
        models = [m for m in news.models if news.whole or m.source_run_id in runs or self._models.get(m.model_id) != m]
        for model in models:  # a model goes where its run goes, which may not have changed
            if model.source_run_id in self.runs:
                runs[model.source_run_id] = self.runs[model.source_run_id]
        empty: list[str] = []
        if news.whole:
            empty = _without_runs(
                self._catalog, {run.experiment_id for run in news.runs} | {m.experiment_id for m in models}
            )
        default = default_address(self._settings, self._environ)
        choice = choose(
            list(runs.values()), empty, None, default, lambda one: proven(one, self._settings), self._environ, models
        )
        self._mark, self._models = news.mark, {model.model_id: model for model in news.models}
        return Look(choice, news.whole, news.mark.experiments)
