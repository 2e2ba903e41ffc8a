"""Which runs go to which remote. Decides from values only: contacts nobody, reads no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack.errors import LocaltrackError, ReplayError
from localtrack_sync.remote.remotes import Address, Remote, parse_remote

#: What goes somewhere.
Item: TypeAlias = RunEntry | ModelEntry


@dataclass(frozen=True, slots=True)
class Errand:
    """Runs, logged models and experiments for one remote.

    Attributes:
        runs, models: in the order of their creation.
        experiments: ids of experiments: those of the runs and models, and those that have none.
    """

    address: Address
    runs: tuple[RunEntry, ...]
    experiments: tuple[str, ...] = ()
    models: tuple[ModelEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """Runs and logged models that go nowhere, and why.

    Attributes:
        remote: what the runs name, or None.
        reason: one line for people.
        hint: what to do about it.
    """

    remote: str | None
    reason: str
    hint: str
    runs: tuple[RunEntry, ...]
    models: tuple[ModelEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What to replay, and what not."""

    errands: tuple[Errand, ...] = ()
    left: tuple[Left, ...] = ()

    @property
    def nowhere(self) -> bool:
        """Whether there is something, and nobody has named a remote for any of it."""
        return not self.errands and bool(self.left) and all(left.remote is None for left in self.left)

    def to(self, address: Address) -> Errand:
        """What goes to a remote; an empty errand when nothing does."""
        found = (errand for errand in self.errands if errand.address.remote == address.remote)
        return next(found, Errand(address, ()))


def choose(
    runs: Sequence[RunEntry],
    empty: Sequence[str],
    to: Address | None,
    default: Address | None,
    chosen_by_user: Callable[[Item], bool],
    environ: Mapping[str, str],
    models: Sequence[ModelEntry] = (),
) -> Choice:
    """Sort runs and logged models by where they go.

    Args:
        runs: those that were asked for.
        empty: ids of experiments without runs or models: they go where runs go that name no remote.
        to: `--to`: all of them go there.
        default: LOCALTRACK_REMOTE or MLFLOW_TRACKING_URI: where runs go that name no remote.
        chosen_by_user: whether this user, and not whoever wrote the journal, chose the run's remote.
        environ: as in `parse_remote`.
        models: logged models; each goes where its source run goes, else it is treated like a run.
    """
    by_age = sorted(models, key=lambda model: (model.create_stamp, model.model_id))
    ordered: list[Item] = [*sorted(runs, key=lambda run: (run.create_stamp, run.run_id)), *by_age]
    if to is not None:
        return Choice((_errand(to, ordered, empty),)) if ordered or empty else Choice()
    going: dict[Remote, tuple[Address, list[Item]]] = {}
    if default is not None and empty:
        going[default.remote] = (default, [])
    left: dict[tuple[str | None, str, str], list[Item]] = {}
    by_id = {run.run_id: run for run in runs}
    for item in ordered:
        source = by_id.get(item.source_run_id or "") if isinstance(item, ModelEntry) else None
        target = _target(source or item, default, chosen_by_user, environ)
        if isinstance(target, Address):
            going.setdefault(target.remote, (target, []))[1].append(item)
        else:
            left.setdefault(((source or item).remote, *target), []).append(item)
    home = default.remote if default is not None else next(iter(going), None) if len(going) == 1 else None
    return Choice(
        tuple(_errand(address, chosen, empty if remote == home else ()) for remote, (address, chosen) in going.items()),
        tuple(Left(remote, reason, hint, *_split(stuck)) for (remote, reason, hint), stuck in left.items()),
    )


def _split(items: Sequence[Item]) -> tuple[tuple[RunEntry, ...], tuple[ModelEntry, ...]]:
    runs = tuple(one for one in items if isinstance(one, RunEntry))
    return runs, tuple(one for one in items if isinstance(one, ModelEntry))


def _errand(address: Address, items: Sequence[Item], empty: Sequence[str]) -> Errand:
    runs, models = _split(items)
    theirs = (one.experiment_id for one in items if one.experiment_id)  # a run that was created elsewhere names none
    return Errand(address, runs, tuple(dict.fromkeys([*theirs, *empty])), models)


def _target(
    run: Item, default: Address | None, chosen_by_user: Callable[[Item], bool], environ: Mapping[str, str]
) -> Address | tuple[str, str]:
    """Where a run (or logged model) goes, or why it goes nowhere and what to do about it."""
    if run.remote is None:
        return default or (
            "no remote is known for these runs",
            "Name one: localtrack sync --to http://HOST (or set LOCALTRACK_REMOTE).",
        )
    try:
        address = parse_remote(run.remote, environ)
    except ReplayError as error:
        return error.message, error.hint
    if default is not None and address.remote == default.remote:
        return default  # with the user name and password that may stand in it
    if chosen_by_user(run):
        return replace(address, userinfo=None)
    return (
        f"their journal names {address.remote}, but was not written by you, so your credentials are not sent there",
        f"If you trust that server: localtrack sync --to {address.remote.url}",
    )


def select(runs: Sequence[RunEntry], ids: Iterable[str], experiments: Iterable[str]) -> list[RunEntry]:
    """The runs that --run (ids, or the beginning of one) and --experiment (names or ids) name; all without either.

    Raises:
        SelectionError: something that was named does not exist, or is ambiguous.
    """
    named, within = list(ids), list(experiments)
    if not named and not within:
        return list(runs)
    chosen = {run.run_id for one in named for run in [_one(runs, one)]}
    for experiment in within:
        found = [run.run_id for run in runs if experiment in (run.experiment_name, run.experiment_id)]
        if not found:
            raise SelectionError(
                f"No run belongs to an experiment {experiment!r}.", "localtrack runs lists what there is."
            )
        chosen.update(found)
    return [run for run in runs if run.run_id in chosen]


class SelectionError(LocaltrackError):
    """What the user named does not exist; the exit code of a usage error."""

    exit_code = 2


def _one(runs: Sequence[RunEntry], beginning: str) -> RunEntry:
    found = [run for run in runs if run.run_id == beginning] or [r for r in runs if r.run_id.startswith(beginning)]
    if len(found) == 1 and beginning:
        return found[0]
    problem = f"{len(found)} runs begin with {beginning!r}" if found else f"No run begins with {beginning!r}"
    raise SelectionError(f"{problem}.", "localtrack runs lists the runs with their ids.")
