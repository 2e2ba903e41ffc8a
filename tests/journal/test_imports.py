"""What the journal loads: training code pays for it at every start."""

from __future__ import annotations

from tests.journal.processes import run

HEAVY = (
    "asyncio",
    "ctypes",
    "hashlib",
    "http",
    "logging",
    "multiprocessing",
    "platform",
    "shutil",
    "socket",
    "tempfile",
    "uuid",
)


def test_the_writer_is_light(tmp_path: object) -> None:
    """Importing the writer and logging loads none of the heavy modules of the standard library."""
    script = f"""
journal = journal_of(store)
journal.append(CREATE)
for step in range(10):
    journal.append_metric(RUN, "loss", 1.0, None, step)
journal.flush(sync=True)
journal.close()
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    assert run(script, tmp_path, options=("-I",)).stdout.split() == []
