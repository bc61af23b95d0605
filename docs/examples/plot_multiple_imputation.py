"""
===================
Multiple imputation
===================

What a gap does to a regression, and what it takes to get both the coefficient and its standard
error right: several completed tables, one analysis of each, and Rubin's rules.  The data ship
with scikit-learn; gaps are made, so that the answer without them is known.
"""

# %%
# A question to a table
# ---------------------
# How does the progression of diabetes in 442 patients depend on body mass, blood pressure, a
# lipid (``s5``) and sex?  Least squares says, with its standard errors.

# sphinx_gallery_thumbnail_number = 3
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning

from skvae import VAEImputer, pool
from skvae.plotting import ImputationDisplay, MissingnessDisplay

warnings.simplefilter("ignore", ConvergenceWarning)
patients = load_diabetes(as_frame=True, scaled=False).frame
patients = patients.rename(columns={"target": "progression"})
asked = ["bmi", "bp", "s5", "sex"]


def regression(table):
    """Coefficients of the columns asked for, and their variances."""
    X = np.column_stack([np.ones(len(table)), table[asked]]).astype(float)
    y = table["progression"].to_numpy(dtype=float)
    inverse = np.linalg.inv(X.T @ X)
    coefficients = inverse @ X.T @ y
    noise = ((y - X @ coefficients) ** 2).sum() / (len(y) - X.shape[1])
    return coefficients[1:], noise * np.diag(inverse)[1:]


truth, _ = regression(patients)

# %%
# Gaps that depend on what is seen
# --------------------------------
# The worse the progression, the oftener body mass and lipid were not measured: missing *at
# random*, as the progression itself is always known, but far from *completely* at random.
# Blood pressure is missing by the throw of a die.


def with_gaps(table, rng):
    worse = (table["progression"] - table["progression"].mean()) / table["progression"].std()
    chance = 1.0 / (1.0 + np.exp(0.6 - 1.5 * worse))
    table = table.copy()
    for name, share in (("bmi", chance), ("s5", chance), ("bp", 0.2)):
        table.loc[rng.random(len(table)) < share, name] = np.nan
    return table


holes = with_gaps(patients, np.random.default_rng(0))
gaps = MissingnessDisplay.from_data(holes, name="Diabetes, with gaps made")

# %%
# Draws, not guesses
# ------------------
# ``impute`` gives completed tables that differ in the gaps by as much as is not known about them.
# All columns are shown to the imputer, the progression too: whatever the analysis relates must
# be related in the imputation, or the draws will say that it is not.

imputer = VAEImputer(random_state=0).fit(holes)
tables = imputer.impute(holes, n_imputations=20)
cells = ImputationDisplay(
    X=holes,
    tables=tables,
    columns=["bmi", "s5", ("progression", "bmi")],
    X_complete=patients,
    estimator_name="Diabetes",
).plot()

# %%
# The first two panels also show why rows with gaps cannot just be left out: those who were not
# measured are heavier than those who were, and the draws know it.
#
# One answer from twenty
# ----------------------
# Each table is analysed as if it were complete; ``pool`` averages the estimates and adds the
# variance between the tables to that within.  The others for comparison: rows without gaps,
# means in the gaps, and the one table of best guesses from ``transform``.


def pooled(tables):
    """Estimates and half widths of 95 % intervals, by Rubin's rules."""
    estimates, variances = zip(*map(regression, tables))
    answer = pool(estimates, variances, complete_df=len(patients) - len(asked) - 1)
    return answer.estimate, student.ppf(0.975, answer.df) * np.sqrt(answer.variance), answer


def single(table):
    """The same of one table, its gaps forgotten."""
    estimates, variances = regression(table)
    return estimates, student.ppf(0.975, len(table) - len(asked) - 1) * np.sqrt(variances)


answers = {
    "without gaps": single(patients),
    "rows without gaps": single(holes.dropna()),
    "means": single(holes.fillna(holes.mean())),
    "best guess": single(imputer.transform(holes)),
    "20 draws, pooled": pooled(tables)[:2],
}
for name, (estimates, halves) in answers.items():
    cells = "   ".join(f"{e:6.2f} +- {h:5.2f}" for e, h in zip(estimates, halves))
    print(f"{name:<18} {cells}")

# %%
# The picture of the table: bars are 95 % intervals, the line is the answer without gaps.

figure, panels = plt.subplots(1, 4, figsize=(8.2, 2.4), sharey=True, layout="constrained")
colors = ["0.35", "#E69F00", "#E69F00", "#E69F00", "#0072B2"]
for panel, j, name in zip(panels, range(len(asked)), asked):
    for place, (estimates, halves) in enumerate(answers.values()):
        style = {"color": colors[place], "markersize": 5, "linewidth": 1.6}
        panel.errorbar(estimates[j], place, xerr=halves[j], fmt="o", **style)
    panel.axvline(truth[j], color="0.35", linewidth=0.8, zorder=0)
    panel.set_title(name, loc="left", fontsize="medium")
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.locator_params(axis="x", nbins=4)
panels[0].set_yticks(range(len(answers)), answers)
panels[0].set_ylim(len(answers) - 0.5, -0.5)
figure.suptitle("Coefficients of the progression", x=0.008, ha="left", fontsize="medium")
plt.show()

# %%
# What the gaps have cost, in shares of the information about each coefficient:

lost = pooled(tables)[2].missing_information
print("   ".join(f"{name} {share:.0%}" for name, share in zip(asked, lost)))

# %%
# Do the intervals keep their word?
# ---------------------------------
# One table proves nothing.  Here the progression is drawn anew around the fitted plane, twelve
# times, with new gaps each time, and every interval is held against the coefficients that made
# the data.  A small imputer will do, as it is fitted twelve times.

X = np.column_stack([np.ones(len(patients)), patients[asked]]).astype(float)
plane = X @ np.linalg.lstsq(X, patients["progression"].to_numpy(dtype=float), rcond=None)[0]
noise = (patients["progression"] - plane).std()
rng = np.random.default_rng(1)
holds = {name: [] for name in answers}
for seed in range(12):
    drawn = patients.assign(progression=plane + noise * rng.normal(size=len(patients)))
    gappy = with_gaps(drawn, rng)
    small = VAEImputer(n_members=2, refine=None, random_state=seed).fit(gappy)
    found = (
        single(drawn),
        single(gappy.dropna()),
        single(gappy.fillna(gappy.mean())),
        single(small.transform(gappy)),
        pooled(small.impute(gappy, n_imputations=20))[:2],
    )
    for name, (estimates, halves) in zip(answers, found):
        holds[name] += list(np.abs(estimates - truth) < halves)
coverage = pd.Series({name: np.mean(hits) for name, hits in holds.items()})
print(coverage.map("{:.0%}".format).to_string())

# %%
# Forty-eight intervals each: a method that keeps its word holds the truth in about 95 % of them,
# give or take six.

figure, ax = plt.subplots(figsize=(6.4, 2.3), layout="constrained")
ax.barh(range(len(coverage)), coverage, height=0.6, color=colors)
ax.axvline(0.95, color="0.15", linewidth=1)
ax.set_yticks(range(len(coverage)), coverage.index)
ax.set_ylim(len(coverage) - 0.5, -0.5)
ax.set_xlim(0, 1)
ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
ax.spines[["top", "right", "left"]].set_visible(False)
ax.tick_params(axis="y", length=0)
ax.set_title("How many 95 % intervals hold the truth", loc="left", fontsize="medium")
plt.show()
