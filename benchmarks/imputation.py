"""Imputation beside other imputers, on tables with cells hidden by three mechanisms.

    python benchmarks/imputation.py --data ../shared/data --mechanisms MCAR --rows 1000

Without ``--data`` or ``SKVAE_DATA`` it runs on scikit-learn's bundled tables.  Results go to
``benchmarks/results/imputation.csv`` and ``.md``, one line per table, mechanism and method;
lines of earlier runs are kept, and replaced where the same thing is measured again.

    python benchmarks/imputation.py --published     # beside figures of papers
    python benchmarks/imputation.py --scaling 1000 10000 100000
    python benchmarks/imputation.py --new-rows      # after a fit to tables without gaps
    python benchmarks/imputation.py --hyperimpute PYTHON --methods hyperimpute

The first three write ``imputation_published.md``, ``imputation_scaling.md`` and
``imputation_new_rows.md`` instead.  PYTHON is
the interpreter of an environment that has HyperImpute (see ``_hyperimpute_peer.py``).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import _imputation_new_rows as new_rows
import _imputation_published as published
import _imputation_scaling as scaling
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge

RESULTS = Path(__file__).parent / "results"
KEYS = ["table", "mechanism", "rate", "seed", "rows", "method"]
N_TREES, N_ROUNDS, N_SAMPLED, N_CHAINED = 100, 3, 20, 8

# -- tables ---------------------------------------------------------------------------------

BUNDLED: dict[str, Callable[[], pd.DataFrame]] = {
    "wdbc": lambda: load_breast_cancer(as_frame=True).data,
    "diabetes": lambda: load_diabetes(as_frame=True).data,
    "wine": lambda: load_wine(as_frame=True).data,
}
# File, options of read_csv, and the columns that are no features.
SHARED: dict[str, tuple[str, dict, slice]] = {
    "concrete": ("imputation/remasker/compression.csv", {}, slice(1, -1)),
    "wine_white": ("imputation/winequality-white.csv", {"header": None}, slice(0, -1)),
    "wine_red": ("imputation/winequality-red.csv", {"header": None}, slice(0, -1)),
    "letter": ("imputation/gain/letter.csv", {}, slice(0, None)),
    "spam": ("imputation/gain/spam.csv", {}, slice(0, None)),
    "yeast": ("imputation/remasker/yeast.csv", {}, slice(1, -1)),
    "parkinsons": ("imputation/remasker/parkinsons.csv", {}, slice(1, -1)),
    "obesity": ("imputation/remasker/obesity.csv", {}, slice(1, -1)),
    "german": ("mixed/german.csv", {"header": None}, slice(0, -1)),
    "diamonds": ("mixed/diamonds.csv", {}, slice(0, None)),
    "adult": ("mixed/adult-train.csv", {"header": None, "na_values": " ?"}, slice(0, -1)),
    "htru2": ("mixed/HTRU_2.csv", {"header": None}, slice(0, -1)),
}
DEFAULT = ["concrete", "wine_white", "diamonds", "german", "wdbc", "diabetes"]


def load(name: str, folder: Path | None) -> pd.DataFrame | None:
    """A complete table: numbers as float64, the rest as categories."""
    if name in BUNDLED:
        table = BUNDLED[name]()
    else:
        path, options, features = SHARED[name]
        if folder is None or not (folder / path).exists():
            return None
        table = pd.read_csv(folder / path, **options).iloc[:, features].dropna()
    table = table.rename(columns=str).reset_index(drop=True)
    numeric = table.select_dtypes("number").columns
    others = [column for column in table if column not in numeric]
    return table.astype(dict.fromkeys(numeric, float) | dict.fromkeys(others, "category"))


# -- masks ----------------------------------------------------------------------------------


def mcar(table, rate, rng):
    return rng.uniform(size=table.shape) < rate


def mar(table, rate, rng):
    """30 % of the columns are observed; the others miss by a random combination of those."""
    X, d = _standardised(table), table.shape[1]
    causes = rng.permutation(d)[: max(round(0.3 * d), 1)]
    mask = np.zeros(table.shape, dtype=bool)
    for j in np.setdiff1d(np.arange(d), causes):
        score = X[:, causes] @ rng.normal(size=len(causes))
        logit = 2.0 * (score - score.mean()) / max(score.std(), 1e-12)
        mask[:, j] = rng.uniform(size=len(X)) < _at_rate(logit, rate)
    return mask


def mnar(table, rate, rng):
    """Every column misses by its own value, high or low."""
    X = _standardised(table)
    logits = 1.5 * X * rng.choice([-1.0, 1.0], size=X.shape[1])
    rates = np.stack([_at_rate(logit, rate) for logit in logits.T], 1)
    return rng.uniform(size=X.shape) < rates


def _standardised(table) -> np.ndarray:
    columns = [c.cat.codes if c.dtype == "category" else c for _, c in table.items()]
    X = np.stack([np.asarray(column, dtype=float) for column in columns], 1)
    return (X - X.mean(0)) / np.maximum(X.std(0), 1e-12)


def _at_rate(logit, rate):
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        mean = (1 / (1 + np.exp(-(logit + middle)))).mean()
        low, high = (middle, high) if mean < rate else (low, middle)
    return 1 / (1 + np.exp(-(logit + low)))


MECHANISMS = {"MCAR": mcar, "MAR": mar, "MNAR": mnar}

# -- methods --------------------------------------------------------------------------------
# Each gives a completed table, and where it can what gives draws and bounds, which take no part
# in its CPU seconds.


def simple(table, seed):
    fill = {n: c.mode()[0] if c.dtype == "category" else c.mean() for n, c in table.items()}
    return table.fillna(fill), None


def knn(table, seed):
    coded, back = _dummies(table)
    scale = coded.std().replace(0, 1)
    return back(KNNImputer(n_neighbors=5).fit_transform(coded / scale) * scale.to_numpy()), None


def iterative_ridge(table, seed):
    coded, back = _dummies(table)

    def fit(seed, **options):
        imputer = IterativeImputer(BayesianRidge(), random_state=seed, **options)
        return back(imputer.fit_transform(coded))

    def later():
        if any(column.dtype == "category" for _, column in table.items()):
            return None, None
        return [fit(seed + s, sample_posterior=True) for s in range(N_CHAINED)], None

    return fit(seed), later


def extra_trees(table, seed):
    return _forests(table, seed, ExtraTreesRegressor, ExtraTreesClassifier), None


def miss_forest(table, seed):
    return _forests(
        table, seed, RandomForestRegressor, RandomForestClassifier, max_features="sqrt"
    ), None


def vae(table, seed):
    from skvae import VAEImputer

    return _by_vae(table, VAEImputer(random_state=seed))


def vae_alone(table, seed):
    from skvae import VAEImputer

    return _by_vae(table, VAEImputer(refine=None, random_state=seed))


def _by_vae(table, imputer):
    completed = imputer.fit_transform(table)
    later = lambda: (imputer.impute(table, N_SAMPLED), imputer.predict_interval(table))  # noqa: E731
    return completed, later


def hyperimpute(python: Path):
    """HyperImpute in the environment of this interpreter; categories travel as their codes."""

    def impute(table, seed):
        coded = table.apply(
            lambda c: c.cat.codes.where(c.notna()).astype(float) if c.dtype == "category" else c
        )
        peer = Path(__file__).with_name("_hyperimpute_peer.py")
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / name) for name in ("in.csv", "out.csv")]
            coded.to_csv(paths[0], index=False)
            subprocess.run([python, peer, *paths, str(seed)], check=True, capture_output=True)
            filled = pd.read_csv(paths[1])
        out = table.copy()
        for name, column in table.items():
            gaps, values = column.isna().to_numpy(), filled[name].to_numpy()
            if column.dtype == "category":
                codes = np.clip(np.rint(values), 0, len(column.cat.categories) - 1).astype(int)
                values = column.cat.categories.to_numpy()[codes]
            out.loc[gaps, name] = values[gaps]
        return out, None

    return impute


METHODS = {
    "mean": simple,
    "knn": knn,
    "iter_ridge": iterative_ridge,
    "iter_extra_trees": extra_trees,
    "miss_forest": miss_forest,
    "vae_alone": vae_alone,
    "vae": vae,
}


def _dummies(table):
    """Numbers and one-hot categories, and the way back."""
    parts = {}
    for name, column in table.items():
        if column.dtype == "category":
            dummies = pd.get_dummies(column, dtype=float)
            parts[name] = dummies.where(column.notna(), axis=0)
        else:
            parts[name] = column.to_frame()
    coded = pd.concat(parts.values(), axis=1, keys=parts.keys())

    def back(array):
        filled = pd.DataFrame(array, columns=coded.columns)
        out = table.copy()
        for name, column in table.items():
            gaps = column.isna().to_numpy()
            block = filled[name]
            best = block.columns[block.to_numpy().argmax(1)]
            values = best if column.dtype == "category" else block.iloc[:, 0]
            out.loc[gaps, name] = np.asarray(values)[gaps]
        return out

    return coded, back


def _forests(table, seed, regressor, classifier, **options):
    """MissForest's loop: forest after forest on the others, fewest gaps first."""
    gaps = {name: column.isna().to_numpy() for name, column in table.items()}
    out = simple(table, seed)[0]
    for _ in range(N_ROUNDS):
        for name in sorted(table, key=lambda n: gaps[n].sum()):
            if not gaps[name].any():
                continue
            A = pd.get_dummies(out.drop(columns=name), dtype=float).to_numpy()
            forest = classifier if table[name].dtype == "category" else regressor
            model = forest(N_TREES, random_state=seed, **options)
            seen = ~gaps[name]
            model.fit(A[seen], table[name][seen])
            out.loc[gaps[name], name] = model.predict(A[gaps[name]])
    return out


