"""
==============
Missing values
==============

See the gaps of a table, fill them, judge the filling, and put the imputer before a classifier.
The table lies beside this page: measurements of 344 penguins.  It has a few gaps of its own; more
are made, so that what fills them can be held against what was there.
"""

# %%
# Where the gaps are
# ------------------
# Female penguins and those of one island were weighed and measured less carefully, let us say:
# their cells are missing three times as often as those of others.

# sphinx_gallery_thumbnail_number = 2
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skvae import VAEImputer
from skvae.plotting import ImputationDisplay, MissingnessDisplay

here = [Path(globals().get("__file__", ".")).resolve().parent, Path.cwd()]
folder = next(place for place in here if (place / "penguins.csv").exists())
penguins = pd.read_csv(folder / "penguins.csv")
penguins = penguins.astype({"species": "category", "island": "category", "sex": "category"})

rng = np.random.default_rng(0)
careless = (penguins["sex"] == "FEMALE") | (penguins["island"] == "Dream")
share = np.where(careless, 0.36, 0.12)
measured = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
hidden = pd.DataFrame(False, penguins.index, penguins.columns)
hidden[measured] = rng.random((len(penguins), len(measured))) < share[:, None]
hidden["species"] = rng.random(len(penguins)) < 0.2
hidden &= penguins.notna()
table = penguins.mask(hidden)
gaps = MissingnessDisplay.from_data(table, name="Penguins")

# %%
# Every column of cells is one penguin.  In a row of the picture the gaps of one measurement; where
# blue blocks stand under one another, measurements are missing together.
#
# Filled
# ------
# ``transform`` gives the table with the best value in each gap, everything else untouched;
# ``impute`` gives draws, which vary as much as the cells themselves.

imputer = VAEImputer(random_state=0).fit(table)
filled = imputer.transform(table)
print(filled.head().round(1).to_string())
same = "kept" if (filled.dtypes == table.dtypes).all() else "changed"
print(f"{filled.isna().sum().sum()} cells missing, dtypes {same}")

# %%
# Judged by eye
# -------------
# Grey is what was observed, blue what was drawn for the gaps, dotted what had been there.  Blue
# should follow the dots, not the grey: the gaps are more often those of light penguins.

cells = ImputationDisplay.from_estimator(
    imputer,
    table,
    columns=[*measured, "species", ("flipper_length_mm", "body_mass_g")],
    X_complete=penguins,
    name="Penguins",
)

# %%
# Judged by numbers
# -----------------
# Error in standard deviations of the column over the hidden cells, and the share of species that
# were guessed right, beside scikit-learn's imputers.  One table and one mask are an
# illustration; ``benchmarks/imputation.py`` has many of both.

from sklearn.ensemble import ExtraTreesRegressor
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

words = table.select_dtypes("category").columns
coded = table.assign(**{name: table[name].cat.codes.where(table[name].notna()) for name in words})
coded = coded.astype(float)
peers = {
    "SimpleImputer": SimpleImputer(),
    "KNNImputer": KNNImputer(),
    "IterativeImputer": IterativeImputer(max_iter=50, random_state=0),
    "... of trees": IterativeImputer(
        ExtraTreesRegressor(20, min_samples_leaf=3, random_state=0), max_iter=3, tol=1e9
    ),
}


def error(name, completed):
    gaps = hidden[name]
    off = completed.loc[gaps, name] - penguins.loc[gaps, name]
    return np.sqrt((off**2).mean()) / penguins[name].std()


completed = {
    label: pd.DataFrame(peer.fit_transform(coded), columns=coded.columns)
    for label, peer in peers.items()
}
completed["VAEImputer"] = filled
errors = pd.DataFrame(
    {label: {name: error(name, each) for name in measured} for label, each in completed.items()}
).T
errors["mean"] = errors.mean(axis=1)
print(errors.round(2).to_string())
right = (filled["species"] == penguins["species"])[hidden["species"]].mean()
print(f"Species that were hidden and guessed right: {right:.0%}")

# %%
# How sure it is
# --------------
# ``predict_interval`` bounds each missing number.  The bounds should hold nine out of ten of the
# numbers that were hidden, and be narrow where the rest of the row says much.

lower, upper = imputer.predict_interval(table, coverage=0.9)
inside = [
    penguins.loc[hidden[name], name].between(
        lower.loc[hidden[name], name], upper.loc[hidden[name], name]
    )
    for name in measured
]
print(f"Hidden numbers between their bounds: {pd.concat(inside).mean():.0%}")

name = "body_mass_g"
gaps = hidden[name]
order = np.argsort(filled.loc[gaps, name].to_numpy())
bounds = [part.loc[gaps, name].to_numpy()[order] for part in (lower, upper, filled, penguins)]
figure, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
places = np.arange(len(order))
ax.vlines(places, bounds[0], bounds[1], color="#C9CED3", linewidth=3, label="90 % interval")
ax.plot(places, bounds[2], "_", color="#0072B2", markersize=5, label="imputed")
outside = (bounds[3] < bounds[0]) | (bounds[3] > bounds[1])
ax.plot(places[~outside], bounds[3][~outside], ".", color="0.15", label="hidden", markersize=4)
ax.plot(places[outside], bounds[3][outside], ".", color="#D55E00", label="hidden, outside")
ax.set_xlabel("Missing cells, in the order of what was imputed")
ax.set_ylabel("body_mass_g")
title = f"{1 - outside.mean():.0%} of {len(order)} hidden weights lie inside"
ax.set_title(title, loc="left", fontsize="medium")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="upper left", ncols=2, fontsize="small")
plt.show()

# %%
# Before a classifier
# -------------------
# The imputer stands in a pipeline like any other; it is fitted on the training folds alone.
# Words go in as they are and come out as they are, so the encoder stands behind it.

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

features = table.drop(columns="species")
encode = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    remainder=StandardScaler(),
)
quick = VAEImputer(n_members=2, refine=None, random_state=0)
classifier = make_pipeline(quick, encode, LogisticRegression(max_iter=1000))
scores = cross_val_score(classifier, features, penguins["species"], cv=3)
rows = features.notna().all(axis=1)
print(f"Species found from the table with gaps: {scores.mean():.1%} of all {len(features)} rows.")
print(f"Rows without any gap, which are all that a plain classifier could use: {rows.sum()}.")

# %%
# A VAE needs no imputer
# ----------------------
# ``VAETransformer`` and ``VAEOutlierDetector`` take the table as it is: a missing cell is left out
# of the sum, of the gradient and of the score.  A score is that of the observed cells, so a
# row of fewer cells has fewer terms.

from skvae import VAETransformer

vae = VAETransformer(n_components=3, max_iter=60, random_state=0).fit(table)
codes = vae.transform(table)
print(f"codes {codes.shape}, none missing: {not np.isnan(codes).any()}")
print(f"log-likelihood {vae.score(table):.2f} nats per row, over the observed cells")
