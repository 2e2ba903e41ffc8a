from __future__ import annotations

import os
import posixpath
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.artifacts import paths
from localtrack.errors import TrackingError

#: Texts made of what matters in paths, and any text.
PIECES = [
    "..",
    ".",
    "/",
    "\\",
    "C:",
    "a",
    "b.txt",
    "",
    "\0",
    "\n",
    " ",
    "con",
    "AUX.py",
    ".artifact.uploading.",
    "é",
    "~",
]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=40))


@given(TEXTS)
def test_what_passes_stays_below_its_directory(text: str) -> None:
    """A path that passes, joined to a directory by any system's rules, names a file below it, and itself."""
    if paths.reason_against(text) is not None:
        return
    joined = posixpath.normpath(posixpath.join("/root", text))
    assert joined == f"/root/{text}"
    assert not PurePosixPath(text).is_absolute()
    windows = PureWindowsPath("R:/root") / text
    assert windows.drive == "R:"
    assert ".." not in windows.parts
    assert windows.parts[:2] == ("R:\\", "root")
    assert "\0" not in text
    os.fsencode(text)


@given(TEXTS)
def test_normalising_ends_in_what_passes(text: str) -> None:
    """What artifact_file is normalised to passes the check unchanged, or the text is refused."""
    try:
        normal = paths.normal(text)
    except TrackingError:
        return
    assert paths.checked(normal) == normal == paths.normal(normal)


#: Each of them could leave the directory, or is nothing that every store can keep.
BAD: list[object] = [
    *("", "/a", "//a", "..", "../a", "a/../b", "a/..", "..a", "a//b", "a/", "./a", "a/.", "."),
    *("a\\b", "\\\\host\\x", "C:a", "C:/a", "d/C:/a", "a\0b", "a\nb", "\x7f", "\ud800"),
    *(".artifact.uploading.x", "d/.artifact.uploading.x/f", "x" * 256, "é" * 128, "a/" * 1024 + "a"),
    *(None, 1, b"a"),
]


@pytest.mark.parametrize("path", BAD)
def test_refused(path: object) -> None:
    """Each form that could leave the directory, or that no store can keep, is INVALID_PARAMETER_VALUE."""
    with pytest.raises(TrackingError) as caught:
        paths.checked(path)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("path", ["a", "a/b.txt", ".a", "a b", "50%", "a#b", "con", "aux.py", "x" * 255, "ünï/日本"])
def test_taken(path: str) -> None:
    """Ordinary names pass, also such as Windows reserves, on other systems."""
    assert paths.checked(path) == path


@pytest.mark.parametrize("path", ["con", "CON.txt", "d/aux.py", "lpt1", "com¹", "a.", "a ", "a?b", "a:b"])
def test_reserved_on_windows(path: str) -> None:
    """Names that Windows keeps for devices, or cannot store, are refused there and only there."""
    assert paths.reason_against(path, windows=True) is not None
    assert paths.reason_against(path, windows=False) is None or path == "a:b"


def test_ids_of_foreign_journals_are_single_parts() -> None:
    """An id of a run or experiment that is a path is refused before it names a directory."""
    for name in ("../..", "a/b", "/etc", ""):
        with pytest.raises(TrackingError):
            paths.part(name)
    assert paths.part("0123abcd") == "0123abcd"


def test_path_objects_are_taken() -> None:
    """A pathlib path is taken for its text, as in MLflow."""
    assert paths.below(PurePosixPath("a/b"), "c") == "a/b/c"
    assert paths.normal(PurePosixPath("x/y.txt")) == "x/y.txt"
