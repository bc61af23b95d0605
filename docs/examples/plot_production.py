"""
=============
In production
=============

Search with Optuna, keep what was tried in MLflow, choose a model, and watch the rows that it meets
afterwards.  The table is that of 569 biopsies which comes with scikit-learn.
"""

# %%
# Rows of three times
# -------------------
# Benign biopsies are what is normal here.  A part is there to learn from, a part to choose by,
# and the rest comes later, week by week.

# sphinx_gallery_thumbnail_number = 2
import logging
import os
import tempfile
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import matplotlib.pyplot as plt
import mlflow
import numpy as np
import optuna
import pandas as pd
from sklearn.datasets import load_breast_cancer

from skvae import VAEOutlierDetector, VAETransformer

logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)
optuna.logging.set_verbosity(optuna.logging.WARNING)

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
benign = X[y == 1].sample(frac=1.0, random_state=0).reset_index(drop=True)
train, choose, later = benign[:180], benign[180:240], benign[240:]

# %%
# A search, all of it on record
# -----------------------------
# The score is the mean log-likelihood of rows that were not trained on, in nats per row, so that
# models of any size compare.  Each trial is a run with its parameters, its score and the curve of
# its training.
folder = Path(tempfile.mkdtemp())
mlflow.set_tracking_uri(f"sqlite:///{folder}/runs.db")
mlflow.create_experiment("biopsies", artifact_location=str(folder / "files"))
mlflow.set_experiment("biopsies")


def score(trial):
    model = VAETransformer(
        n_components=trial.suggest_int("n_components", 2, 12),
        hidden_layer_sizes=(64,) * trial.suggest_int("n_layers", 0, 2),
        weight_decay=trial.suggest_float("weight_decay", 0.01, 3.0, log=True),
        random_state=0,
    )
    with mlflow.start_run(run_name=f"trial {trial.number}"):
        model.fit(train)
        mlflow.log_params(trial.params)
        for epoch, bound in zip(model.history_["epoch"][::10], model.history_["bound"][::10]):
            mlflow.log_metric("bound", bound, step=int(epoch))
        nats = model.score(choose)
        mlflow.log_metric("nats", nats)
    return nats


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(score, n_trials=8)
study.best_params

# %%
# What was tried, from the record:
runs = mlflow.search_runs(order_by=["metrics.nats DESC"])
table = runs[[c for c in runs if c.startswith(("params.", "metrics.nats"))]]
table = table.rename(columns=lambda name: name.split(".", 1)[1])
table.head().round(1)

# %%
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
values = np.array([trial.value for trial in study.trials])
ax.plot(values, "o", color="0.6", label="trial")
ax.step(range(len(values)), np.maximum.accumulate(values), where="post", label="best so far")
ax.set(xlabel="trial", ylabel="nats per row, not trained on")
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False)

# %%
# Watching
# --------
# The detector keeps a fifth of its rows aside.  Each week's rows are compared with these by
# ``score_drift``: the effect is the probability that a new row scores lower than one kept aside,
# one half without drift.  From week 6 on, one of the thirty instruments reads 30 % too much.
best = study.best_params
detector = VAEOutlierDetector(
    best["n_components"],
    hidden_layer_sizes=(64,) * best["n_layers"],
    weight_decay=best["weight_decay"],
    conformal=0.2,
    random_state=0,
).fit(pd.concat([train, choose]))

weeks = []
rng = np.random.RandomState(0)
for week in range(1, 11):
    rows = later.sample(40, random_state=rng).copy()
    if week >= 6:
        rows["mean smoothness"] *= 1.3
    drift = detector.score_drift(rows)
    weeks.append((week, drift.effect, drift.p_value))
weeks = pd.DataFrame(weeks, columns=["week", "effect", "p"])

# %%
# An alarm at p < .005 rings about once in two hundred weeks in which nothing has changed.
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
alarm = weeks["p"] < 0.005
ax.axhline(0.5, color="0.7", linewidth=0.8)
ax.plot(weeks["week"], weeks["effect"], color="0.6", linewidth=1)
ax.plot(weeks["week"][~alarm], weeks["effect"][~alarm], "o", label="as before")
ax.plot(weeks["week"][alarm], weeks["effect"][alarm], "s", color="#c44e00", label="alarm")
ax.set(xlabel="week", ylabel="P(new row scores lower)", ylim=(0, 1))
ax.spines[["top", "right"]].set_visible(False)
_ = ax.legend(frameon=False, loc="lower right")

# %%
# Which column it is, the explanation of the rows says: the mean share of each in what makes rows
# less normal, for the last week beside the rows of the choice.
shares = detector.explain(rows).mean() - detector.explain(choose).mean()
shares.sort_values().head(3).round(2)