# -- measures -------------------------------------------------------------------------------


def measures(truth, mask, completed, draws, bounds) -> dict[str, float]:
    """Over hidden cells; errors of numbers in standard deviations of the whole column."""
    rel, rmse, accuracy, crps, covered = [], [], [], [], []
    for j, (name, column) in enumerate(truth.items()):
        gaps = mask[:, j]
        if not gaps.any():
            continue
        seen, hidden, guess = column[~gaps], column[gaps], completed[name][gaps]
        if column.dtype == "category":
            wrong = np.mean(guess.astype(object).to_numpy() != hidden.astype(object).to_numpy())
            by_mode = np.mean(hidden != seen.mode()[0])
            # Where the mode is right in every hidden cell there is no error to compare with.
            if by_mode > 0:
                rel.append((gaps.sum(), wrong / by_mode))
            accuracy.append((gaps.sum(), 1 - wrong))
            continue
        sd = max(column.std(ddof=0), 1e-12)
        error = np.sqrt(np.mean((guess - hidden) ** 2)) / sd
        by_mean = np.sqrt(np.mean((seen.mean() - hidden) ** 2)) / sd
        rel.append((gaps.sum(), error / max(by_mean, 1e-12)))
        rmse.append((gaps.sum(), error))
        if draws:
            sample = np.stack([table[name][gaps] for table in draws])
            spread = np.abs(sample[:, None] - sample[None]).sum((0, 1))
            fair = spread / (2 * len(sample) * (len(sample) - 1))
            crps.append(
                (gaps.sum(), np.mean(np.abs(sample - hidden.to_numpy()).mean(0) - fair) / sd)
            )
        if bounds:
            inside = (hidden >= bounds[0][name][gaps]) & (hidden <= bounds[1][name][gaps])
            covered.append((gaps.sum(), inside.mean()))
    named = {"rel": rel, "rmse": rmse, "accuracy": accuracy, "crps": crps, "coverage": covered}
    return {k: _mean(pairs) for k, pairs in named.items()}


