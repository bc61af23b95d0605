"""
==============
Synthetic data
==============

Rows that nobody measured: drawn, looked at, measured by how faithful and how useful they are and
how far from copies, and drawn again with some of their cells given.  The table of 344 penguins
lies beside this page.
"""

# %%
# Drawn
# -----
# Two fifths of the rows are kept aside; the model must not see what it will be judged by.

# sphinx_gallery_thumbnail_number = 1
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skvae import VAETransformer
from skvae.metrics import synthesis_report
from skvae.plotting import SampleDisplay

here = [Path(globals().get("__file__", ".")).resolve().parent, Path.cwd()]
folder = next(place for place in here if (place / "penguins.csv").exists())
penguins = pd.read_csv(folder / "penguins.csv").dropna(ignore_index=True)
penguins = penguins.astype({"species": "category", "island": "category", "sex": "category"})
known = penguins.sample(frac=0.6, random_state=0)
aside = penguins.drop(known.index)
others = aside.sample(frac=0.5, random_state=0)
aside = aside.drop(others.index)

vae = VAETransformer(random_state=0).fit(known)
synthetic = vae.sample(len(known), random_state=1)
print(synthetic.head().round(1).to_string())

# %%
# Looked at
# ---------
# Above, the columns one by one: grey is real, blue synthetic.  Below, how any two of them hang
# together, in the real table, in the synthetic one, and the difference.

rows = SampleDisplay.from_tables(known, synthetic, name="Penguins")

# %%
# Measured
# --------
# Figures mean little alone, so three other tables are measured beside the sample: other real
# rows, as good as can be; every column drawn by itself, faithful column by column and useless;
# and rows copied from the training set with a little noise.

rng = np.random.default_rng(0)
numbers = known.select_dtypes("number").columns
copied = known.sample(len(known), replace=True, random_state=0)
copied[numbers] += (
    rng.normal(size=(len(copied), len(numbers))) * 0.02 * known[numbers].std().to_numpy()
)
tables = {
    "other real rows": others,
    "model": synthetic,
    "columns by themselves": known.apply(lambda column: rng.permutation(column)).astype(
        known.dtypes
    ),
    "copies with noise": copied,
}
report = synthesis_report(known, aside, tables, target="species", random_state=0)
print(report.round(2).T.to_string())

# %%
# ``shapes`` and ``trends`` compare columns, and pairs of them, with the training rows; other real
# rows say how much of a difference is mere chance.  ``auc`` is how well a classifier tells the
# table from real rows: 0.5 is not at all.  ``trained_on_synthetic`` is the accuracy on real rows
# of a model that saw only the table.
#
# By all of these the copies are excellent.  ``closer_to_train`` is what gives them away: the share
# of rows that lie closer to the training rows than to those kept aside, 0.5 for an honest
# sample.  So never report the first without the last.
#
# Given some cells
# ----------------
# ``given`` fixes columns of any kind; the others are drawn from what the model says about them.
# Four kinds of penguins, two hundred rows each, over the real ones:

figure, panels = plt.subplots(
    1, 4, figsize=(8.2, 2.5), sharex=True, sharey=True, layout="constrained"
)
kinds = [("Adelie", "FEMALE"), ("Adelie", "MALE"), ("Gentoo", "FEMALE"), ("Gentoo", "MALE")]
for panel, (species, sex) in zip(panels, kinds):
    given = {"species": species, "sex": sex}
    drawn, size = vae.sample(200, given=given, return_effective_size=True, random_state=0)
    real = penguins[(penguins["species"] == species) & (penguins["sex"] == sex)]
    for table, color, label in ((drawn, "#0072B2", "sampled"), (real, "0.15", "real")):
        style = {"s": 9, "color": color, "linewidths": 0, "alpha": 0.7, "label": label}
        panel.scatter(table["flipper_length_mm"], table["body_mass_g"] / 1000, **style)
    panel.set_title(f"{species}, {sex.lower()}", loc="left", fontsize="medium")
    panel.spines[["top", "right"]].set_visible(False)
    print(
        f"{species:7} {sex:7} body mass {drawn['body_mass_g'].mean():5.0f} g sampled, "
        f"{real['body_mass_g'].mean():5.0f} g real; worth {size:.0f} independent draws"
    )
panels[0].set_ylabel("Body mass (kg)")
figure.supxlabel("Flipper length (mm)", fontsize="medium")
panels[0].legend(frameon=False, fontsize="small", handletextpad=0.1, loc="upper left")
plt.show()

# %%
# A number can be given as well as a word.  What does a flipper of 220 mm say about the species?

drawn = vae.sample(500, given={"flipper_length_mm": 220.0}, random_state=0)
near = penguins[penguins["flipper_length_mm"].between(217, 223)]
shares = {"sampled": drawn["species"], "real, within 3 mm": near["species"]}
print(pd.DataFrame({k: v.value_counts(normalize=True) for k, v in shares.items()}).round(2))
