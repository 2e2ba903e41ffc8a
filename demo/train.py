"""Train small networks on scikit-learn's handwritten digits, and log every step. `python -m demo` starts it.

What it logs is what real training logs: a loss for each batch, accuracy and the precision of each digit for each epoch
(NaN while the network has not yet guessed that digit: a value that careless clients lose), params, tags, runs nested in
a sweep, and one run that diverges and ends FAILED.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss, precision_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import localtrack
from demo.witness import Witness

EPOCHS = 20
BATCH = 32
#: A cross entropy that no training comes back from (guessing among ten digits costs 2.3).
HOPELESS = 1e3


@dataclass(frozen=True)
class Settings:
    """What is tried: sizes of the hidden layers, learning rate."""

    layers: tuple[int, ...]
    rate: float

    @property
    def name(self) -> str:
        """A name for people."""
        return f"mlp-{'x'.join(map(str, self.layers))}-lr{self.rate:g}"


SWEEP = [Settings(layers, rate) for layers in ((32,), (64,), (128, 64)) for rate in (0.02, 0.1)] + [
    Settings((64,), 1e4)
]


class DivergedError(Exception):
    """The loss left every useful range."""


def train(settings: Settings, witness: Witness, data: list[np.ndarray]) -> float:
    """Train one network; returns its accuracy on the digits it has not seen."""
    inputs, unseen, labels, truth = data
    order = np.random.default_rng(0)
    network = MLPClassifier(settings.layers, solver="sgd", learning_rate_init=settings.rate, random_state=0)
    witness.log_params(
        {"layers": settings.layers, "learning_rate": settings.rate, "batch": BATCH, "epochs": EPOCHS, "solver": "sgd"}
    )
    step, accuracy = 0, 0.0
    for epoch in range(EPOCHS):
        shuffled = order.permutation(len(inputs))
        for start in range(0, len(shuffled), BATCH):
            batch = shuffled[start : start + BATCH]
            network.partial_fit(inputs[batch], labels[batch], classes=np.arange(10))
            witness.log_metric("train/loss", network.loss_, step)
            if network.loss_ > HOPELESS:
                witness.set_tag("diverged", f"epoch {epoch}")
                raise DivergedError
            step += 1
        likely = network.predict_proba(unseen)
        accuracy = float((likely.argmax(axis=1) == truth).mean())
        precision = precision_score(truth, likely.argmax(axis=1), average=None, zero_division=np.nan)
        witness.log_metrics({"test/accuracy": accuracy, "test/loss": float(log_loss(truth, likely))}, epoch)
        witness.log_metrics({f"test/precision/{digit}": float(p) for digit, p in enumerate(precision)}, epoch)
    return accuracy


def main(notes: str) -> None:
    """Train the sweep; write the witness's notes to `notes`."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # the run that diverges overflows: that is its part
    images, labels = load_digits(return_X_y=True)
    data = train_test_split(images / 16, labels, test_size=0.25, random_state=0, stratify=labels)
    witness = Witness()
    localtrack.set_experiment("digits")
    with witness.run("sweep", {"data": "sklearn.datasets.load_digits"}):
        witness.log_params({"tried": len(SWEEP), "seed": 0})
        best = 0.0
        for number, settings in enumerate(SWEEP):
            try:
                with witness.run(settings.name, {"kind": "mlp", "stage": "training"}):
                    best = max(best, train(settings, witness, data))
                    witness.set_tag("stage", "done")
            except DivergedError:
                print(f"  {settings.name:<22} diverged: its run ends FAILED", flush=True)
            else:
                print(f"  {settings.name:<22} best accuracy so far {best:.3f}", flush=True)
            witness.log_metric("best/accuracy", best, number)
    witness.save(notes)
    each_us = witness.seconds / witness.calls * 1e6
    print(f"  {witness.calls:,} logging calls took {witness.seconds:.2f} s of it, {each_us:.0f} us each", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
