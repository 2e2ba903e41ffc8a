"""Images as MLflow's log_image and log_table write them (mlflow/tracking/multimedia.py), with Pillow, lazily."""

from __future__ import annotations

import re
import sys
import uuid
from typing import Any

from localtrack import attention
from localtrack.artifacts.optional import library

#: Longest side of the small twin that MLflow's UI shows, pixels.
TWIN_PIXELS = 256
_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")
_KINDS = {"b": "bool", "i": "signed integer", "u": "unsigned integer", "f": "floating"}


def picture(image: object) -> Any:
    """A PIL image from one, from a numpy array (H x W or H x W x 1, 3 or 4), or from anything with `to_pil`.

    Raises:
        TypeError, ValueError: nothing that is an image.
        ModuleNotFoundError: Pillow is not installed.
    """
    if "numpy" in sys.modules and isinstance(image, sys.modules["numpy"].ndarray):
        return _from_array(image)
    if callable(to_pil := getattr(image, "to_pil", None)):
        return to_pil()
    if "PIL.Image" in sys.modules and isinstance(image, sys.modules["PIL.Image"].Image):
        return image
    raise TypeError(
        f"Unsupported image object type: {type(image)}. `image` must be one of numpy.ndarray, PIL.Image.Image, "
        "and mlflow.Image."
    )


def _from_array(array: Any) -> Any:
    image = library("PIL.Image", "Pillow", "Logging a numpy array as an image")
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"Invalid array data type: '{array.dtype}'. Must be one of {list(_KINDS.values())}")
    if array.ndim not in (2, 3):
        raise ValueError(f"`image` must be a 2D or 3D array but got image shape: {array.shape}")
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4):  # noqa: PLR2004 - channels
        raise ValueError(f"Invalid channel length: {array.shape[2]}. Must be one of [1, 3, 4]")
    if array.ndim == 3 and array.shape[2] == 1:  # noqa: PLR2004
        array = array[:, :, 0]
    return image.fromarray(_to_bytes(array))


def _to_bytes(array: Any) -> Any:
    """Integers 0 to 255 as they are; floats and bools 0 to 1 scaled to that, others scaled by their range."""
    whole = array.dtype.kind in "iu"
    low, high = array.min(), array.max()
    if low < 0 or high > (255 if whole else 1):
        if whole:
            raise ValueError(
                "Integer pixel values out of acceptable range [0, 255]. "
                f"Found minimum value {low} and maximum value {high}. "
                "Ensure all pixel values are within the specified range."
            )
        attention.warn(
            "Float pixel values out of acceptable range [0.0, 1.0]. "
            f"Found minimum value {low} and maximum value {high}. "
            "Rescaling values to [0.0, 1.0] with min/max scaler."
        )
        array = (array - low) / (high - low)
    return (array if whole else array * 255).astype("uint8")


def twin(image: Any) -> Any:
    """The same PIL image, its longer side 256 pixels."""
    width, height = image.size
    if width > height:
        return image.resize((TWIN_PIXELS, int(height * (TWIN_PIXELS / width))))
    return image.resize((int(width * (TWIN_PIXELS / height)), TWIN_PIXELS))


def names(key: str, step: int, timestamp: int) -> tuple[str, str]:
    """Paths of an image of a series and of its twin: MLflow's UI reads key, step and time out of them.

    Raises:
        ValueError: a key that MLflow refuses.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(
            "The `key` parameter may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), "
            f"and slashes (/). The provided key `{key}` contains invalid characters."
        )
    name = f"images/{key.replace('/', '~')}+step+{step}+timestamp+{timestamp}+{uuid.uuid4()}"
    return f"{name}.png", f"{name}+compressed.webp"


def names_in_table(artifact_file: str) -> tuple[str, str]:
    """Paths of an image in a table and of its twin."""
    name = f"table_images/{artifact_file.rpartition('.')[0]}/{uuid.uuid4()}"
    return f"{name}.png", f"{name}.webp"


def is_picture(value: object) -> bool:
    """Whether a cell of a table is an image, by what it can do, as MLflow asks."""
    can = callable(getattr(value, "save", None)) and callable(getattr(value, "resize", None))
    return can and hasattr(value, "size")
