"""How far estimates of log p(x) are from it, and what they cost: importance weights, annealing.

    python benchmarks/likelihood_estimates.py

Results go to ``benchmarks/results/likelihood_estimates.md``; two to three minutes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, one_thread

from _report import cpu_name, markdown_table, paragraphs, versions, write  # isort: skip

import numpy as np  # isort: skip

N_ROWS, SEED = 64, 0
HIDDEN_SHARE = 0.4
# Far longer than the defaults: what the others are compared with.
REFERENCE = {"n_temperatures": 500, "n_leapfrog": 8, "random_state": 1}
TITLES = ["Unseen rows", "Rows that the models draw"]
HEAD = ["# Estimates of log p(x)"]


def digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    X = load_digits().data
    return X[:, np.ptp(X, 0) > 0]


def cells_of_cancer() -> np.ndarray:
    from sklearn.datasets import load_breast_cancer

    return load_breast_cancer().data


def with_gaps(rows: np.ndarray) -> np.ndarray:
    hidden = np.random.default_rng(SEED).random(rows.shape) < HIDDEN_SHARE
    return np.where(hidden, np.nan, rows)


def models() -> dict:
    """By name: the rows, what is done to those that are judged, and arguments of the model."""
    many = {"n_components": 32, "likelihood": "bernoulli", "prior": "normal"}
    return {
        "breast_cancer": (cells_of_cancer(), None, {}),
        "digits": (digits(), None, {}),
        "digits, 40 % of cells missing": (digits(), with_gaps, {}),
        "digits, black and white, 32 latents": (np.sign(digits() // 8), None, many),
    }


def estimates() -> dict[str, Callable]:
    """By name: log p(x) of rows by a fitted model."""
    from skvae.metrics import annealed_log_likelihood

    def weighted(n_draws: int) -> Callable:
        return lambda vae, X: vae.score_samples(X, n_draws=n_draws)

    def annealed(**way) -> Callable:
        def estimate(vae, X):
            return annealed_log_likelihood(vae, X, random_state=SEED, **way).log_likelihood

        return estimate

    return {
        "1 draw: the bound, on average": weighted(1),
        "16 draws: the default of `score_samples`": weighted(16),
        "100 draws": weighted(100),
        "1,000 draws": weighted(1000),
        "10,000 draws": weighted(10_000),
        "annealed, 20 temperatures": annealed(n_temperatures=20),
        "annealed, 100: the default": annealed(),
        "annealed from the prior, 500": annealed(start="prior", n_temperatures=500),
    }


def seconds(estimate: Callable, *arguments) -> tuple[np.ndarray, float]:
    started = time.process_time()
    found = estimate(*arguments)
    return found, time.process_time() - started


def judged(vae, X: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Per estimate: mean error, root mean square of the errors, CPU seconds per 100 rows."""
    from skvae.metrics import annealed_log_likelihood

    reference = annealed_log_likelihood(vae, X, **REFERENCE).log_likelihood
    lines = {}
    for name, estimate in estimates().items():
        found, spent = seconds(estimate, vae, X)
        off = found - reference
        lines[name] = off.mean(), np.sqrt(np.mean(off**2)), 100 * spent / len(X)
    return lines


def enclosed(vae) -> tuple[float, ...]:
    """Of drawn rows: mean, median and largest gap of the bounds; what 1,000 draws are below."""
    from skvae.metrics import bidirectional_log_likelihood

    rows, lower, upper = bidirectional_log_likelihood(vae, N_ROWS, random_state=SEED)
    gap, missed = upper - lower, lower - vae.score_samples(rows, n_draws=1000)
    return gap.mean(), np.median(gap), gap.max(), missed.mean(), np.median(missed), missed.max()


def main() -> None:
    from skvae import VAETransformer

    one_thread()
    warnings.simplefilter("ignore")
    by_model, drawn, fits = {}, [], {}
    for name, (X, change, arguments) in models().items():
        order = np.random.default_rng(SEED).permutation(len(X))
        judged_rows, rows = X[order[:N_ROWS]], X[order[N_ROWS:]]
        # Those of digits serve twice: their encoder sees its first gaps here.
        kept = str(arguments), rows.tobytes()
        if kept not in fits:
            fits[kept] = VAETransformer(random_state=SEED, **arguments).fit(rows)
            drawn.append([name, *(f"{x:.2f}" for x in enclosed(fits[kept]))])
        by_model[name] = judged(fits[kept], change(judged_rows) if change else judged_rows)
        print(name, flush=True)
    header = ["estimate", *by_model, "CPU s per 100 rows"]
    rows_of_table = []
    for estimate in estimates():
        found = [lines[estimate] for lines in by_model.values()]
        cells = [f"{mean:+.2f} ({rms:.2f})" for mean, rms, _ in found]
        costs = [cost for *_, cost in found]
        rows_of_table.append([estimate, *cells, f"{min(costs):.2g} to {max(costs):.2g}"])
    unseen = paragraphs(
        "Nats per row by which estimates differ from a far longer annealing "
        f"({REFERENCE['n_temperatures']} temperatures, {REFERENCE['n_leapfrog']} leapfrog steps): "
        f"the mean over {N_ROWS} rows that were not in `fit`, and in brackets the root mean "
        "square over rows, in which the errors of the reference count, too. The models are as by "
        "default but for the last; the encoder of digits has seen no gaps."
    )
    sampled = paragraphs(
        f"{N_ROWS} rows drawn from each model, whose log p(x) is enclosed by "
        "`bidirectional_log_likelihood` as it comes; nats per row. The gap of the bounds says how "
        "exact annealing is; the last three columns, how far 1,000 importance-weighted draws are "
        "below the lower bound."
    )
    columns = ["model", "gap, mean", "median", "largest", "missed, mean", "median", "largest"]
    sections = [
        [
            *unseen,
            *markdown_table(header, rows_of_table),
            "",
            f"{versions()}. {cpu_name()}, one thread.",
        ],
        [*sampled, *markdown_table(columns, drawn)],
    ]
    path = RESULTS / "likelihood_estimates.md"
    write(path, HEAD, TITLES, dict(zip(TITLES, sections)))


if __name__ == "__main__":
    main()
