"""What is logged to a run: metrics, params, tags. Nothing here asks the catalog about a run that this process made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TypeVar

from localtrack import rules, values
from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import TrackingError
from localtrack.service.known import KnownRun
from localtrack.service.models import Models
from localtrack.service.runs import RUN_NAME_TAG

T = TypeVar("T")


class Log(Models):
    """Operations that log to a run."""

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: float,
        timestamp: int | None = None,
        step: int | None = None,
        model_id: str | None = None,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
    ) -> None:
        """Append one point to a metric.

        Args:
            run_id: an active run.
            key: name of the metric.
            value: a number, a bool, or a tensor or array of one number.
            timestamp: milliseconds since the epoch; None is now.
            step: int64; None is 0.
            model_id: a logged model of the store.
            dataset_name: with `dataset_digest`: the dataset that was measured on.
            dataset_digest: with `dataset_name`.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, BAD_REQUEST for an unknown model_id, else INVALID_PARAMETER_VALUE.
        """
        key = rules.key("metric", key)
        number = values.metric_value(key, value)
        ts = None if timestamp is None else values.timestamp(key, timestamp)
        at = 0 if step is None else values.step(key, step)
        dataset = values.dataset(dataset_name, dataset_digest)
        run = self._active_run(run_id)
        if model_id is not None:
            model_id = self._measured_model(model_id)
        if model_id is None and dataset == (None, None):
            self.journal.append_metric(run.run_id, key, number, ts, at)
        else:
            point = Metric(key, number, self._clock() if ts is None else ts, at, model_id, *dataset)
            self.journal.append_batch(run.run_id, [point], (), ())

    def log_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        timestamp: int | None = None,
        step: int | None = None,
        model_id: str | None = None,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
    ) -> None:
        """Append one point to each of several metrics, as one record (one for each 1000); arguments as for log_metric.

        Raises:
            TrackingError: as log_metric; then nothing was written.
        """
        numbers = values.named_numbers(metrics)
        ts = self._clock() if timestamp is None else values.timestamp("metrics", timestamp)
        at = 0 if step is None else values.step("metrics", step)
        name, digest = values.dataset(dataset_name, dataset_digest)
        run = self._active_run(run_id)
        if model_id is not None:
            model_id = self._measured_model(model_id)
        self._write(run, [Metric(key, value, ts, at, model_id, name, digest) for key, value in numbers.items()], (), ())

    def log_param(self, run_id: str, key: str, value: object) -> None:
        """Log a param, once: the same value again is fine.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE, also for another value than the one logged before.
        """
        self.log_all(run_id, params=(Param(key, value),))  # type: ignore[arg-type] # stringified when it is checked

    def set_tag(self, run_id: str, key: str, value: object) -> None:
        """Set a tag; the last writer wins. The tag mlflow.runName is the run's name."""
        self.log_all(run_id, tags=(RunTag(key, value),))  # type: ignore[arg-type] # stringified when it is checked

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag.

        Raises:
            TrackingError: RESOURCE_DOES_NOT_EXIST, also when the run has no such tag.
        """
        key = rules.key("tag", key)
        run = self._active_run(run_id)
        if key not in run.tags:
            found = self._ask(lambda catalog: catalog.run(run.run_id, refresh=False), None)
            if found is None or key not in found.data.tags:
                raise TrackingError(f"No tag with name: {key} in run with id {run.run_id}", "RESOURCE_DOES_NOT_EXIST")
        self.journal.append_batch(run.run_id, (), (), (), (key,))
        run.tags.pop(key, None)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Log metrics, params and tags as one record: all of it or nothing.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE; more than 1000 metrics, 100 params, 100 tags or 1000 in all.
        """
        _within("metrics", len(metrics), rules.ENTITIES_PER_REQUEST)
        _within("params", len(params), rules.PARAMS_PER_REQUEST)
        _within("tags", len(tags), rules.TAGS_PER_REQUEST)
        _within("metrics, params, and tags", len(metrics) + len(params) + len(tags), rules.ENTITIES_PER_REQUEST)
        self.log_all(run_id, metrics, params, tags)

    def log_all(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """Log any number of metrics, params and tags: checked as a whole, then written in records of a request's size.

        Raises:
            TrackingError: something is not acceptable; then nothing was written.
        """
        points = values.canonical(metrics) if metrics else ()
        new_params = self._params(params) if params else []
        new_tags = self._tags(tags) if tags else []
        run = self._active_run(run_id)
        for model_id in {point.model_id for point in points} - {None} if points is not metrics else ():
            self._measured_model(model_id)
        if not new_params:
            self._write(run, points, (), new_tags)
            return
        with self.known.lock:
            self._write(run, points, _unlogged(run, new_params), new_tags)

    def _params(self, params: Sequence[Param]) -> list[Param]:
        checked: dict[str, Param] = {}
        for key, value in _pairs("param", params):
            name = rules.key("param", key)
            if name in checked:
                raise TrackingError(
                    f"Duplicate parameter keys have been submitted: {name!r}. "
                    "A request can contain only one value per param key."
                )
            checked[name] = Param(name, rules.param_value(name, value, self._long))
        return list(checked.values())

    def _tags(self, tags: Sequence[RunTag]) -> list[RunTag]:
        checked = []
        for key, value in _pairs("tag", tags):
            name = rules.key("tag", key)
            text = rules.tag_value(name, value, self._long)
            if name == RUN_NAME_TAG and not text:
                raise TrackingError(f"The tag {RUN_NAME_TAG} is the run's name and cannot be empty")
            checked.append(RunTag(name, text))
        return checked

    def _write(self, run: KnownRun, metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]) -> None:
        for some_metrics, some_params, some_tags in _requests(metrics, params, tags):
            self.journal.append_batch(run.run_id, some_metrics, some_params, some_tags)
        for param in params:
            run.params[param.key] = param.value
        for tag in tags:
            run.tags[tag.key] = tag.value
            if tag.key == RUN_NAME_TAG:
                run.name = tag.value


