"""Which generator is the job of a kind. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from localtrack_sync.delivery.attach import EXPERIMENTS, experiments_job
from localtrack_sync.delivery.experiment_job import experiment_job
from localtrack_sync.delivery.model_job import model_job
from localtrack_sync.delivery.remote_job import remote_job
from localtrack_sync.delivery.run_job import run_job
from localtrack_sync.protocol.jobs import JobResult
from localtrack_sync.protocol.steps import Desk, Part
from localtrack_sync.verification.verify_experiment import VERIFY_EXPERIMENT, verify_experiment
from localtrack_sync.verification.verify_model import VERIFY_MODEL, verify_model
from localtrack_sync.verification.verify_run import VERIFY_RUN, verify_run

_Maker: TypeAlias = Callable[[Desk, str], Part[JobResult]]
_MAKERS: dict[str, _Maker] = {
    "run": run_job,
    "model": model_job,
    "remote": lambda desk, job_id: experiments_job(desk) if job_id == EXPERIMENTS else remote_job(desk),
    VERIFY_RUN: verify_run,
    VERIFY_MODEL: verify_model,
    VERIFY_EXPERIMENT: verify_experiment,
}


def job_of(desk: Desk, kind: str, job_id: str, *, needed: bool) -> Part[JobResult]:
    """The job of a kind; `needed`: see experiment_job."""
    if kind == "experiment":
        return experiment_job(desk, job_id, needed=needed)
    return _MAKERS[kind](desk, job_id)
