"""
========
Outliers
========

Find the rows of a table that are not like the others, say which cells make them so, and repair
them.  The table lies beside this page: measurements of 344 penguins, to some of which errors are
added as they are made in practice.
"""

# %%
# A table with errors
# -------------------
# Two penguins in three have been checked.  Of the others twelve get one error each: a weight in
# kilograms that should be in grams, a bill whose length and depth were written in each other's
# place, and penguins of the wrong species.

# sphinx_gallery_thumbnail_number = 2
from pathlib import Path

import numpy as np
import pandas as pd

from skvae import VAEOutlierDetector
from skvae.plotting import ExplanationDisplay, ScoreDisplay

here = [Path(globals().get("__file__", ".")).resolve().parent, Path.cwd()]
folder = next(place for place in here if (place / "penguins.csv").exists())
clean = pd.read_csv(folder / "penguins.csv").dropna().reset_index(drop=True)
clean = clean.astype({"species": "category", "island": "category", "sex": "category"})

is_new = np.arange(len(clean)) % 3 == 2
checked, true = clean[~is_new], clean[is_new].reset_index(drop=True)
rng = np.random.RandomState(0)
wrong = rng.permutation(len(true))[:12]
new = true.copy()
for row in wrong[:4]:
    new.loc[row, "body_mass_g"] /= 1000
for row in wrong[4:8]:
    length, depth = new.loc[row, ["bill_length_mm", "bill_depth_mm"]]
    new.loc[row, ["bill_length_mm", "bill_depth_mm"]] = depth, length
for row in wrong[8:]:
    others = [s for s in clean["species"].cat.categories if s != true.loc[row, "species"]]
    new.loc[row, "species"] = rng.choice(others)
new.loc[wrong]

# %%
# Scores and the threshold
# ------------------------
# A score is minus surprise: -4.6 says that one row of the training in a hundred is at least as
# odd, and beyond all of them it goes on as their tail does.
detector = VAEOutlierDetector(n_components=4, random_state=0).fit(checked)
is_wrong = np.isin(np.arange(len(new)), wrong)
ScoreDisplay.from_estimator(detector, new, np.where(is_wrong, "wrong", "right"))

# %%
# So many of the twelve are called outliers, and so many others are:
found = detector.predict(new) == -1
{"wrong": int(found[is_wrong].sum()), "others": int(found[~is_wrong].sum())}

# %%
# Which cells
# -----------
# Each cell is judged by what its row gains without it, in nats.  What would be normal in the place
# of the worst ones stands at their bars.
ExplanationDisplay.from_estimator(detector, new, rows=[wrong[0], wrong[4], wrong[8]])

# %%
# The same as a table, the cell that answers for most of each row by name:
contributions = detector.explain(new.loc[wrong])
contributions.assign(worst=contributions.idxmin(axis=1)).round(1)

# %%
# Repairs
# -------
# The smallest change that makes a row normal again; of swapped cells both have to be changed.
repaired, changed = detector.repair(new.loc[wrong], n_cells=2)
columns = ["species", "bill_length_mm", "bill_depth_mm", "body_mass_g"]
tables = {
    "wrong": new.loc[wrong, columns],
    "repaired": repaired[columns],
    "true": true.loc[wrong, columns],
}
pd.concat(tables, axis=1).round(1)
