"""What went into a run and what came out of it: datasets, models, and the deprecated log_model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localtrack import inputs, values
from localtrack.entities import Metric
from localtrack.errors import TrackingError
from localtrack.inputs import DatasetRow
from localtrack.journal.ops import RunInputs, RunModelLogged, RunOutputs
from localtrack.service.known import KnownRun
from localtrack.service.log import Log


class Linked(Log):
    """Operations that link datasets and models to a run."""

    def log_inputs(self, run_id: str, datasets: object = None, models: object = None) -> None:
        """Record datasets and models that went into a run; the first input of a (name, digest), or of a model, counts.

        Args:
            run_id: an active run.
            datasets: DatasetInput objects (`dataset`, `tags`), or datasets themselves.
            models: LoggedModelInput objects, or model ids; as on a server they are not looked up.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE; then nothing was written.
        """
        rows = [_row(given) for given in inputs.each("datasets", datasets)]
        ids = inputs.model_inputs(models)
        self._link(self._active_run(run_id), rows, ids)

    def _link(self, run: KnownRun, rows: Sequence[DatasetRow], models: Sequence[str]) -> None:
        """Record the inputs that the run does not have yet."""
        first: dict[tuple[str, str], DatasetRow] = {}
        for row in rows:
            if (row[0], row[1]) not in run.datasets:
                first.setdefault((row[0], row[1]), row)
        new = tuple(model for model in models if model not in run.model_inputs)
        if not first and not new:
            return
        self.journal.append(RunInputs(run.run_id, tuple(first.values()), new))
        run.datasets.update(first)
        run.model_inputs.update(dict.fromkeys(new))

    def log_outputs(self, run_id: str, models: object) -> None:
        """Record models that came out of a run, each at one step.

        Args:
            run_id: an active run.
            models: LoggedModelOutput objects (`model_id`, `step`); as on a server they are not looked up.

        Raises:
            TrackingError: BAD_REQUEST for a model that is an output at another step already; RESOURCE_DOES_NOT_EXIST,
                or INVALID_PARAMETER_VALUE. Then nothing was written.
        """
        outputs = inputs.model_outputs(models)
        run = self._active_run(run_id)
        for model, step in outputs.items():
            known = run.model_outputs.get(model, step)
            if known != step:
                raise TrackingError(
                    f"Model {model} is an output of run {run.run_id} at step {known} already; it cannot be one at step "
                    f"{step} too",
                    "BAD_REQUEST",
                )
        new = {model: step for model, step in outputs.items() if model not in run.model_outputs}
        if new:
            self.journal.append(RunOutputs(run.run_id, tuple(new.items())))
            run.model_outputs.update(new)

    def log_model(self, run_id: str, model_json: object) -> None:
        """Append an entry to the run's tag mlflow.log-model.history: the deprecated form of logging a model.

        Args:
            run_id: an active run.
            model_json: MLmodel as JSON text or a dict, with artifact_path, flavors, utc_time_created and run_id.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, or INVALID_PARAMETER_VALUE.
        """
        entry = inputs.logged_model_entry(model_json)
        self.journal.append(RunModelLogged(self._active_run(run_id).run_id, entry))

    def log_measured(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        timestamp: int | None,
        step: int | None,
        models: Sequence[str | None],
        dataset: object = None,
    ) -> None:
        """Append points that were measured on a model or a dataset, and record both as inputs of the run.

        Args:
            run_id: an active run.
            metrics: names to numbers, as for log_metrics.
            timestamp: milliseconds since the epoch; None is now.
            step: int64; None is 0.
            models: each point is logged to each of them; None is the run alone. A model that is an output of the run is
                not made an input.
            dataset: what was measured on, or None; anything with `name` and `digest`, which stand beside the points.

        Raises:
            TrackingError: as log_metrics; then nothing was written.
        """
        numbers = values.named_numbers(metrics)
        ts = self._clock() if timestamp is None else values.timestamp("metrics", timestamp)
        at = 0 if step is None else values.step("metrics", step)
        run = self._active_run(run_id)
        known_models = [None if model is None else self._measured_model(model) for model in models]
        name, digest = values.dataset(getattr(dataset, "name", None), getattr(dataset, "digest", None))
        # A schema costs a look at every value: only of a dataset that the run does not have yet.
        known = not inputs.is_dataset(dataset) or (name, digest) in run.datasets
        rows = [] if known else [inputs.dataset_row(dataset)]
        self._link(run, rows, [model for model in known_models if model and model not in run.model_outputs])
        points = [
            Metric(key, value, ts, at, model, name, digest) for key, value in numbers.items() for model in known_models
        ]
        self._write(run, points, (), ())

    def model_outputs_at(self, run_id: str, step: object) -> list[str]:
        """The models that came out of a run at a step, in the order in which they did."""
        at = 0 if step is None else step
        return [model for model, when in self._active_run(run_id).model_outputs.items() if when == at]


def _row(given: object) -> DatasetRow:
    dataset = getattr(given, "dataset", None)
    return inputs.dataset_row(given) if dataset is None else inputs.dataset_row(dataset, getattr(given, "tags", ()))
