"""Latents in groups on MNIST, at equal CPU time: a plain VAE, a ladder, and NVAE of a CPU's size.

    python benchmarks/ladder.py --data ../shared/data [--rows 5000] [--seconds 200]

``results/ladder.csv`` has one line per model; ``results/ladder.md`` is written from it
(``--report`` writes it alone).  Without ``--data`` or ``SKVAE_DATA`` nothing is measured.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
import warnings
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, one_thread

from _report import cpu_name, markdown_table, paragraphs, versions  # isort: skip

import numpy as np  # isort: skip
import pandas as pd  # isort: skip

KEPT = RESULTS / "ladder.csv"
N_TEST, N_DRAWS, SEED = 300, 32, 0
# Rows that tell what an epoch costs.
N_TIMED, LEAST_SECONDS = 320, 1.0
SHARE_OF_WARM_UP = 0.3


def images(folder: Path, name: str) -> np.ndarray:
    raw = gzip.open(folder / "images/mnist" / f"{name}-images-idx3-ubyte.gz").read()
    return np.frombuffer(raw, np.uint8, -1, 16).reshape(-1, 784) / 255.0


def models() -> dict:
    """Each model as a function of its number of epochs."""
    from skvae import VAETransformer
    from skvae.networks import MLP, Convolutional, ResidualConvolutional
    from skvae.objectives import ELBO
    from skvae.penalties import SpectralNorm
    from skvae.posteriors import Ladder, ResidualLadder

    layers = MLP((200, 200))
    deep = ResidualConvolutional((28, 28), channels=(16, 32, 32))

    def model(n_components, **parameters):
        def of(n_epochs: int):
            # With one group there is nothing to balance, and the warm-up is the same.
            objective = ELBO(warm_up=SHARE_OF_WARM_UP * n_epochs, balance=True)
            settings = {"likelihood": "bernoulli", "view": "binarized", "prior": "normal"}
            settings |= {"batch_size": 64, "random_state": SEED, "max_iter": n_epochs}
            settings |= {"calibrate": False, "objective": objective}
            return VAETransformer(n_components, **settings | parameters)

        return of

    hot = {"learning_rate_init": 0.01}
    return {
        "VAE, layers": model(50, network=layers),
        "ladder, layers, 2 groups": model(50, network=layers, posterior=Ladder(2)),
        "VAE, convolutions": model(50, network=Convolutional((28, 28))),
        "VAE, residual, 1 group": model(48, network=deep, **hot),
        "NVAE, 4 groups": model(
            deep.n_places(4), network=deep, posterior=ResidualLadder(4),
            penalty=SpectralNorm(0.01), **hot,
        ),
    }  # fmt: skip


def seconds(vae, rows) -> float:
    started = time.process_time()
    vae.fit(rows)
    return time.process_time() - started


def measured(name: str, of, train, test, budget: float) -> dict:
    # What more epochs add, whatever the start costs; of few rows where an epoch is long.
    for rows, more in ((train[:N_TIMED], 3), (train, 9)):
        added = seconds(of(more), rows) - seconds(of(1), rows)
        epoch = max(added, 1e-3) / (more - 1) * len(train) / len(rows)
        if added > LEAST_SECONDS:
            break
    n_epochs = max(int(budget / epoch), 2)
    vae = of(n_epochs)
    spent = seconds(vae, train)
    groups = vae.diagnostics_.get("kl_per_group", [vae.diagnostics_["kl_per_latent"].sum()])
    scores = vae.score_samples(test, N_DRAWS)
    return {
        "model": name,
        "latents": vae.n_components,
        "rows": len(train),
        "epochs": vae.n_iter_,
        "seconds": spent,
        "nats": -scores.mean(),
        "error": scores.std() / len(test) ** 0.5,
        "groups": " ".join(f"{nats:.1f}" for nats in groups),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    if chosen.report:
        return report()
    if chosen.data is None:
        return print("No data: pass --data or set SKVAE_DATA.")
    warnings.simplefilter("ignore")
    one_thread()
    train = images(Path(chosen.data), "train")[: chosen.rows]
    test = images(Path(chosen.data), "t10k")[:N_TEST]
    test = (np.random.default_rng(SEED).random(test.shape) < test).astype(np.float32)
    for name, of in models().items():
        if chosen.models and name not in chosen.models:
            continue
        line = measured(name, of, train, test, chosen.seconds)
        print(line, flush=True)
        known = pd.read_csv(KEPT) if KEPT.exists() else pd.DataFrame(columns=list(line))
        known = pd.concat([known[known.model != name], pd.DataFrame([line])])
        known.to_csv(KEPT, index=False)
        report()


def report() -> None:
    lines = pd.read_csv(KEPT)
    header = ["model", "latents", "epochs", "CPU s", "-log p(x)", "nats per group, top first"]
    rows = [
        [
            line.model, str(line.latents), str(line.epochs), f"{line.seconds:.0f}",
            f"{line.nats:.1f} ± {line.error:.1f}", str(line.groups),
        ]
        for line in lines.itertuples()
    ]  # fmt: skip
    text = f"""
    MNIST, the first {lines.rows.iloc[0]:,} rows, pixels drawn anew from their grey values whenever
    a row is trained on; the first {N_TEST} test rows drawn once, the same for all. Nats per row,
    lower is better; log p(x) by {N_DRAWS} importance-weighted draws, with the standard error of a
    mean over rows (that of a difference between models is far smaller). One seed. Every model has
    the same CPU time on one thread: as many epochs as fit into it, judged on 15 % of the rows held
    out.

    Layers are 784-200-200 and back; convolutions those of `Convolutional((28, 28))`; residual
    networks `ResidualConvolutional((28, 28), channels=(16, 32, 32))`, whose groups lie on maps of
    4 by 4 and 7 by 7 places. NVAE is `posterior=ResidualLadder(4)` with
    `penalty=SpectralNorm(0.01)`. All have `prior="normal"`, no calibration, and a warm-up over
    {SHARE_OF_WARM_UP:.0%} of the epochs, which balances groups where there are several. Seconds
    and minutes on a CPU say little about what deep networks reach after hours on GPUs.
    """
    body = [*markdown_table(header, rows), "", f"{versions()}. {cpu_name()}, one thread."]
    text = "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
    page = ["# Latents in groups on MNIST", "", *paragraphs(text), *body]
    KEPT.with_suffix(".md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
