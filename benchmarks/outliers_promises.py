"""What a detector promises of its scores, and whether it holds.

    python benchmarks/outliers_promises.py
    python benchmarks/outliers_promises.py --sections p-values --repetitions 50

P-values are uniform on exchangeable normal rows, selections hold few false ones, the share of
outliers is found where they stand out, and probabilities are calibrated.  Results go to
``benchmarks/results/outliers_promises.md`` and its twin for the site.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import _common as common
import _report as report
import numpy as np
from _outliers_planted import tasks
from scipy.stats import kstest
from sklearn.metrics import roc_auc_score

PATH = common.RESULTS / "outliers_promises.md"
HEAD = [
    "# What detectors promise of their scores",
    "",
    "Written by `python benchmarks/outliers_promises.py`: " + report.versions() + ".",
]
ORDER = ["P-values", "Selections", "Share of outliers", "Probabilities"]
N_COLUMNS = 5
MAP = np.random.default_rng(0).normal(size=(2, N_COLUMNS))
# Tiny, since what is promised holds for any detector.
QUICK = {"n_components": 2, "hidden_layer_sizes": (16,), "max_iter": 10, "n_draws": 2}
QUICK |= {"score_function": "elbo"}
KEPT: dict[str, Any] = {"half kept aside": 0.5, "4 folds": 4}
LEVELS = (0.01, 0.05, 0.1, 0.2)
SHARES = (0.01, 0.05, 0.1, 0.2)
FDRS = (0.05, 0.1, 0.2)
STANDS_OUT = 0.97
BINS = np.array([0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])


def detector(**params):
    from skvae import VAEOutlierDetector

    return VAEOutlierDetector(**params)


def rows(n_rows: int, rng) -> np.ndarray:
    """Two factors in five columns with heavy-tailed noise."""
    return rng.normal(size=(n_rows, 2)) @ MAP + 0.3 * rng.standard_t(4, size=(n_rows, N_COLUMNS))


def fitted(conformal, seed: int):
    rng = np.random.default_rng(seed)
    return detector(conformal=conformal, random_state=seed, **QUICK).fit(rows(200, rng)), rng


# -- p-values and selections -------------------------------------------------------------------


def p_values(repetitions: int) -> list[str]:
    lines = []
    for name, conformal in KEPT.items():
        n_fits = repetitions if conformal < 1 else repetitions // 2
        first, every = [], []
        for seed in range(n_fits):
            model, rng = fitted(conformal, seed)
            p = model.p_values(rows(50, rng), ties="random", random_state=seed)
            first.append(p[0])
            every.append(p)
        shares = [np.mean(np.array(every) <= level) for level in LEVELS]
        lines.append(
            [name, str(n_fits), f"{kstest(first, 'uniform').pvalue:.2f}"]
            + [f"{share:.3f}" for share in shares]
        )
    text = """
Normal rows of five columns, 200 in training, of which half are kept aside or all are in folds; a
fit and new rows of their own in each repetition. The test of Kolmogorov and Smirnov takes one
p-value of each fit, as those of one fit share its calibration; the shares are of 50 rows of each.
"""
    header = ["compared with", "fits", "p of the KS test", *[f"share below {a}" for a in LEVELS]]
    return [*report.paragraphs(text), *report.markdown_table(header, lines)]


def selections(repetitions: int) -> list[str]:
    lines = []
    for name, conformal in KEPT.items():
        n_fits = repetitions if conformal < 1 else repetitions // 2
        false, found = np.zeros((2, len(FDRS), n_fits))
        for seed in range(n_fits):
            model, rng = fitted(conformal, 1000 + seed)
            odd = rng.normal(scale=6.0, size=(20, N_COLUMNS))
            new = np.concatenate([odd, rows(80, rng)])
            for level, fdr in enumerate(FDRS):
                chosen = model.select(new, fdr=fdr)
                false[level, seed] = chosen[20:].sum() / max(chosen.sum(), 1)
                found[level, seed] = chosen[:20].mean()
        errors = false.std(1) / np.sqrt(n_fits)
        for fdr, *figures in zip(FDRS, false.mean(1), errors, found.mean(1)):
            cells = [f"{figures[0]:.3f}", f"{figures[1]:.3f}", f"{figures[2]:.2f}"]
            lines.append([name, f"{fdr:.2f}", str(n_fits), *cells])
    text = """
