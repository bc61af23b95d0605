"""Training speed beside other libraries, and of stacks of several widths."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
from _common import (
    HIDDEN,
    N_COMPONENTS,
    bare,
    best_of,
    cpu_seconds,
    default,
    found_peers,
    missing_peers,
    one_thread,
    quietly,
    step_products,
    table,
)
from _report import markdown_table, paragraphs

# Columns, batch size, rows.
CASES = ((32, 32, 4_000), (32, 128, 10_000), (32, 256, 20_000), (784, 256, 5_000))
N_EPOCHS = 10
BARE, GENERAL = "skvae, bare loop", "skvae, general road"
UNKNOWN = "skvae, unknown cells"
RELU, DEFAULT = "skvae, defaults with ReLU", "skvae, defaults"

WIDTHS = (1, 2, 5, 10, 20, 60)
STACK_BATCHES = (32, 128, 256)
STACK_ROWS, STACK_COLUMNS = 4_096, 32


def pyod(X: np.ndarray, batch_size: int) -> None:
    from pyod.models.vae import VAE

    detector = VAE(
        epoch_num=N_EPOCHS, batch_size=batch_size, encoder_neuron_list=list(HIDDEN),
        decoder_neuron_list=list(HIDDEN[::-1]), latent_dim=N_COMPONENTS, dropout_rate=0.0,
        capacity=None, verbose=0, device="cpu", preprocessing=False, optimizer_params={},
    )  # fmt: skip
    # Its fit ends with scoring the training rows, which nobody else here does.
    detector.decision_function = lambda X: np.zeros(len(X))
    detector.fit(X)


def pythae(X: np.ndarray, batch_size: int) -> None:
    import torch
    from _plain import layers
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    d = X.shape[1]

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(*layers(d, *HIDDEN))
            self.loc = nn.Linear(HIDDEN[-1], N_COMPONENTS)
            self.log_var = nn.Linear(HIDDEN[-1], N_COMPONENTS)

        def forward(self, x):
            h = self.trunk(x.flatten(1))
            return ModelOutput(embedding=self.loc(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            trunk = layers(N_COMPONENTS, *HIDDEN[::-1])
            self.net = nn.Sequential(*trunk, nn.Linear(HIDDEN[0], d))

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z))

    config = VAEConfig(input_dim=(d,), latent_dim=N_COMPONENTS, reconstruction_loss="mse")
    model = VAE(config, Encoder(), Decoder())
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder, num_epochs=N_EPOCHS, learning_rate=1e-3, no_cuda=True,
            per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size,
        )  # fmt: skip
        rows = BaseDataset(torch.as_tensor(X), torch.zeros(len(X)))
        BaseTrainer(model=model, train_dataset=rows, training_config=settings).train()


def skorch(X: np.ndarray, batch_size: int) -> None:
    import torch
    from _plain import PlainLoss, PlainVAE
    from skorch import NeuralNet

    net = NeuralNet(
        PlainVAE, criterion=PlainLoss, module__d=X.shape[1], module__n_components=N_COMPONENTS,
        optimizer=torch.optim.Adam, batch_size=batch_size, max_epochs=N_EPOCHS, lr=1e-3,
        train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(X, X)


def relu_network():
    from skvae.networks import MLP

    return MLP(HIDDEN, "relu", linear_skip=False)


def unknown_cells(X: np.ndarray, batch_size: int) -> None:
    """The bare loop for a likelihood that the written-out step does not know."""
    from skvae.likelihoods import Normal

    class Unknown(Normal):
        pass

    bare(batch_size, N_EPOCHS, likelihood=Unknown(scale=1.0)).fit(X)


def unknown_objective():
    """A component that stands between encoder and decoder, and is not known."""
    from skvae.objectives import ELBO

    class Unknown(ELBO):
        pass

    return Unknown()


def general(X: np.ndarray, batch_size: int) -> None:
    bare(batch_size, N_EPOCHS, objective=unknown_objective()).fit(X)


TRAINERS: dict[str, Callable] = {
    BARE: lambda X, batch_size: bare(batch_size, N_EPOCHS).fit(X),
    UNKNOWN: unknown_cells,
    GENERAL: general,
    RELU: lambda X, batch_size: default(batch_size, N_EPOCHS, network=relu_network()).fit(X),
    DEFAULT: lambda X, batch_size: default(batch_size, N_EPOCHS).fit(X),
    "PyOD": pyod,
    "pythae": pythae,
    "skorch": skorch,
}

TRAINING_NOTES = f"""
Rows per CPU second of `fit`, {N_EPOCHS} epochs: network d-128-64-8-64-128-d, ReLU, Adam, equal
batches. In brackets the share of the floor, which is the 17 matrix products of one step alone,
each by NumPy, torch or oneDNN, whichever is faster.