def _mean(pairs: list[tuple[int, float]]) -> float:
    """Mean over columns, weighted by hidden cells."""
    weights, values = zip(*pairs) if pairs else ((1,), (np.nan,))
    return float(np.average(values, weights=weights))


def measure(name, table, mechanism, rate, seed, method) -> dict:
    rng = np.random.default_rng([seed, *map(ord, name + mechanism)])
    mask = MECHANISMS[mechanism](table, rate, rng)
    # A row without any cell is no row of a table.
    mask[mask.all(1), 0] = False
    hidden = table.copy()
    for j, column in enumerate(table):
        hidden[column] = hidden[column].mask(mask[:, j])
    started = _cpu_seconds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        completed, later = METHODS[method](hidden, seed)
        cpu = _cpu_seconds() - started
        draws, bounds = later() if later else (None, None)
    found = measures(table, mask, completed, draws, bounds)
    place = dict(zip(KEYS, [name, mechanism, rate, seed, len(table), method]))
    return place | {k: round(float(v), 4) for k, v in found.items()} | {"cpu": round(cpu, 2)}


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# -- results --------------------------------------------------------------------------------


def write(results: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    results.to_csv(path.with_suffix(".csv"), index=False)
    ours = results.loc[results["method"] == "vae", KEYS[:5]]
    results = results.merge(ours) if len(ours) else results
    sizes = ", ".join(str(n) for n in sorted(results["rows"].unique()))
    lines = [
        "# Imputation",
        "",
        f"Rows: {sizes} (a random part of larger tables). Seeds: "
        f"{sorted(results['seed'].unique().tolist())}. One run per line of the CSV file, on two "
        "cores shared with other jobs, so CPU seconds are an upper bound. Cases of that file "
        "without a line of VAEImputer are left out here. Forests: "
        f"{N_TREES} trees, {N_ROUNDS} rounds; missForest with sqrt(columns) features per split. "
        "`rel` is the error over that of the mean or mode, weighted by cells; `coverage` is "
        f"that of 90 % intervals; CRPS from {N_SAMPLED} draws, of iter_ridge from {N_CHAINED}. "
        "One default configuration of "
        "VAEImputer for all tables; `vae_alone` is `refine=None`. Its defaults were chosen "
        "looking at concrete, diamonds, german, wine_red, diabetes and wdbc, and a few of them at "
        "adult, letter and wine_white, mostly under other masks: on these it is not a blind "
        "comparison. A "
        "column whose mode is right in every hidden cell has no relative error.",
    ]
    order = [m for m in METHODS if m in set(results["method"])]
    for title, summary in _summaries(results, order).items():
        lines += ["", f"## {title}", "", _markdown(summary)]
    for (mechanism, rate), part in results.groupby(["mechanism", "rate"]):
        for column in ("rel", "rmse", "accuracy", "crps", "coverage", "cpu"):
            table = part.pivot_table(index="table", columns="method", values=column)
            table = table.reindex(columns=[m for m in order if m in table])
            if column == "rel":
                whole = table.dropna()
                ranks = whole.rank(axis=1).mean()
                summary = pd.DataFrame(
                    {"mean rank": ranks, "geometric mean": np.exp(np.log(whole).mean())}
                )
                table = pd.concat([table, summary.T])
            lines += ["", f"## {mechanism} {rate:.0%}: {column}", "", _markdown(table)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def _summaries(results: pd.DataFrame, order: list[str]) -> dict[str, pd.DataFrame]:
    """Mean ranks and geometric means of ``rel``, and the other measures, by mechanism and rate."""
    cases = results.assign(
        case=results["mechanism"] + (100 * results["rate"]).map(" {:.0f} %".format)
    )
    rel = cases.pivot_table(index=[*KEYS[:5], "case"], columns="method", values="rel")
    rel = rel[[m for m in order if rel[m].count() == rel.count().max()]].dropna()
    by = {"mechanism": rel.groupby("mechanism"), "case": rel.groupby("case")}
    ranks = rel.rank(axis=1)
    found = {
        "Mean rank by rel": pd.concat([ranks.groupby(key).mean() for key in by]),
        "Geometric mean of rel": np.exp(
            pd.concat([np.log(rel).groupby(key).mean() for key in by])
        ),
    }
    for column in ("accuracy", "crps", "coverage"):
        table = cases.pivot_table(index="mechanism", columns="method", values=column)
        found[f"Mean {column}"] = table.reindex(columns=[m for m in order if m in table])
    table = cases.pivot_table(index="table", columns="method", values="cpu")
    found["Mean CPU seconds"] = table.reindex(columns=[m for m in order if m in table])
    return found


def write_page(path: Path, title: str, parts: list[tuple[str, pd.DataFrame]]) -> None:
    """Notes and tables as a page of results, the tables also as CSV."""
    path.parent.mkdir(exist_ok=True)
    lines = [f"# {title}"]
    for number, (note, table) in enumerate(parts):
        suffix = "" if number == 0 else f"_{number}"
        table.to_csv(path.with_name(f"{path.name}{suffix}.csv"), index=False)
        shown = table.set_index("table") if "table" in table else table.set_index("rows")
        texts = shown.map(lambda v: f"{v:.3f}" if isinstance(v, float) else str(v))
        texts = texts.replace("nan", "").reset_index().astype(str)
        rows = [texts.columns.tolist(), ["---"] * texts.shape[1], *texts.to_numpy().tolist()]
        lines += ["", note, "", "\n".join("| " + " | ".join(row) + " |" for row in rows)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def compare_with_papers(chosen, folder: Path) -> None:
    """Run the methods on what papers report figures of."""

    def fill(method, hidden, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return METHODS[method](hidden, seed)[0]

    args = fill, chosen.methods, folder, chosen.rows
    miwae = published.miwae_tables(load, mcar, *args, chosen.seeds)
    hivae = published.hivae_tables(*args)
    note = f" At most {chosen.rows} rows."
    parts = [(published.MIWAE_NOTE + note, miwae), (published.HIVAE_NOTE + note, hivae)]
    write_page(
        chosen.out.with_name("imputation_published"), "Imputation beside published figures", parts
    )


def _markdown(table: pd.DataFrame) -> str:
    rows = [["table", *table.columns], ["---"] * (1 + table.shape[1])]
    for name, values in table.iterrows():
        rows.append([str(name), *("" if np.isnan(v) else f"{v:.3f}" for v in values)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--tables", nargs="*", default=DEFAULT, choices=[*BUNDLED, *SHARED])
    parser.add_argument("--mechanisms", nargs="*", default=["MCAR"], choices=list(MECHANISMS))
    parser.add_argument("--rates", nargs="*", type=float, default=[0.3])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS / "imputation")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--scaling", nargs="*", type=int, metavar="ROWS")
    parser.add_argument("--new-rows", action="store_true")
    parser.add_argument("--hyperimpute", type=Path, metavar="PYTHON")
    chosen = parser.parse_args()
    folder = Path(chosen.data) if chosen.data else None
    if chosen.hyperimpute:
        METHODS["hyperimpute"] = hyperimpute(chosen.hyperimpute)
    unknown = set(chosen.methods) - set(METHODS)
    if unknown:
        parser.error(f"--methods takes {', '.join(METHODS)}, not {', '.join(sorted(unknown))}")
    if (chosen.published or chosen.scaling) and folder is None:
        parser.error("--published and --scaling need --data or SKVAE_DATA")
    if chosen.published:
        return compare_with_papers(chosen, folder)
    if chosen.scaling:
        table = scaling.sizes(folder / SHARED["letter"][0], chosen.scaling)
        path = chosen.out.with_name("imputation_scaling")
        return write_page(path, "Time of imputation", [(scaling.NOTE, table)])
    if chosen.new_rows:
        hides = {name: MECHANISMS[name] for name in chosen.mechanisms}
        args = load, hides, measures, folder, chosen.rates, chosen.seeds
        table = new_rows.table_of(chosen.tables, *args)
        path = chosen.out.with_name("imputation_new_rows")
        return write_page(path, "Imputation of new rows", [(new_rows.NOTE, table)])
    earlier = chosen.out.with_suffix(".csv")
    results = pd.read_csv(earlier) if earlier.exists() else pd.DataFrame(columns=KEYS)
    # Nobody pays for importing torch, or for its first call, in the first line measured.
    vae(load("diabetes", None)[:50], 0)
    for name in chosen.tables:
        whole = load(name, folder)
        if whole is None:
            print(f"{name}: left out, it is not in --data or SKVAE_DATA", flush=True)
            continue
        for seed in chosen.seeds:
            order = np.random.default_rng(seed).permutation(len(whole))[: chosen.rows]
            table = whole.iloc[order].reset_index(drop=True)
            for mechanism in chosen.mechanisms:
                for rate in chosen.rates:
                    for method in chosen.methods:
                        line = measure(name, table, mechanism, rate, seed, method)
                        print(line, flush=True)
                        results = pd.concat([results, pd.DataFrame([line])], ignore_index=True)
                        results = results.drop_duplicates(KEYS, keep="last")
                        write(results, chosen.out)


if __name__ == "__main__":
    main()
