"""
==========
Quickstart
==========

Four things to do with a table, on data that ship with scikit-learn and one file beside this
page: features for a classifier, outliers, a mixed table with holes, and a look at how training
went.
"""

# %%
# One helper finds the file beside this page, another keeps the pictures.  From the command
# line (``make demo``) they are written to the folder ``SKVAE_DEMO_DIR``, or ``build/demo``.

# sphinx_gallery_thumbnail_number = 3
import os
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

started = time.perf_counter()
in_gallery = "sphinx_gallery" in sys.modules
folder = os.environ.get("SKVAE_DEMO_DIR") or (None if in_gallery else "build/demo")
pictures = []


def beside_this_page(name):
    here = [Path(globals().get("__file__", ".")).resolve().parent, Path.cwd()]
    places = [*here, Path.cwd() / "docs" / "examples"]
    return next(place / name for place in places if (place / name).exists())


def keep(figure, name):
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        pictures.append(Path(folder) / name)
        figure.savefig(pictures[-1], dpi=150)


# %%
# Features for a classifier
# -------------------------
# ``VAETransformer`` stands in a pipeline where PCA would, and a grid search reaches its number
# of components and the weight ``beta`` of its objective.  A quarter of the digits judges; PCA
# gets the same search.

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skvae import VAETransformer
from skvae.model_selection import StackedGridSearchCV

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.25, stratify=y, random_state=0
)


def search(codes, **grid):
    classifier = LogisticRegression(max_iter=1000)
    pipeline = Pipeline(
        [("codes", codes), ("scale", StandardScaler()), ("classifier", classifier)]
    )
    grid = {f"codes__{name}": values for name, values in grid.items()}
    return StackedGridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)


sizes, betas = [2, 4, 8], [0.5, 1.0]
vae = search(
    VAETransformer(max_iter=60, random_state=0), n_components=sizes, objective__beta=betas
)
pca = search(PCA(random_state=0), n_components=sizes)


def accuracies(fitted):
    """Cross-validated accuracy, by number of components and beta."""
    results = pd.DataFrame(fitted.cv_results_["params"]).rename(columns=lambda c: c[7:])
    results["accuracy"] = fitted.cv_results_["mean_test_score"]
    return results.set_index(list(results.columns[:-1]))["accuracy"]


print(
    f"DIGITS  {X.shape[0]:,} images of 8 x 8 pixels; {len(y_train):,} train, {len(y_test)} judge"
)
print("  Accuracy of logistic regression on the codes, 3-fold on the rows that train:")
print(
    f"    {'components':>10}  {'PCA':>6}  " + "  ".join(f"{f'VAE, beta={b:g}':>13}" for b in betas)
)
for size, row in accuracies(vae).unstack().iterrows():
    cells = "  ".join(f"{value:13.1%}" for value in row)
    print(f"    {size:>10}  {accuracies(pca)[size]:6.1%}  {cells}")
size, beta = (vae.best_params_[f"codes__{name}"] for name in ("n_components", "objective__beta"))
print(
    f"  The search takes {size} components and beta={beta:g}: {vae.score(X_test, y_test):.1%} on "
    f"the rows that judge (PCA with {pca.best_params_['codes__n_components']}: "
    f"{pca.score(X_test, y_test):.1%}).\n"
)

# %%
# The model behind the codes also draws digits that nobody wrote.

codes = vae.best_estimator_["codes"]
figure, axes = plt.subplots(3, 8, figsize=(6.4, 2.7), layout="constrained")
for ax, image in zip(axes.flat, codes.sample(24, random_state=1)):
    ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
    ax.set_axis_off()
figure.suptitle(
    "Digits drawn from the model, noise of the pixels included",
    fontsize="medium",
    x=0.01,
    ha="left",
)
keep(figure, "digits_sampled.png")

# %%
# Outliers
# --------
# ``VAEOutlierDetector`` learns what benign tumours look like; a row is suspect when few of these
# are as odd.  The second line of the table has eight malignant rows among those that train,
# unmarked, as they would be in practice: ``novelty=False`` says that there may be some.

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from skvae import VAEOutlierDetector

X, y = load_breast_cancer(return_X_y=True)
benign, judged = train_test_split(X[y == 1], test_size=0.4, random_state=0)
malignant = X[y == 0]
slipped_in, malignant = malignant[:8], malignant[8:]
X_judged = np.vstack([judged, malignant])
is_malignant = np.r_[np.zeros(len(judged)), np.ones(len(malignant))]

print(
    f"BREAST CANCER  {len(benign)} benign rows train; {len(judged)} benign and {len(malignant)} "
    "malignant ones judge"
)
print("  AUROC: how often a malignant row looks odder than a benign one.")
print(f"    {'trained on':<24}  {'VAE':>5}  isolation forest")
detectors = []
for label, rows, novelty in (
    ("benign rows only", benign, True),
    ("and 8 malignant ones", np.vstack([benign, slipped_in]), False),
):
    detector = VAEOutlierDetector(novelty=novelty, contamination=0.05, random_state=0)
    detectors.append(detector.fit(rows))
    forest = IsolationForest(random_state=0).fit(rows)
    ours, theirs = (
        roc_auc_score(is_malignant, -d.score_samples(X_judged)) for d in (detectors[-1], forest)
    )
    print(f"    {label:<24}  {ours:5.3f}  {theirs:5.3f}")
