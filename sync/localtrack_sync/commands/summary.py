"""What `localtrack sync` says, in words and as JSON, and what it ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from localtrack.catalog.entries import JournalEntry, in_trouble
from localtrack.cli import screen, wording
from localtrack.cli.table import Column, visible
from localtrack.store import Store
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.shell.session import Ended
from localtrack_sync.store.books import RunAccount
from localtrack_sync.store.choice import Choice, Errand, Left

EXIT_OWED = 3
EXIT_LOOK = 4
KINDS = {
    "run": "runs",
    "param": "params",
    "tag": "tags",
    "metric": "points",
    "input": "inputs",
    "output": "outputs",
    "file": "files",
    "model": "models",
}
#: Different reasons that are listed for each remote.
REASONS = 5


def start(errand: Errand) -> None:
    """Say what begins."""
    click.echo(
        f"Delivering {wording.runs_and_models(len(errand.runs), len(errand.models))} to {errand.address.remote}",
        err=True,
    )


def dry_run(
    store: Store, choice: Choice, planned: Sequence[tuple[Errand, Sequence[RunAccount]]], *, as_json: bool
) -> int:
    """Say what would be sent. Returns the exit code, which is 0: nothing was asked to be delivered."""
    if as_json:
        screen.document(
            {
                "schema": 1, "store": store.path, "dry_run": True,
                "remotes": [
                    {**_remote(errand), **_by_kind(accounts)}
                    for errand, accounts in planned
                ],
                "left": [left_facts(left) for left in choice.left],
            }
        )  # fmt: skip
        return 0
    for errand, accounts in planned:
        click.echo(click.style(visible(str(errand.address.remote)), bold=True))
        owing = [account for account in accounts if account.owed or account.parked]
        if owing:
            _table(owing)
        quiet = len(accounts) - len(owing)
        if quiet:
            models = sum(account.kind == "model" for account in accounts if account not in owing)
            click.echo(f"  nothing to send for {wording.runs_and_models(quiet - models, models)}")
    for left in choice.left:
        say_left(left)
    click.echo("Nothing was sent: this was a dry run.")
    return 0


def told(
    store: Store, choice: Choice, ended: Sequence[Ended], journals: Sequence[JournalEntry], *, as_json: bool
) -> int:
    """Say what came of it. Returns the exit code."""
    damaged = [journal for journal in journals if in_trouble(journal)]
    code = exit_code(choice, ended, damaged)
    if as_json:
        screen.document(
            {
                "schema": 1, "store": store.path, "exit_code": code,
                "remotes": [_ended_facts(one) for one in ended],
                "left": [left_facts(left) for left in choice.left],
                "damaged_journals": [journal.file for journal in damaged],
            }
        )  # fmt: skip
        return code
    for one in ended:
        _say_ended(one)
    for left in choice.left:
        say_left(left)
    for journal in damaged:
        screen.prose(f"Journal {journal.file or journal.incarnation}: not all of it can be read, and delivered.", "")
        screen.prose("-> localtrack status", "  ")
    if not ended and not choice.left:
        click.echo("Nothing to deliver: no run has been logged yet.")
    return code


def exit_code(choice: Choice, ended: Sequence[Ended], damaged: Sequence[JournalEntry]) -> int:
    """0 all delivered; 3 something is still owed; 4 conflicts, rejected or damaged records need a look."""
    accounts = [account for one in ended for account in (*one.accounts, *one.models)]
    if len(ended) < len(choice.errands) or choice.left or any(not one.report.complete for one in ended):
        return EXIT_OWED
    if any(account.owed or account.parked for account in accounts):
        return EXIT_OWED
    if any(one.found.waiting or one.found.trouble for one in ended):
        return EXIT_OWED
    if damaged or any(account.conflicts or account.rejected for account in accounts):
        return EXIT_LOOK
    stuck = [result for one in ended for result in one.report.results.values() if result.conflicts or result.rejected]
    return EXIT_LOOK if stuck else 0


def _say_ended(one: Ended) -> None:
    progress, report = one.report.progress, one.report
    done = progress.delivered
    sums = Counter[str]()
    for account in (*one.accounts, *one.models):
        for column in ("owed", "conflicts", "rejected", "parked"):
            sums[column] += getattr(account, column)
    rate = f", {done / one.seconds:,.0f} records/s" if done and one.seconds else ""
    screen.prose(f"{one.address.remote}: {done:,} new records delivered in {one.seconds:.1f} s{rate}")
    new = {
        "point": progress.metrics,
        "param": progress.params,
        "tag": progress.tags,
        "input": progress.inputs,
        "output": progress.outputs,
        "file": progress.files,
        "run": progress.runs_created,
        "model": progress.models_created,
        "experiment": progress.experiments_created,
    }
    if done:
        screen.prose(", ".join(wording.count(number, kind) for kind, number in new.items() if number), "  ")
    if report.interrupted:
        click.echo("  Stopped before the end; what was delivered stays delivered.")
    elif report.stopped:
        screen.prose(f"Given up: {visible(report.stopped)}", "  ")
    _say_found(one)
    if sums["owed"] or sums["parked"]:
        click.echo(f"  Still owed: {sums['owed']:,} records; parked: {sums['parked']:,}.")
        _say_reasons(one)
        if report.still_coming:
            click.echo("  New records kept coming in while this ran.")
        click.echo("  -> localtrack sync again" + (", and localtrack conflicts" if sums["parked"] else ""))
    if sums["conflicts"] or sums["rejected"]:
        click.echo(f"  Conflicts: {sums['conflicts']:,}; rejected: {sums['rejected']:,}.")
        click.echo("  -> localtrack conflicts")


def _say_found(one: Ended) -> None:
    if one.found.waiting:
        files = wording.count(one.found.waiting, "file")
        click.echo(f"  Not yet: {files} still being written, or unreadable here.")
    if one.found.trouble:
        screen.prose(visible(one.found.trouble), "  ")


def _say_reasons(one: Ended) -> None:
    reasons = Counter(
        result.reason
        for result in one.report.results.values()
        if result.ending is not Ending.DELIVERED and result.reason
    )
    for reason, runs in reasons.most_common(REASONS):
        screen.prose(f"{visible(reason)} ({wording.count(runs, 'time')})", "  ")


def say_left(left: Left, what: str = "Not sent") -> None:
    """Say which runs go nowhere, why, and what to do about it."""
    screen.prose(f"{what}: {wording.runs_and_models(len(left.runs), len(left.models))}: {visible(left.reason)}", "")
    screen.prose(f"-> {left.hint}", "  ")


def _table(accounts: Sequence[RunAccount]) -> None:
    found = {kind for account in accounts for kind, _ in account.owed_by_kind}
    kinds = [kind for kind in KINDS if kind in ("param", "tag", "metric") or kind in found & {"input", "output"}]
    columns = [
        Column("run" if all(account.kind == "run" for account in accounts) else "run or model"),
        Column("name", least=10),
        Column("experiment", least=8, rank=1),
        *(Column(KINDS[kind], right=True) for kind in kinds),
    ]
    ids = screen.short_ids([account.run_id for account in accounts])
    rows = []
    for account in accounts:
        owed = dict(account.owed_by_kind)
        numbers = [f"{owed.get(kind, 0):,}" for kind in kinds]
        rows.append([ids[account.run_id], account.name, account.experiment, *numbers])
    screen.table(columns, rows, "  ")


def _remote(errand: Errand) -> dict[str, Any]:
    return {"remote": errand.address.remote.url, "workspace": errand.address.remote.workspace}


def _run_facts(account: RunAccount) -> dict[str, Any]:
    facts = asdict(account)
    facts["owed_by_kind"] = dict(account.owed_by_kind)
    del facts["kind"]
    if account.kind == "model":
        facts["model_id"], facts["remote_model_id"] = facts.pop("run_id"), facts.pop("remote_run_id")
    return facts


def _by_kind(accounts: Sequence[RunAccount]) -> dict[str, Any]:
    return {
        "runs": [_run_facts(account) for account in accounts if account.kind == "run"],
        "models": [_run_facts(account) for account in accounts if account.kind == "model"],
    }


def left_facts(left: Left) -> dict[str, Any]:
    """The same for --json."""
    return {
        "remote": left.remote, "reason": left.reason, "hint": left.hint, "runs": [run.run_id for run in left.runs],
        "models": [model.model_id for model in left.models],
    }  # fmt: skip


def _ended_facts(one: Ended) -> dict[str, Any]:
    progress, report = one.report.progress, one.report
    endings = {(result.kind, result.id): result for result in report.results.values()}
    told: dict[str, list[dict[str, Any]]] = {"run": [], "model": []}
    for account in (*one.accounts, *one.models):
        result = endings.get((account.kind, account.run_id))
        ending = {} if result is None else {"ending": result.ending.value, "reason": result.reason}
        told[account.kind].append({**_run_facts(account), **ending})
    return {
        "remote": one.address.remote.url, "workspace": one.address.remote.workspace,
        "new": {
            "records": progress.delivered, "points": progress.metrics, "params": progress.params,
            "tags": progress.tags, "inputs": progress.inputs, "outputs": progress.outputs, "files": progress.files,
            "runs": progress.runs_created, "models": progress.models_created,
            "experiments": progress.experiments_created,
        },
        "requests": progress.requests, "bytes": progress.bytes_sent, "seconds": round(one.seconds, 3),
        "passes": report.passes, "stopped": report.stopped, "interrupted": report.interrupted,
        "still_coming": report.still_coming, "files_waiting": one.found.waiting, "files_trouble": one.found.trouble,
        "runs": told["run"], "models": told["model"],
    }  # fmt: skip
