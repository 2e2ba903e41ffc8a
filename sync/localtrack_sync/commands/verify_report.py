"""What `localtrack verify` says, in words and as JSON, and what it ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from localtrack.cli import screen, wording
from localtrack.cli.table import visible
from localtrack.store import Store
from localtrack_sync.commands.summary import EXIT_LOOK, EXIT_OWED, left_facts, say_left
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.shell.verify_session import UNVERIFIED, Verification, Verified
from localtrack_sync.store.choice import Choice

EXIT_DIFFERENT = 5
VERDICTS = ("equal", "different", "known", UNVERIFIED)
#: Kinds of findings that are about all of something.
WHOLE = ("run", "model", "experiment")
#: Findings of one run or experiment that are printed; JSON has all of them.
FINDINGS = 12
#: Different reasons that are listed for what could not be compared.
REASONS = 5


def told(store: Store, choice: Choice, done: Sequence[Verification], *, as_json: bool) -> int:
    """Say what was found. Returns the exit code."""
    code = exit_code(choice, done)
    if as_json:
        screen.document(
            {
                "schema": 1, "store": store.path, "exit_code": code,
                "remotes": [_facts(one) for one in done],
                "left": [left_facts(left) for left in choice.left],
            }
        )  # fmt: skip
        return code
    for one in done:
        _say(one)
    for left in choice.left:
        say_left(left, "Not compared")
    if not done and not choice.left:
        click.echo("Nothing to compare: no run has been logged yet.")
    return code


def exit_code(choice: Choice, done: Sequence[Verification]) -> int:
    """5: something differs; 3: something was not compared; 4: known differences; 0: equal."""
    verdicts = {verified.verdict for one in done for verified in one.verified}
    if "different" in verdicts:
        return EXIT_DIFFERENT
    stopped = any(one.report.stopped or one.report.interrupted for one in done)
    if UNVERIFIED in verdicts or stopped or choice.left:
        return EXIT_OWED
    return EXIT_LOOK if "known" in verdicts else 0


def _say(one: Verification) -> None:
    colour = "red" if _any(one, "different") else "yellow" if _any(one, "known") or _any(one, UNVERIFIED) else "green"
    click.echo(click.style(visible(str(one.address.remote)), bold=True))
    for kind in ("run", "model"):
        found = Counter(verified.verdict for verified in one.verified if verified.kind == kind)
        told = ", ".join(f"{found[verdict]:,} {verdict}" for verdict in VERDICTS if found[verdict])
        if told or kind == "run":
            noun = wording.count(found.total(), kind if kind == "run" else "logged model")
            click.echo("  " + click.style(f"{noun}: {told}" if told else noun, fg=colour))
    for verified in one.verified:
        if verified.verdict in ("different", "known"):
            _say_verified(one, verified)
    unverified = [verified for verified in one.verified if verified.verdict == UNVERIFIED]
    for reason, number in Counter(v.result.reason for v in unverified).most_common(REASONS):
        screen.prose(f"Not compared: {visible(reason)} ({number:,})", "  ")
    others = sum(f.standing is Standing.FOREIGN for v in one.verified for f in v.result.findings)
    if others:
        screen.prose(
            f"Others added {wording.count(others, 'record')} there; nothing of this store is missing for it.", "  "
        )
    for step in _next_steps(one):
        click.echo(f"  -> {step}")


def _say_verified(one: Verification, verified: Verified) -> None:
    identity = "" if verified.kind == "experiment" else f"  {visible(verified.id)}"
    click.echo("\n  " + click.style(f"{verified.kind} {visible(verified.name)}", bold=True) + identity)
    if verified.kind == "run" and verified.result.remote_id:
        click.echo(visible(f"    {one.address.remote.url}/#/runs/{verified.result.remote_id}"))
    findings = [finding for finding in verified.result.findings if finding.standing is not Standing.FOREIGN]
    findings.sort(key=lambda finding: finding.standing is Standing.KNOWN)
    for finding in findings[:FINDINGS]:
        screen.prose(visible(sentence(finding)), "    ")
    if len(findings) > FINDINGS:
        click.echo(f"    and {len(findings) - FINDINGS:,} more (--json lists them)")


def sentence(finding: Finding) -> str:
    """A finding in words."""
    name = f"{finding.kind} {finding.key}" if finding.key else finding.kind
    if finding.kind == "metric":
        told = _points(finding)
    elif finding.what == "missing":
        told = "is not there" + ("" if finding.kind in WHOLE else f"; here {_quoted(finding.ours)}")
    elif finding.what == "extra":
        told = f"is not here; there {_quoted(finding.theirs)}"
    elif finding.what == "twice":
        told = f"is there a second time, as {finding.theirs}"
    else:
        told = f"here {_quoted(finding.ours)}, there {_quoted(finding.theirs)}"
    reason = f" (known: {finding.reason})" if finding.standing is Standing.KNOWN else ""
    return f"{name}: {told}{reason}"


def _points(finding: Finding) -> str:
    points = wording.count(finding.count, "point")
    if finding.what == "missing":
        return f"{points} missing: {finding.ours}"
    if finding.what == "twice":
        return f"{points} stored more than once: {finding.theirs}"
    return f"{points} that this store does not have: {finding.theirs}"


def _quoted(value: str | None) -> str:
    return "nothing" if value is None else f"'{value}'"


def _any(one: Verification, verdict: str) -> bool:
    return any(verified.verdict == verdict for verified in one.verified)


def _next_steps(one: Verification) -> list[str]:
    """What to run: a sync for what was never delivered, a repair for what was and is not there."""
    differing = [verified for verified in one.verified if verified.verdict == "different"]
    to = f" --to {one.address.remote.url}"
    steps = []
    if any(verified.owed for verified in differing):
        steps.append(f"localtrack sync{to}")
    if any(not verified.owed for verified in differing):
        steps.append(f"localtrack sync --repair{to}")
    if _any(one, "known"):
        steps.append("localtrack conflicts")
    if _any(one, UNVERIFIED):
        steps.append("localtrack verify again")
    return steps


def _facts(one: Verification) -> dict[str, Any]:
    counts = Counter(verified.verdict for verified in one.verified if verified.kind == "run")
    return {
        "remote": one.address.remote.url, "workspace": one.address.remote.workspace,
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "requests": one.report.progress.requests, "seconds": round(one.seconds, 3),
        "stopped": one.report.stopped, "interrupted": one.report.interrupted,
        "experiments": [
            {
                "experiment_id": v.id, "name": v.name, "remote_experiment_id": v.result.remote_id, **_verdict(v),
            } for v in one.verified if v.kind == "experiment"
        ],
        "runs": [
            {
                "run_id": v.id, "name": v.name, "experiment": v.experiment, "remote_run_id": v.result.remote_id,
                "owed": v.owed, **_verdict(v),
            } for v in one.verified if v.kind == "run"
        ],
        "models": [
            {
                "model_id": v.id, "name": v.name, "experiment": v.experiment, "remote_model_id": v.result.remote_id,
                "owed": v.owed, **_verdict(v),
            } for v in one.verified if v.kind == "model"
        ],
    }  # fmt: skip


def _verdict(verified: Verified) -> dict[str, Any]:
    findings = [{**asdict(finding), "standing": finding.standing.value} for finding in verified.result.findings]
    return {"verdict": verified.verdict, "reason": verified.result.reason, "findings": findings}
