"""Rows that are odd for their context: values of one context in the rows of another.

    python benchmarks/contextual.py --data ../shared/data

In real tables the columns that are not conditions are exchanged, in one row of twenty, with those
of a row of another context: each column by itself is as before, and so is each of the two
groups.  Detectors are fitted to the spoiled table and judge its rows.
``results/contextual.md`` has the table, with its twin for the site.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

# First of all, because it holds the libraries to one thread.
from _common import RESULTS, one_thread

from _report import cpu_name, markdown_table, paragraphs, versions, write  # isort: skip

import numpy as np  # isort: skip
import pandas as pd  # isort: skip
from sklearn.compose import make_column_selector, make_column_transformer  # isort: skip
from sklearn.ensemble import IsolationForest  # isort: skip
from sklearn.metrics import average_precision_score, roc_auc_score  # isort: skip
from sklearn.pipeline import make_pipeline  # isort: skip
from sklearn.preprocessing import OneHotEncoder  # isort: skip

PATH = RESULTS / "contextual.md"
N_ROWS, SHARE, SEEDS = 1_500, 0.05, (0, 1)
ADULT = (
    "age workclass fnlwgt education education_num marital_status occupation relationship race sex "
    "capital_gain capital_loss hours_per_week country income"
).split()
SCORES = ["likelihood", "auto"]


def adult(folder: Path):
    """Who works what, given age, sex and schooling."""
    table = pd.read_csv(
        folder / "mixed/adult-train.csv", names=ADULT, skipinitialspace=True, na_values="?"
    )
    given = ["age", "sex", "education_num"]
    rest = ["marital_status", "occupation", "relationship", "hours_per_week", "income"]
    return table[given + rest], given, table["sex"] + (table["education_num"] > 10).astype(str)


def taxi_by_number(folder: Path):
    """The same, given the hour as a number."""
    table = pd.read_csv(
        folder / "timeseries/nab/realKnownCause/nyc_taxi.csv", parse_dates=["timestamp"]
    )
    when = table.pop("timestamp").dt
    table["change"] = table["value"].diff()
    table["hour"], table["weekday"] = when.hour, when.day_name()
    return table[1:], ["hour", "weekday"], (when.hour // 4)[1:]


def taxi(folder: Path):
    """Passengers in New York, and their change since half an hour ago, given hour and weekday."""
    table, given, context = taxi_by_number(folder)
    return table.astype({"hour": str}), given, context


def air(folder: Path):
    """Sensors of air, given hour and month."""
    table = pd.read_csv(folder / "timeseries/AirQualityUCI.csv", na_values=-200)
    hour = table["Time"].str.split(":").str[0].astype(int)
    month = table["Date"].str.split("/").str[1]
    sensors = [name for name in table if name.startswith("PT08")] + ["T", "RH"]
    table = table[sensors].assign(hour=hour.astype(str), month=month).dropna()
    return table, ["hour", "month"], (table["month"].astype(int) - 1) // 3


def housing(folder: Path):
    """Districts of California, given where they lie."""
    table = pd.read_csv(folder / "imputation/california_housing.csv").dropna()
    given = ["longitude", "latitude", "ocean_proximity"]
    return table, given, table["ocean_proximity"]


def diamonds(folder: Path):
    """Price and length, given weight, colour and clarity."""
    table = pd.read_csv(folder / "mixed/diamonds.csv")
    given = ["carat", "color", "clarity"]
    return table[[*given, "price", "x", "depth"]], given, (table["carat"] * 2).round()


TABLES = {
    "adult": adult,
    "air": air,
    "diamonds": diamonds,
    "housing": housing,
    "taxi": taxi,
    "taxi, by number": taxi_by_number,
}


def task(load, folder: Path, seed: int):
    """A spoiled table, its conditions, and which rows are spoiled."""
    table, given, context = load(folder)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(table))[:N_ROWS]
    table, context = table.iloc[chosen].reset_index(drop=True), context.to_numpy()[chosen]
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    table = table.astype(dict.fromkeys(words, "category"))
    rest = [name for name in table if name not in given]
    spoiled = table.copy()
    odd = np.zeros(len(table), dtype=bool)
    for row in rng.permutation(len(table))[: int(SHARE * N_ROWS)]:
        other = rng.choice(np.flatnonzero(context != context[row]))
        spoiled.loc[row, rest] = table.loc[other, rest]
        odd[row] = True
    return spoiled.astype(table.dtypes), given, odd


def detectors(given: list[str], seed: int) -> dict:
    from skvae import VAEOutlierDetector

    found = {}
    for name in SCORES:
        for condition in (given, None):
            label = f'`"{name}"`' + (", `condition=`" if condition else "")
            found[label] = VAEOutlierDetector(
                score_function=name, condition=condition, random_state=seed
            )
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
        remainder="passthrough",
        sparse_threshold=0.0,
    )
    found["isolation forest"] = make_pipeline(coded, IsolationForest(random_state=seed))
    return found


def measured(folder: Path) -> pd.DataFrame:
    lines = []
    for name, load in TABLES.items():
        for seed in SEEDS:
            X, given, odd = task(load, folder, seed)
            for method, model in detectors(given, seed).items():
                started = time.process_time()
                scores = -model.fit(X).score_samples(X)
                line = {
                    "table": name, "method": method, "auroc": roc_auc_score(odd, scores),
                    "precision": average_precision_score(odd, scores),
                    "seconds": time.process_time() - started,
                }  # fmt: skip
                print(line, flush=True)
                lines.append(line)
    return pd.DataFrame(lines)


def report(found: pd.DataFrame) -> None:
    means = found.groupby(["method", "table"], sort=False).mean().unstack("table")
    header = ["method", *TABLES, "mean AUROC", "mean precision", "CPU s per fit"]
    rows = [
        [
            method,
            *(f"{means['auroc'][table][method]:.3f}" for table in TABLES),
            f"{means['auroc'].loc[method].mean():.3f}",
            f"{means['precision'].loc[method].mean():.3f}",
            f"{means['seconds'].loc[method].mean():.1f}",
        ]
        for method in means.index
    ]
    told = [f"{load.__doc__.strip().rstrip('.')} ({name})" for name, load in TABLES.items()]
    text = f"""
    {"; ".join(told)}. {N_ROWS:,} rows of each, {len(SEEDS)} seeds. In {SHARE:.0%} of the rows all
    columns but the conditions are those of a row of another context: another sex or level of
    schooling, quarter of the year, weight, distance from the ocean, or four hours. Detectors are
    fitted to the spoiled table, all defaults but those that are named, and judge its rows: AUROC
    by table, and the means of AUROC and average precision.
    """
    body = [*paragraphs(" ".join(text.split())), *markdown_table(header, rows), ""]
    body += [f"{versions()}. {cpu_name()}, one thread.", ""]
    head = ["# Rows that are odd for their context", ""]
    head += ["Written by `python benchmarks/contextual.py`."]
    write(PATH, head, ["Exchanged contexts"], {"Exchanged contexts": body})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    chosen = parser.parse_args()
    if chosen.data is None:
        return print("No data: pass --data or set SKVAE_DATA.")
    warnings.simplefilter("ignore")
    one_thread()
    report(measured(Path(chosen.data)))


if __name__ == "__main__":
    main()
