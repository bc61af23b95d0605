"""Methods: each takes a case, a number of dimensions and a seed, and gives codes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from _peer_process import PeerProcess
from _representation_data import COUNTS, Case
from sklearn.decomposition import PCA, FactorAnalysis, KernelPCA

KERNEL_ROWS = 2500
# Draws behind an expected row where no closed form gives it.
N_DRAWS = 8
DISCRETE = {"binary", "categorical", "ordinal"}


class Codes:
    """What a method makes of the rows of a case.

    Parameters
    ----------
    train, test : ndarray of shape (n_rows, d)
    back : ndarray or None
        Prepared test rows from their codes.
    back_variance : ndarray or float
        By how much the squared error of ``back`` is too large, it being a mean of draws.
    log_likelihood : ndarray or None
        Of the test rows, in nats.
    seconds : (float, float)
        CPU time of the fit and of the codes of the test rows.
    """

    def __init__(self, train, test, seconds, back=None, back_variance=0.0, log_likelihood=None):
        self.train, self.test, self.seconds = train, test, seconds
        self.back, self.back_variance = back, back_variance
        self.log_likelihood = log_likelihood


def _timed(function, *arguments) -> tuple[Any, float]:
    started = time.process_time()
    found = function(*arguments)
    return found, time.process_time() - started


# -- scikit-learn -------------------------------------------------------------------------------


def pca(case: Case, d: int, seed: int) -> Codes:
    return _linear(PCA(d, random_state=seed), case, lambda model, Z: model.inverse_transform(Z))


def factor_analysis(case: Case, d: int, seed: int) -> Codes:
    def back(model, Z):
        return Z @ model.components_ + model.mean_

    return _linear(FactorAnalysis(d, random_state=seed, max_iter=300), case, back)


def _linear(model, case: Case, back) -> Codes:
    train, test = case.matrices
    model, fit = _timed(model.fit, train)
    codes, transform = _timed(model.transform, test)
    return Codes(
        model.transform(train),
        codes,
        (fit, transform),
        back(model, codes),
        log_likelihood=model.score_samples(test) - np.log(_scales(case, train.shape[1])).sum(),
    )


def _scales(case: Case, n_columns: int) -> np.ndarray:
    return np.broadcast_to(getattr(case.prepare, "scale", 1.0), n_columns)


def kernel_pca(case: Case, d: int, seed: int) -> Codes:
    train, test = case.matrices
    rows = np.random.default_rng(seed).permutation(len(train))[:KERNEL_ROWS]
    model = KernelPCA(
        d, kernel="rbf", fit_inverse_transform=True, eigen_solver="arpack", random_state=seed
    )
    model, fit = _timed(model.fit, train[rows])
    codes, transform = _timed(model.transform, test)
    return Codes(model.transform(train), codes, (fit, transform), model.inverse_transform(codes))


# -- a plain autoencoder ------------------------------------------------------------------------


def autoencoder(case: Case, d: int, seed: int) -> Codes:
    """Networks as wide as the default ones, and mean squared error."""
    import torch
    from _representation_training import train as fit_to

    train, test = case.matrices
    widths = [train.shape[1], 128, 64, d]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, decoder = _layers(widths), _layers(widths[::-1])
    both = torch.nn.Sequential(encoder, decoder)
    _, fit = _timed(fit_to, both, _squared_error, train, generator)
    codes, transform = _timed(_apply, encoder, test)
    return Codes(_apply(encoder, train), codes, (fit, transform), _apply(decoder, codes))


def _squared_error(model, rows):
    return (model(rows) - rows).square().mean()


def _apply(network, rows: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return network(torch.as_tensor(rows, dtype=torch.float32)).numpy()


def _layers(widths):
    from torch import nn

    layers: list = []
    for n_in, n_out in zip(widths, widths[1:]):
        layers += [nn.Linear(n_in, n_out), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


# -- ours ---------------------------------------------------------------------------------------


def skvae(case: Case, d: int, seed: int, **settings) -> Codes:
    from skvae import VAETransformer

    if case.kind == COUNTS:
        settings = {"likelihood": "negative_binomial"} | settings
    if isinstance(case.train, pd.DataFrame):
        settings = {"unknown": "missing"} | settings
    model = VAETransformer(n_components=d, random_state=seed, **settings)
    model, fit = _timed(model.fit, case.train)
    codes, transform = _timed(model.transform, case.test)
    back, variance = expected_rows(model, case, codes, seed)
    return Codes(
        model.transform(case.train),
        codes,
        (fit, transform),
        back,
        variance,
        model.score_samples(case.test),
    )


def expected_rows(model, case: Case, codes: np.ndarray, seed: int):
    """Expected prepared test rows, and the variance that they have as means of draws.

    ``inverse_transform`` gives the likeliest categories, and counts of which the logarithm is
    still to be taken: least in squared error is the mean of prepared rows.
    """
    point = model.inverse_transform(codes)
    kinds = {kind for kind, _ in model.codec_.blocks_}
    if not kinds & DISCRETE and case.kind != COUNTS:
        return case.prepare(point), 0.0
    import torch

    from skvae.noise import Noise

    numbers = [c.name for c in model.codec_.columns_ if c.kind not in DISCRETE]
    noise = Noise([seed], torch.device("cpu"))
    total = squares = 0.0
    with torch.no_grad():
        # Codes as the networks have them, before any change of axes or units.
        inner = torch.as_tensor(model._infer(case.test)[0])
        likelihood = model._coder().decode(inner[None, None])
        for _ in range(N_DRAWS):
            cells = likelihood.sample(noise)[0, 0].numpy()
            rows = model._table(cells, np.random.RandomState(seed))
            if isinstance(rows, pd.DataFrame):
                rows[numbers] = point[numbers]
            prepared = case.prepare(rows)
            total, squares = total + prepared, squares + prepared**2
    mean = total / N_DRAWS
    return mean, np.maximum(squares / N_DRAWS - mean**2, 0.0) / (N_DRAWS - 1)


METHODS = {
    "skvae": skvae,
    "pca": pca,
    "factor_analysis": factor_analysis,
    "kernel_pca": kernel_pca,
    "autoencoder": autoencoder,
}
PEERS = ("umap", "pythae")

# -- peers in their own environment -------------------------------------------------------------


class Peers(PeerProcess):
    """UMAP and pythae's VAE."""

    script = "_representation_peer.py"

    def __call__(self, method: str, case: Case, d: int, seed: int) -> Codes:
        data, out = self.path("data"), self.path("out")
        train, test = case.matrices
        np.savez(data, train=train.astype(np.float32), test=test.astype(np.float32))
        job = {"method": method, "d": d, "seed": seed, "data": data, "out": out}
        seconds = self.ask(job)
        with np.load(out) as found:
            arrays = dict(found)
        return Codes(arrays["train"], arrays["test"], seconds, arrays.get("back"))