def _unlogged(run: KnownRun, params: Sequence[Param]) -> list[Param]:
    """The params that the run does not have yet.

    Raises:
        TrackingError: the run has one of them with another value.
    """
    new = []
    for param in params:
        old = run.params.get(param.key)
        if old is None:
            new.append(param)
        elif old != param.value:
            raise TrackingError(
                f"Changing param values is not allowed. Param with key={param.key!r} was already logged with "
                f"value={rules.shown(old)} for run ID={run.run_id!r}. Attempted logging new value "
                f"{rules.shown(param.value)}.",
                hint="Log it under another key, or in a run of its own: start_run(nested=True).",
            )
    return new


def _pairs(kind: str, entities: Sequence[object]) -> Iterator[tuple[object, object]]:
    """Key and value of anything that has both, MLflow's own entities among them."""
    for entity in entities:
        if not (hasattr(entity, "key") and hasattr(entity, "value")):
            raise TrackingError(f"Not a {kind}: {rules.shown(entity)}")
        yield entity.key, entity.value


def _requests(
    metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
) -> Iterator[tuple[Sequence[Metric], Sequence[Param], Sequence[RunTag]]]:
    """Split as MLflow's client does: 100 params and 100 tags a request, metrics filling it up to 1000."""
    if len(metrics) + len(params) + len(tags) <= rules.PARAMS_PER_REQUEST:
        if metrics or params or tags:
            yield metrics, params, tags
        return
    done = 0
    for some_params, some_tags in zip_longest(
        _chunks(params, rules.PARAMS_PER_REQUEST), _chunks(tags, rules.TAGS_PER_REQUEST), fillvalue=()
    ):
        room = rules.ENTITIES_PER_REQUEST - len(some_params) - len(some_tags)
        yield metrics[done : done + room], some_params, some_tags
        done += room
    for some_metrics in _chunks(metrics[done:] if done else metrics, rules.ENTITIES_PER_REQUEST):
        yield some_metrics, (), ()


def _chunks(items: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    if len(items) <= length:
        if items:
            yield items
        return
    for begin in range(0, len(items), length):
        yield items[begin : begin + length]


def _within(what: str, given: int, limit: int) -> None:
    if given > limit:
        raise TrackingError(
            f"A batch logging request can contain at most {limit} {what}. Got {given} {what}. "
            f"Please split up {what} across multiple requests and try again."
        )
