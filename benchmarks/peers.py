"""Training and scoring speed beside PyOD, pythae and a VAE wrapped by skorch.

Equal network (d-128-64-8-64-128-d, ReLU, Adam), batch size and epochs; one thread; CPU seconds
of the fit alone; runs alternate A B C A B C and the fastest of each is kept, because other work
on the machine only ever adds time.

    python benchmarks/peers.py [--rounds 3] [--output benchmarks/results/peers.md]

Peers that are not installed are left out and named (``pip install pyod pythae skorch``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

import skvae
from skvae import VAETransformer
from skvae.networks import MLP

CASES = ((32, 32, 4_000), (32, 128, 10_000), (32, 256, 20_000), (784, 256, 5_000))
N_EPOCHS = 3
HIDDEN = (128, 64)
N_COMPONENTS = 8
SCORED_ROWS = 20_000
SCORED_COLUMNS = 30


def table(n_rows: int, n_columns: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(n_columns, n_columns)) / np.sqrt(n_columns)
    return (rng.normal(size=(n_rows, n_columns)) @ mixing).astype(np.float32)


def ours(batch_size: int, **changed) -> VAETransformer:
    settings: dict = {
        "network": MLP(HIDDEN, "relu", linear_skip=False),
        "batch_size": batch_size,
        "max_iter": N_EPOCHS,
        "n_iter_no_change": N_EPOCHS,
        "random_state": 0,
    }
    return VAETransformer(N_COMPONENTS, **settings | changed)


def skvae_default(X: np.ndarray, batch_size: int):
    return ours(batch_size).fit(X)


def skvae_loop(X: np.ndarray, batch_size: int):
    # What the peers do: no rows held out, no linear start, no calibration after training.
    changed = dict(
        early_stopping=False, init="random", calibrate=False, view=None, weight_decay=0.0,
        clip_norm=None,
    )  # fmt: skip
    return ours(batch_size, **changed).fit(X)


def pyod(X: np.ndarray, batch_size: int):
    from pyod.models.vae import VAE

    return VAE(
        epoch_num=N_EPOCHS, batch_size=batch_size, encoder_neuron_list=list(HIDDEN),
        decoder_neuron_list=list(HIDDEN[::-1]), latent_dim=N_COMPONENTS, dropout_rate=0.0,
        capacity=None, verbose=0, device="cpu", preprocessing=False,
    ).fit(X)  # fmt: skip


def layers(*widths: int) -> list[nn.Module]:
    pairs = zip(widths, widths[1:], strict=False)
    return [m for n_in, n_out in pairs for m in (nn.Linear(n_in, n_out), nn.ReLU())]


def pythae(X: np.ndarray, batch_size: int):
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

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
        from pythae.data.datasets import BaseDataset

        rows = BaseDataset(torch.as_tensor(X), torch.zeros(len(X)))
        BaseTrainer(model=model, train_dataset=rows, training_config=settings).train()
    return model


class PlainVAE(nn.Module):
    """The module a skorch user would write."""

    def __init__(self, d: int):
        super().__init__()
        self.encoder = nn.Sequential(*layers(d, *HIDDEN), nn.Linear(HIDDEN[-1], 2 * N_COMPONENTS))
        trunk = layers(N_COMPONENTS, *HIDDEN[::-1])
        self.decoder = nn.Sequential(*trunk, nn.Linear(HIDDEN[0], d))

    def forward(self, x):
        loc, log_var = self.encoder(x).chunk(2, 1)
        z = loc + (0.5 * log_var).exp() * torch.randn_like(loc)
        return self.decoder(z), loc, log_var


class PlainLoss(nn.Module):
    """Squared error plus KL, nats per row."""

    def forward(self, output, x):
        reconstruction, loc, log_var = output
        kl = 0.5 * (loc.square() + log_var.exp() - 1 - log_var).sum(1)
        return (0.5 * (x - reconstruction).square().sum(1) + kl).mean()


def skorch(X: np.ndarray, batch_size: int):
    from skorch import NeuralNet

    net = NeuralNet(
        PlainVAE, criterion=PlainLoss, module__d=X.shape[1], optimizer=torch.optim.Adam,
        batch_size=batch_size, max_epochs=N_EPOCHS, lr=1e-3, train_split=None, verbose=0,
    )  # fmt: skip
    return net.fit(X, X)


TRAINERS: dict[str, Callable] = {
    "skvae (default)": skvae_default,
    "skvae (bare loop)": skvae_loop,
    "PyOD": pyod,
    "pythae": pythae,
    "skorch": skorch,
}


def installed() -> dict[str, Callable]:
    def there(name: str) -> bool:
        return name.startswith("skvae") or importlib.util.find_spec(name.lower()) is not None

    missing = [name for name in TRAINERS if not there(name)]
    if missing:
        print(f"Left out, not installed: {', '.join(missing)}")
    return {name: trainer for name, trainer in TRAINERS.items() if there(name)}


def cpu_seconds(function: Callable, *arguments) -> float:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        started = time.process_time()
        function(*arguments)
        return time.process_time() - started


def training(rounds: int) -> list[str]:
    trainers = installed()
    lines = ["| d, batch | " + " | ".join(trainers) + " | bare loop over best peer |"]
    lines.append("|---" * (len(trainers) + 2) + "|")
    for d, batch_size, n_rows in CASES:
        X = table(n_rows, d)
        best = dict.fromkeys(trainers, np.inf)
        for _ in range(rounds):
            for name, trainer in trainers.items():
                best[name] = min(best[name], cpu_seconds(trainer, X, batch_size))
        rates = {name: N_EPOCHS * n_rows / seconds for name, seconds in best.items()}
        peers = [rate for name, rate in rates.items() if not name.startswith("skvae")]
        ratio = f"{rates['skvae (bare loop)'] / max(peers):.1f}x" if peers else "-"
        cells = " | ".join(f"{rate:,.0f}" for rate in rates.values())
        lines.append(f"| {d}, {batch_size} | {cells} | {ratio} |")
        print(lines[-1], flush=True)
    return lines


def scoring(rounds: int) -> list[str]:
    X = table(SCORED_ROWS, SCORED_COLUMNS)
    fitted = ours(256).fit(X[:2000])
    calls: dict[str, Callable] = {
        f"skvae, {k} draw{'s' if k > 1 else ''}": lambda k=k: fitted.score_samples(X, n_draws=k)
        for k in (1, 16)
    }
    sizes = dict.fromkeys(calls, len(X))
    if importlib.util.find_spec("pyod"):
        from pyod.models.vae import VAE

        few = X[: SCORED_ROWS // 4]
        for size in (32, 4096):
            peer = VAE(
                epoch_num=1, encoder_neuron_list=list(HIDDEN), batch_size=size, verbose=0,
                decoder_neuron_list=list(HIDDEN[::-1]), latent_dim=N_COMPONENTS, device="cpu",
            )  # fmt: skip
            cpu_seconds(peer.fit, X[:4096])
            name = f"PyOD, batch {size}{' (its default)' if size == 32 else ''}"
            calls[name] = lambda peer=peer: peer.decision_function(few)
            sizes[name] = len(few)
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            best[name] = min(best[name], cpu_seconds(call))
    rates = {name: sizes[name] / seconds for name, seconds in best.items()}
    slowest = rates.get("PyOD, batch 32 (its default)")
    lines = ["| scoring, 30 columns | rows/s | over PyOD's default |", "|---|---|---|"]
    for name, rate in rates.items():
        lines.append(f"| {name} | {rate:,.0f} | {f'{rate / slowest:.1f}x' if slowest else '-'} |")
        print(lines[-1], flush=True)
    return lines


def found_versions():
    yield "skvae", skvae.__version__
    for name in ("torch", "scikit-learn", "pyod", "pythae", "skorch"):
        with contextlib.suppress(PackageNotFoundError):
            yield name, version(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {number}" for name, number in found_versions())
    text = [
        "# Speed beside other libraries",
        "",
        "`python benchmarks/peers.py`: rows per CPU second of the fit, one thread, equal network,",
        f"batch and epochs; best of {options.rounds} alternating rounds.",
        f"{versions}; Python {platform.python_version()}; {os.cpu_count()} cores, load {load:.1f} "
        "at the start.",
        "",
        "`skvae (default)` holds out rows, starts at the linear model, adds input noise and",
        "calibrates; `skvae (bare loop)` only trains, as the others do.",
        "",
        *training(options.rounds),
        "",
        *scoring(options.rounds),
    ]  # fmt: skip
    if options.output:
        options.output.write_text("\n".join(text) + "\n")
    else:
        print("\n".join(text))


if __name__ == "__main__":
    main()