`bare loop` only trains, with a fixed noise, as the others do; `unknown cells` is the same with a
likelihood of another class, which is differentiated automatically on its own columns, and
`general road` with an objective of another class, which leaves all between and behind the networks
to automatic differentiation.
`defaults` also learns the noise, holds out 15 % of the rows and judges every epoch by them, adds
noise to the inputs, clips, decays, starts at the linear model and calibrates in the end; it is
given once with the network of the others and once with its own, SiLU and a linear path around the
layers. All rows of the table count, those held out as well.
PyOD is spared the scoring of the training rows at the end of its `fit`.
"""


def training(rounds: int) -> list[str]:
    return [*paragraphs(TRAINING_NOTES), missing_peers(), "", *training_table(rounds)]


def training_table(rounds: int) -> list[str]:
    one_thread()
    peers = found_peers()
    names = [BARE, UNKNOWN, GENERAL, RELU, DEFAULT, *peers]
    for name in names:
        # What is imported and set up on first use is no part of the rate.
        quietly(TRAINERS[name], table(256, 32), 32)
    labels = ["floor", *names]
    if peers:
        labels += [f"{name}, over the best peer" for name in (BARE, DEFAULT)]
    rows = [[label] for label in labels]
    for d, batch_size, n_rows in CASES:
        X = table(n_rows, d)
        floor = step_products(d, batch_size)
        calls = {
            name: lambda name=name, X=X, b=batch_size: cpu_seconds(TRAINERS[name], X, b)
            for name in names
        }
        best = best_of(rounds, {"floor": floor, **calls})
        limit = batch_size / best.pop("floor")
        rates = {name: N_EPOCHS * n_rows / seconds for name, seconds in best.items()}
        cells = [f"{limit:,.0f}", *(f"{r:,.0f} ({r / limit:.0%})" for r in rates.values())]
        if peers:
            fastest = max(rates[name] for name in peers)
            cells += [f"{rates[name] / fastest:.2f}x" for name in (BARE, DEFAULT)]
        for row, cell in zip(rows, cells):
            row.append(cell)
        print(f"d={d}, batch {batch_size}:", " | ".join(cells), flush=True)
    header = ["", *(f"d={d}, batch {batch_size}" for d, batch_size, _ in CASES)]
    return markdown_table(header, rows)


MIXED_ROWS, MIXED_EPOCHS = 5_000, 20
# Numbers, counts, flags, and the sizes of the categories.
MIXED_TABLES = {
    "15 numbers": (15, 0, 0, ()),
    "14 numbers, 1 category": (14, 0, 0, (6,)),
    "10 numbers, 5 flags": (10, 0, 5, ()),
    "3 numbers, 3 counts, 9 categories": (3, 3, 0, (7, 16, 7, 15, 6, 5, 2, 42, 2)),
}

MIXED_NOTES = f"""
Rows per CPU second of `fit` with all defaults, {MIXED_EPOCHS} epochs of {MIXED_ROWS:,} rows of 15
columns that go together. In brackets what part that is of the rate of numbers alone. `general
road` is with an objective of another class, as in the section on training.
"""


def mixed_table(n_numbers: int, n_counts: int, n_flags: int, sizes: tuple[int, ...]):
    import pandas as pd

    rng = np.random.default_rng(0)
    factors = rng.normal(size=(MIXED_ROWS, 3))

    def score(width: int = 1) -> np.ndarray:
        noise = rng.gumbel(size=(MIXED_ROWS, width))
        return np.squeeze(factors @ rng.normal(size=(3, width)) + noise, 1 if width == 1 else ())

    columns: dict = {f"number_{i}": score() for i in range(n_numbers)}
    columns |= {f"count_{i}": rng.poisson(np.exp(score() / 3)) for i in range(n_counts)}
    columns |= {f"flag_{i}": score() > 0.5 for i in range(n_flags)}
    columns |= {f"category_{i}": score(n).argmax(1).astype(str) for i, n in enumerate(sizes)}
    return pd.DataFrame(columns)


def mixed(rounds: int) -> list[str]:
    one_thread()
    ways = {DEFAULT: {}, GENERAL: {"objective": unknown_objective()}}
    rows: list[list[str]] = [[way] for way in ways]
    first: dict[str, float] = {}
    for label, kinds in MIXED_TABLES.items():
        X = mixed_table(*kinds)
        calls = {
            way: lambda X=X, changed=changed: cpu_seconds(
                default("auto", MIXED_EPOCHS, n_iter_no_change=MIXED_EPOCHS, **changed).fit, X
            )
            for way, changed in ways.items()
        }
        quietly(default("auto", 1).fit, X)
        for row, (way, seconds) in zip(rows, best_of(rounds, calls).items()):
            rate = MIXED_EPOCHS * MIXED_ROWS / seconds
            row.append(f"{rate:,.0f} ({rate / first.setdefault(way, rate):.0%})")
        print(label, " | ".join(row[-1] for row in rows), flush=True)
    return [*paragraphs(MIXED_NOTES), *markdown_table(["", *MIXED_TABLES], rows)]


STACK_NOTES = f"""
Rows times members per CPU second while `n_members` models of {STACK_COLUMNS} columns are trained
as one stack, by the bare loop of the section on training ({STACK_ROWS:,} rows). In brackets the
rate over that of one member alone. The search cuts its stacks by `max_stack_bytes`.
"""


def stacks(rounds: int) -> list[str]:
    one_thread()
    X = table(STACK_ROWS, STACK_COLUMNS)
    quietly(bare(256, 1).fit, X)
    rows = []
    for batch_size in STACK_BATCHES:
        # As many steps for narrow stacks as make building the models cheap beside training them.
        epochs = {width: max(60 // width, 2) for width in WIDTHS}
        calls = {
            str(m): lambda m=m, n=n, b=batch_size: cpu_seconds(bare(b, n, n_members=m).fit, X)
            for m, n in epochs.items()
        }
        best = best_of(rounds, calls)
        rates = [m * n * STACK_ROWS / best[str(m)] for m, n in epochs.items()]
        rows.append([str(batch_size), *(f"{r:,.0f} ({r / rates[0]:.1f}x)" for r in rates)])
        print(" | ".join(rows[-1]), flush=True)
    header = ["batch", *(f"{m} member{'s' * (m > 1)}" for m in WIDTHS)]
    return [*paragraphs(STACK_NOTES), *markdown_table(header, rows)]