detector = detectors[0]
flagged = detector.predict(X_judged) == -1
print(
    f"  At contamination=0.05 the first flags {flagged[is_malignant == 1].mean():.0%} of the "
    f"malignant and {flagged[is_malignant == 0].mean():.0%} of the unseen benign rows.\n"
)

# %%
# The threshold ``offset_`` lies where 5 % of the training rows fall below it.

scores = detector.score_samples(X_judged)
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
bins = np.linspace(np.percentile(scores, 20), scores.max(), 45)
shown = np.clip(scores, bins[0], None)
ax.hist(
    [shown[is_malignant == 0], shown[is_malignant == 1]], bins, stacked=True,
    color=["#0072B2", "#E69F00"], label=["benign", "malignant"],
)  # fmt: skip
ax.axvline(detector.offset_, color="0.3", linewidth=1)
ax.annotate(
    "\N{LEFTWARDS ARROW} flagged ", (detector.offset_, 0.92), color="0.3", ha="right",
    xycoords=("data", "axes fraction"),
)  # fmt: skip
ax.set_xlabel("Minus surprise (nats); the first bar holds all that lies lower")
ax.set_ylabel("Rows")
ax.set_title(
    f"Malignant rows are odder: AUROC {roc_auc_score(is_malignant, -scores):.3f}",
    loc="left", fontsize="medium",
)  # fmt: skip
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="upper center", title="Unseen rows", alignment="left")
keep(figure, "breast_cancer_scores.png")

# %%
# A mixed table with holes
# ------------------------
# Words, whole numbers and gaps go straight in.  A tenth of the cells is hidden on top of those
# that are missing, so that the filling can be judged; the species is kept for the picture.

penguins = pd.read_csv(beside_this_page("penguins.csv")).convert_dtypes()
species = penguins.pop("species")
penguins = penguins.astype({"island": "category", "sex": "category"})
hidden = (np.random.default_rng(0).random(penguins.shape) < 0.1) & penguins.notna().to_numpy()
table = penguins.mask(hidden)

vae = VAETransformer(n_components=4, random_state=0).fit(table)
filled = vae.reconstruct(table)

print(
    f"PENGUINS  {len(table)} rows, {table.shape[1]} columns, {table.isna().sum().sum()} cells "
    f"missing ({hidden.sum()} of them hidden by us); the species is not shown"
)
print(f"  Log-likelihood, for comparing models: {vae.score(table):.2f} nats per row.")
print("  Hidden cells, filled by the model and by the middle or commonest value of the column:")
print(f"    {'':25}  {'model':>6}  {'column':>6}")
for name, place in zip(table, hidden.T):
    truth, ours = penguins.loc[place, name], filled.loc[place, name]
    if isinstance(table[name].dtype, pd.CategoricalDtype):
        plain = table[name].mode()[0]
        right, plainly = (ours == truth).mean(), (truth == plain).mean()
        print(f"    {name:<18} {'right':>6}  {right:6.0%}  {plainly:6.0%}")
    else:
        error, plainly = (
            np.abs(truth.astype(float) - guess).mean()
            for guess in (ours.astype(float), table[name].astype(float).median())
        )
        print(f"    {name:<18} {'off by':>6}  {error:6.1f}  {plainly:6.1f}")

# %%
# New penguins come with the columns, dtypes and categories of the old.

new = vae.sample(5, random_state=0)
print("  Five penguins that never lived:")
same = "those" if (new.dtypes == table.dtypes).all() else "not those"
print("    " + new.round(1).to_string(index=False).replace("\n", "\n    "))
print(f"  Their dtypes are {same} of the table: {', '.join(map(str, new.dtypes))}.\n")

# %%
# The codes have found the species, which the model was not shown.

from skvae.plotting import LatentDisplay, TrainingDisplay

fullest = sorted(np.argsort(vae.diagnostics_["kl_per_latent"])[-2:])
latents = LatentDisplay.from_estimator(vae, table, species, components=fullest, name="Penguins")
keep(latents.figure_, "penguins_latents.png")

# %%
# How training went
# -----------------
# Codes that tell more of a row cost more nats of the bound, of which training counts a fifth
# (``ELBO(beta=0.2)``): what it maximises rises to the epoch that is kept, while the bound, which
# is drawn, falls.  A second part then trains the density alone, the codes held.

training = TrainingDisplay.from_estimator(vae, name="Penguins")
keep(training.figure_, "penguins_training.png")

# %%
# That was all.

if folder:
    print(f"{time.perf_counter() - started:.0f} s in all. Pictures:")
    for path in pictures:
        print(f"  {path}")
