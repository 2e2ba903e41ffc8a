from __future__ import annotations

import inspect
import re
from pathlib import Path

import localtrack
from localtrack import data
from localtrack.client import TrackingClient

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def rows(heading: str) -> set[str]:
    """The signatures in the first column of the table under a heading of docs/api.md."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([^`]+\))` \|", section, re.MULTILINE))


def signature(name: str, function: object) -> str:
    """Name, parameter names and defaults as the page writes them."""
    found = list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    texts = [one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in found]
    star = next((place for place, one in enumerate(found) if one.kind is one.KEYWORD_ONLY), None)
    if star is not None:
        texts.insert(star, "*")
    return f"{name}({', '.join(text for text in texts if text != 'self')})"


def test_the_page_lists_every_function() -> None:
    """docs/api.md has one row for each public function, with the signature that it has, and no other."""
    functions = {name: getattr(localtrack, name) for name in localtrack.__all__}
    expected = {signature(name, one) for name, one in functions.items() if inspect.isfunction(one)}
    assert rows("Module functions") == expected


def test_the_page_lists_every_dataset() -> None:
    """docs/api.md has one row for each way to make a dataset, with its signature, and no other."""
    makers = (data.from_pandas, data.from_numpy, data.MetaDataset)
    assert rows("Datasets") == {signature(one.__name__, one) for one in makers}


def test_the_page_lists_every_method() -> None:
    """docs/api.md has one row for each public method of TrackingClient, with its signature, and no other."""
    methods = inspect.getmembers(TrackingClient, inspect.isfunction)
    assert rows("TrackingClient") == {signature(name, one) for name, one in methods if not name.startswith("_")}


def test_all_names_exist() -> None:
    """Everything in __all__ is there, sorted, once."""
    assert all(hasattr(localtrack, name) for name in localtrack.__all__)
    assert sorted(set(localtrack.__all__)) == localtrack.__all__


def test_mlflows_names_lead_here() -> None:
    """The places that scripts import from exist under localtrack too."""
    from localtrack.entities import Metric, Param, RunTag, ViewType
    from localtrack.exceptions import MlflowException
    from localtrack.tracking import MlflowClient

    assert (localtrack.MlflowClient, localtrack.MlflowException) == (MlflowClient, MlflowException)
    assert localtrack.tracking.MlflowClient is localtrack.TrackingClient
    assert localtrack.exceptions.MlflowException is localtrack.TrackingError
    assert (Metric, Param, RunTag, ViewType) == (
        localtrack.Metric,
        localtrack.Param,
        localtrack.RunTag,
        localtrack.ViewType,
    )
