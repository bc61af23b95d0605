"""log p(x) on MNIST under dynamic binarisation, beside pythae: the one-layer table of IWAE.

    python benchmarks/density.py --data ../shared/data --peers-python PYTHON   # the short run
    python benchmarks/density.py --data ../shared/data --epochs 3280 --batch-size 20

PYTHON is the interpreter of an environment with pythae; without it ours runs alone, and without
``--data`` or ``SKVAE_DATA`` nothing does.  ``results/density.csv`` has one line per library,
method and number of epochs; what is there already is not measured again, and ``density.md`` is
written from it (``--report`` writes it alone).
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import time
import warnings
from pathlib import Path

# Before NumPy and torch are imported: they read these once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd
from _common import one_thread
from _density_estimate import log_marginal
from _peer_process import PeerProcess
from _report import cpu_name, markdown_table, paragraphs, versions

RESULTS = Path(__file__).parent / "results" / "density"
HIDDEN, N_LATENTS, RATE, SEED = (200, 200), 50, 1e-3, 0
# Draws per test row, and how many of the rows, the first ones, are judged by so many.
ESTIMATES = [(200, 10_000), (5_000, 500)]
DRAWS = {"VAE": 1, "IWAE-5": 5, "IWAE-50": 50}
# Burda et al. 2016, table 1: 3280 epochs, batches of 20, 5000 draws.
PUBLISHED = {"VAE": 86.76, "IWAE-5": 85.54, "IWAE-50": 84.78}
KEYS = ["library", "method", "epochs", "batch_size"]


def images(folder: Path, name: str) -> np.ndarray:
    raw = gzip.open(folder / "images/mnist" / f"{name}-images-idx3-ubyte.gz").read()
    return np.frombuffer(raw, np.uint8, -1, 16).reshape(-1, 784)


def by_skvae(train, test, job) -> tuple[float, dict]:
    """The bare model of the paper: nothing that ``fit`` otherwise adds."""
    from skvae import VAETransformer
    from skvae.networks import MLP
    from skvae.objectives import ELBO, IWAE
    from skvae.views import Binarized

    vae = VAETransformer(
        N_LATENTS,
        objective=ELBO() if job["n_draws"] == 1 else IWAE(n_draws=job["n_draws"]),
        prior="normal",
        likelihood="bernoulli",
        view=Binarized(),
        network=MLP(HIDDEN, "tanh", linear_skip=False),
        init="random",
        calibrate=False,
        weight_decay=0.0,
        early_stopping=False,
        batch_size=job["batch_size"],
        learning_rate_init=RATE,
        max_iter=job["epochs"],
        random_state=SEED,
    )
    return _fitted(vae, train, test, job)


def by_default(train, test, job) -> tuple[float, dict]:
    """The same widths, and all else as ``fit`` comes but for the epochs."""
    from skvae import VAETransformer
    from skvae.views import Binarized

    vae = VAETransformer(
        N_LATENTS, objective="elbo", likelihood="bernoulli", view=Binarized(),
        hidden_layer_sizes=HIDDEN, max_iter=job["epochs"], random_state=SEED,
    )  # fmt: skip
    return _fitted(vae, train, test, job)


def _fitted(vae, train, test, job) -> tuple[float, dict]:
    grey = (train / 255).astype(np.float32)
    started = time.process_time()
    vae.fit(grey)
    seconds = time.process_time() - started
    found = {}
    plain = vae.prior == "normal"
    for n_draws, n_rows in job["estimates"]:
        rows = test[:n_rows]
        if not plain:
            found[f"draws_{n_draws}"] = vae.score_samples(rows, n_draws=min(n_draws, 1000))
            continue
        found[f"draws_{n_draws}"] = log_marginal(*_halves(vae, rows), n_draws)
    return seconds, found


def _halves(vae, rows):
    """Encoder, decoder and rows, as the fitted module sees them."""
    import torch

    # Pixels that are 0 in all rows of ``fit`` are none of the model's.
    modelled, rows = vae.vae_, rows[:, vae.codec_.modelled_index_]
    ends = np.zeros((2, rows.shape[1]), np.float32)
    ends[1] = 1.0
    zero, one = torch.as_tensor(vae.codec_.inputs(ends, None))

    def encode(x):
        found = modelled.infer((zero + x * (one - zero))[None, None])
        return found.mean[0, 0], found.stddev[0, 0].log()

    def decode(z):
        return modelled.decoded(z[None, None])[0, 0]

    return encode, decode, rows


class Peer(PeerProcess):
    """pythae in an environment of its own."""

    script = "_density_peer.py"

    def __call__(self, train, test, job) -> tuple[float, dict]:
        data, out = self.path("data"), self.path("out")
        if not Path(data).exists():
            np.savez(data, train=train, test=test)
        more = {"hidden": HIDDEN, "n_latents": N_LATENTS, "rate": RATE, "seed": SEED}
        seconds = self.ask({**job, **more, "data": data, "out": out})
        return seconds, dict(np.load(out))


def known() -> pd.DataFrame:
    file = RESULTS.with_suffix(".csv")
    return pd.read_csv(file) if file.exists() else pd.DataFrame(columns=KEYS)


def keep(line: dict) -> None:
    lines = pd.concat([known(), pd.DataFrame([line])], ignore_index=True)
    lines = lines.drop_duplicates(KEYS, keep="last")
    RESULTS.parent.mkdir(exist_ok=True)
    lines.to_csv(RESULTS.with_suffix(".csv"), index=False, float_format="%.4f")


def measured(library: str, call, train, test, job) -> dict:
    seconds, scores = call(train, test, job)
    line = {"library": library, **{key: job[key] for key in KEYS[1:]}}
    line["seconds_per_epoch"] = seconds / job["epochs"]
    for name, values in scores.items():
        line[f"nats_{name}"] = -values.mean()
        line[f"error_{name}"] = values.std(ddof=1) / np.sqrt(len(values))
    (few, _), (many, n_rows) = job["estimates"]
    gain = scores[f"draws_{many}"] - scores[f"draws_{few}"][:n_rows]
    return line | {"gain": gain.mean(), "gain_error": gain.std(ddof=1) / np.sqrt(n_rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--epochs", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--methods", nargs="+", choices=DRAWS, default=["VAE", "IWAE-5"])
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    if chosen.data is None or chosen.report:
        return report() if chosen.report else print("No data: pass --data or set SKVAE_DATA.")
    warnings.simplefilter("ignore")
    one_thread()
    folder = Path(chosen.data)
    train, test = images(folder, "train"), images(folder, "t10k")
    test = (np.random.default_rng(SEED).random(test.shape) < test / 255).astype(np.float32)
    with Peer(chosen.peers_python) as peer:
        calls = {"skvae": by_skvae} | ({"pythae": peer} if chosen.peers_python else {})
        first, *more = chosen.epochs
        # Libraries alternate; beyond the first number of epochs only the plain VAE goes on.
        plan = [(name, method, first) for method in chosen.methods for name in calls]
        plan += [("skvae, as it comes", "VAE", first)]
        plan += [(name, "VAE", epochs) for epochs in more for name in calls]
        calls["skvae, as it comes"] = by_default
        for name, method, epochs in plan:
            size = chosen.batch_size if name in ("skvae", "pythae") else 512
            there = known()
            if (there[KEYS] == [name, method, epochs, size]).all(1).any():
                continue
            job = {"method": method, "epochs": epochs, "batch_size": size}
            job |= {"n_draws": DRAWS[method], "estimates": ESTIMATES}
            line = measured(name, calls[name], train, test, job)
            print({key: round(v, 2) if isinstance(v, float) else v for key, v in line.items()})
            keep(line)
    report()


def report() -> None:
    lines = known()
    (few, n_all), (many, n_some) = ESTIMATES
    header = [
        "library", "method", "epochs", f"-log p(x), {few} draws", "what more draws would gain",
        "published, 3280 epochs", "CPU s per epoch",
    ]  # fmt: skip
    rows = [
        [
            line.library, line.method, str(line.epochs), f"{line[f'nats_draws_{few}']:.2f}",
            f"{line.gain:.2f} ± {line.gain_error:.2f}", f"{PUBLISHED[line.method]:.2f}",
            f"{line.seconds_per_epoch:.1f}",
        ]
        for _, line in lines.iterrows()
    ]  # fmt: skip
    text = f"""
    MNIST, pixels drawn anew from their grey values for every batch; 60,000 rows to train on; the
    {n_all:,} test rows drawn once, the same for all. Nats per row, lower is better. A short run
    on one CPU core, not the schedule of the paper (3280 epochs in batches of 20, the step size
    falling from 1e-3 to 1e-4), whose figures stand beside it for orientation alone: nothing here
    says whether they are reached. The network is the paper's, 784-200-200-50 and back, tanh; both
    libraries take batches of {int(lines.batch_size.iloc[0])} and Adam with a step size of {RATE}
    that falls along a cosine, and are run in turns, one seed each, on a machine that others used.
    Pixels that are 0 in all training rows (67) are none of the model's here.

    log p(x) is estimated with {few} draws from the posterior per row, by the same code for both
    libraries; the paper takes {many:,}. What these would gain is measured on the first {n_some}
    test rows and stated with its standard error. The standard error of a mean over the test rows
    is {lines[f"error_draws_{few}"].max():.2f} nats; that of a difference between two models on
    the same rows is smaller.
    """
    if (lines.library == "skvae, as it comes").any():
        text += """
    "As it comes" is `VAETransformer(50, objective="elbo", likelihood="bernoulli",
    view="binarized", hidden_layer_sizes=(200, 200))` with its own batches, start, linear path,
    prior and calibration, and a second part of training a fifth as long, scored by
    `score_samples`; more draws are 1,000 there.
    """
    missing = [
        f"{method} of {library}"
        for method in ("VAE", "IWAE-5", "IWAE-50")
        for library in ("skvae", "pythae")
        if not ((lines.library == library) & (lines.method == method)).any()
    ]
    if missing:
        text += f"""
    Not measured yet: {", ".join(missing)}.
    """
    body = [*markdown_table(header, rows), "", f"{versions()}. {cpu_name()}, one thread."]
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    text = "\n\n".join(parts)
    page = ["# log p(x) on MNIST", "", *paragraphs(text), *body]
    RESULTS.with_suffix(".md").write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