The same tables; new are 80 such rows and 20 outliers that break the relations of the columns. The
false discovery rate is the mean share of normal rows among those selected, and power the share of
outliers found.
"""
    header = ["compared with", "`fdr`", "fits", "false discovery rate", "standard error", "power"]
    return [*report.paragraphs(text), *report.markdown_table(header, lines)]


# -- share and probabilities -------------------------------------------------------------------


def measured(score_function: str, seeds) -> list[dict]:
    """Per task the share that was found, the rates beyond the threshold and probabilities."""
    out = []
    for seed in seeds:
        for name, kind, share, task in tasks(SHARES, seed):
            model = detector(score_function=score_function, max_iter=30, random_state=seed)
            model.fit(task.X)
            scores, y = model.score_samples(task.X_new), task.y_new
            called = scores < model.offset_
            out.append({
                "table": name, "kind": kind, "share": share, "true": task.y.mean(),
                "found": model.contamination_, "false": called[y == 0].mean(),
                "power": called[y == 1].mean() if y.any() else np.nan,
                "auc": roc_auc_score(y, -scores) if 0 < y.sum() else np.nan,
                "p": model.score_mixture_.probability(scores), "y": y,
            })  # fmt: skip
    return out


def _part(results: list[dict], share: float, stands_out: bool) -> list[dict]:
    return [
        r for r in results
        if r["share"] == share and (share == 0 or (r["auc"] > STANDS_OUT) == stands_out)
    ]  # fmt: skip


def share_of_outliers(results: dict[str, list[dict]]) -> list[str]:
    lines = []
    for name, each in results.items():
        for stands_out in (True, False):
            for share in (0.0, *SHARES) if stands_out else SHARES:
                part = _part(each, share, stands_out)
                if not part:
                    continue
                found = np.array([r["found"] for r in part])
                error = np.abs(found - [r["true"] for r in part])
                figures = [found.mean(), error.mean(), np.mean([r["false"] for r in part])]
                power = [r["power"] for r in part if r["kind"] != "none" and r["y"].any()]
                label = "none" if share == 0 else "stand out" if stands_out else "overlap"
                lines.append(
                    [f"`{name}`", label, f"{share:.2f}", str(len(part))]
                    + [f"{value:.3f}" for value in figures]
                    + [f"{np.mean(power):.2f}" if power else ""]
                )
    text = f"""
Eight tables of up to 1,200 rows, seven tenths in training: six with outliers planted in two ways
and two with rows of other classes; `contamination="auto"`. Outliers stand out where the area under
the ROC curve of new rows is above {STANDS_OUT}. False alarms and power are of new rows beyond the
threshold.
"""
    header = ["`score_function`", "outliers", "share", "tables", "share found", "mean error"]
    header += ["false alarms", "power"]
    return [*report.paragraphs(text), *report.markdown_table(header, lines)]


def probabilities(results: dict[str, list[dict]]) -> list[str]:
    lines = []
    for name, each in results.items():
        p, y = (np.concatenate([r[key] for r in each]) for key in ("p", "y"))
        place = np.clip(np.searchsorted(BINS, p, side="right") - 1, 0, len(BINS) - 2)
        for j in range(len(BINS) - 1):
            inside = place == j
            if inside.any():
                figures = [f"{p[inside].mean():.2f}", f"{y[inside].mean():.2f}"]
                span = f"{BINS[j]:.2f} to {BINS[j + 1]:.2f}"
                lines.append([f"`{name}`", span, str(inside.sum()), *figures])
        gap = sum(
            abs(p[place == j].mean() - y[place == j].mean()) * np.mean(place == j)
            for j in np.unique(place)
        )
        squared, constant = np.mean((p - y) ** 2), y.mean() * (1 - y.mean())
        text = f"mean gap {gap:.3f}, Brier score {squared:.3f}; of the share alone {constant:.3f}"
        lines.append(
            [f"`{name}`", "all", str(len(p)), f"{p.mean():.2f}", f"{y.mean():.2f} ({text})"]
        )
    text = """
New rows of all these tasks together, by what `outlier_probability` says of them.
"""
    header = ["`score_function`", "probability", "rows", "mean probability", "share of outliers"]
    return [*report.paragraphs(text), *report.markdown_table(header, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scores", nargs="+", default=["likelihood", "auto"])
    parser.add_argument("--sections", nargs="+", default=["p-values", "selections", "share"])
    arguments = parser.parse_args()
    common.one_thread()
    warnings.simplefilter("ignore")

    def done(title: str, lines: list[str]) -> None:
        report.write(PATH, HEAD, ORDER, {title: lines})
        print("\n".join(lines), flush=True)

    if "p-values" in arguments.sections:
        done("P-values", p_values(arguments.repetitions))
    if "selections" in arguments.sections:
        done("Selections", selections(arguments.repetitions))
    if "share" in arguments.sections:
        results = {name: measured(name, range(arguments.seeds)) for name in arguments.scores}
        done("Share of outliers", share_of_outliers(results))
        done("Probabilities", probabilities(results))


if __name__ == "__main__":
    main()
