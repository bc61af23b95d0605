"""skvae beside its peers, from the files that the benchmarks wrote; ``python docs/comparison.py``.

``tests/test_comparison.py`` sees that the page is that of the results at hand.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
PAGE = HERE / "comparison.rst"
RESULTS = HERE.parent / "benchmarks" / "results"

OPENING = """\
.. Written by docs/comparison.py from benchmarks/results. Do not edit.

Beside others
=============

What skvae and its peers give on the same rows, in the same runs of the same scripts. Every table
names its script, which anyone can run; the version of each library and the day are in the file of
results beside it. Peers run with their own defaults, or as their papers say. skvae runs with its
defaults throughout: one configuration per job.

The scripts and settings were written by the developers of skvae, who looked at some of these
tables while they worked on it. The file ``benchmarks/results/outliers_log.md`` says which, and
when.
"""

PEERS = """\
Where others are the better choice
----------------------------------

- **PCA** of scikit-learn, for codes that must be linear, or fitted in milliseconds.
- **PyOD** has some fifty detectors, several of which take a hundredth of the time. On clean
  training rows DTE-NP, neighbours alone, has the better mean rank on ADBench, though not the
  better mean. ``skvae.pyod.PyODDetector`` puts the detector of skvae into its pipelines.
- **IsolationForest** fits in a fraction of a second, and in average precision on tables that hold
  their outliers is behind by .003 on ADBench, no more.
- **missForest**, in the form of ``IterativeImputer`` with trees, is the more accurate on some
  tables of smooth numeric columns (letter recognition at several thousand rows, concrete).
- **UMAP** draws large maps of images as well, and its tools are many.
- **scvi-tools** models batches, modalities and differences between groups of cells; here a count
  table has codes, samples and scores.
- **SDV**, around TVAE and CTGAN, has constraints, several tables and keys between them. Here is
  one table.
- **pythae** has image architectures to start from.
- **skorch** wraps any module of PyTorch; the modules here are autoencoders.
"""


def heading(title: str, script: str, text: str) -> list[str]:
    lines = wrap(f"``python benchmarks/{script}``. {text}", 98, break_on_hyphens=False)
    return ["", title, "-" * len(title), "", *lines, ""]


def list_table(frame: pd.DataFrame, places: dict[str, int]) -> list[str]:
    """Rows in the order given; the best figure of each column in bold, by its sign in ``places``.

    Parameters
    ----------
    frame : DataFrame
        A row per method.
    places : dict of str to int
        Decimals of each column; negative where less is better.
    """
    lines = [".. list-table::", "   :header-rows: 1", ""]
    cells = [["", *frame.columns]]
    best = {c: frame[c].min() if places[c] < 0 else frame[c].max() for c in frame}
    for name, row in frame.iterrows():
        texts = []
        for column, value in row.items():
            text = "" if np.isnan(value) else f"{value:.{abs(places[column])}f}"
            texts.append(f"**{text}**" if text and value == best[column] else text)
        cells.append([str(name), *texts])
    for row in cells:
        signs = ["* - ", *["  - "] * (len(row) - 1)]
        lines += [f"   {sign}{cell}".rstrip() for sign, cell in zip(signs, row)]
    return lines


def ranks(frame: pd.DataFrame, cases: list[str], value: str, ascending: bool) -> pd.Series:
    """Mean rank of each method over the cases that all methods have."""
    wide = frame.groupby([*cases, "method"])[value].mean().unstack("method").dropna()
    return wide.rank(axis=1, ascending=ascending).mean()


def outliers() -> list[str]:
    frame = pd.read_csv(RESULTS / "outliers_adbench.csv")
    frame = frame[~frame["method"].str.contains(",")]  # ablations
    n = frame["table"].nunique()
    # What ran on some of the tables only does not compare.
    everywhere = frame.groupby(["protocol", "method"])["table"].nunique().groupby("method").min()
    frame = frame[frame["method"].map(everywhere) == n]
    found = pd.DataFrame()
    for protocol in ("one-class", "contaminated"):
        part = frame[frame["protocol"] == protocol]
        found[f"{protocol}: AUROC"] = part.groupby("method")["auroc"].mean()
        found[f"{protocol}: average precision"] = part.groupby("method")["ap"].mean()
        found[f"{protocol}: mean rank"] = ranks(part, ["table"], "auroc", ascending=False)
    found = found.sort_values("one-class: AUROC", ascending=False)
    places = {c: -2 if "rank" in c else 3 for c in found}
    text = (
        f"{n} tables of ADBench, at most 5,000 rows of each, three seeds. *One-class*: half of "
        "the normal rows to train on, the others and all outliers to judge. *Contaminated*: all "
        "rows, trained on and judged. Ranks are by AUROC."
    )
    return heading("Outliers", "outliers.py", text) + list_table(found, places)


def missing_values() -> list[str]:
    frame = pd.read_csv(RESULTS / "imputation.csv")
    names = {
        "vae": "skvae", "miss_forest": "missForest", "iter_ridge": "IterativeImputer",
        "iter_extra_trees": "IterativeImputer, trees", "knn": "KNNImputer", "mean": "mean",
    }  # fmt: skip
    cases = ["table", "mechanism", "rate", "seed"]
    frame = frame.merge(frame.loc[frame["method"] == "vae", cases])
    found = pd.DataFrame(index=pd.Index(names, name="method"))
    for mechanism in ("MCAR", "MAR", "MNAR"):
        part = frame[frame["mechanism"] == mechanism]
        logs = np.log(part["rel"].clip(lower=1e-9)).groupby(part["method"]).mean()
        found[f"{mechanism}: error"] = np.exp(logs)
        found[f"{mechanism}: mean rank"] = ranks(part, cases, "rel", ascending=True)
    found = found.rename(index=names)
    places = {c: -2 if "rank" in c else -3 for c in found}
    text = (
        f"{frame['table'].nunique()} tables, up to 1,000 rows, 10, 30 and 50 % of the cells "
        f"missing, seeds {', '.join(map(str, sorted(frame['seed'].unique())))}. The error is that "
        "of the mean (or of the commonest category) in "
        "units of itself: geometric mean over all cases."
    )
    return heading("Missing values", "imputation.py", text) + list_table(found, places)


def codes() -> list[str]:
    frame = pd.read_csv(RESULTS / "representation_features.csv")
    # Measured on images alone, and no default.
    frame = frame[frame["method"] != "neighbors"]
    found = pd.DataFrame()
    for d in sorted(frame["d"].unique()):
        part = frame[frame["d"] == d]
        for value, name in (("knn", "5-NN"), ("logistic", "logistic regression")):
            found[f"{d} codes: rank by {name}"] = ranks(part, ["table"], value, ascending=False)
    found = found.rename(index={"pca": "PCA", "umap": "UMAP", "factor_analysis": "factor analysis",
                                "kernel_pca": "kernel PCA"})  # fmt: skip
    found = found.sort_values(found.columns[0])
    text = (
        f"{frame['table'].nunique()} data sets (images, counts, words, tables), unseen rows; "
        "mean rank of the accuracy that a classifier reaches on the codes."
    )
    places = dict.fromkeys(found, -2)
    return heading("Codes as features", "representation.py", text) + list_table(found, places)


def cells() -> list[str]:
    frame = pd.read_csv(RESULTS / "representation_counts.csv")
    names = {"vae": "skvae", "scvi": "scVI", "pca of log1p": "PCA of log(1 + x)"}
    mean = frame[frame["method"].isin(names)].groupby("method").mean().rename(index=names)
    found = mean[["ari_kmeans", "ari_mixture", "knn", "cpu"]]
    found.columns = ["ARI, k-means", "ARI, mixture", "5-NN", "CPU s"]
    text = "Blood cells (10x PBMC, 2,000 genes): clusters of the codes beside the cell types."
    places = dict(zip(found, (3, 3, 3, -1)))
    return heading("Counts of single cells", "representation.py", text) + list_table(found, places)


def synthetic_rows() -> list[str]:
    frame = pd.read_csv(RESULTS / "synthesis.csv")
    names = {"vae": "skvae", "tvae": "TVAE", "ctgan": "CTGAN", "copula": "Gaussian copula",
             "holdout": "real rows, for orientation"}  # fmt: skip
    frame = frame[(frame["rows"] == 8000) & frame["method"].isin(names)]
    frame = frame.assign(lost=100 * (1 - frame["tstr"] / frame["trtr"]))
    mean = frame.groupby("method")[["quality", "c2st", "lost", "cpu"]].mean()
    found = mean.loc[[name for name in names if name in mean.index]].rename(index=names)
    found.columns = ["quality", "told from real (AUC)", "lost by a model, %", "CPU s"]
    places = dict(zip(found, (3, -3, -1, -1)))
    lines = list_table(found.drop(index="real rows, for orientation", errors="ignore"), places)
    text = (
        f"{', '.join(sorted(frame['table'].unique()))}: 8,000 rows each. Quality is the mean of "
        "shapes and pair trends as SDMetrics defines them; the AUC is that of a classifier that "
        "tells real from drawn (.5 is best); a model trained on drawn rows loses so much of its "
        "score on real ones."
    )
    return heading("Synthetic rows", "synthesis.py", text) + lines


def page() -> str:
    """The page as text."""
    lines = [OPENING.rstrip("\n")]
    for section in (outliers, missing_values, codes, cells, synthetic_rows):
        lines += section()
    speed = (
        "Time and memory",
        "speed.py",
        "Rows per second in training and scoring beside PyOD, pythae and skorch, and searches "
        "beside ``GridSearchCV`` of ordinary PyTorch: :doc:`user_guide/performance`.",
    )
    lines += heading(*speed) + [PEERS]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
