"""Molecules as strings: what comes back, what is drawn, and a search for a property.

    python benchmarks/molecules.py --data ../shared/data/molecules

Five thousand SMILES strings of QM9 are learned with a property that is known for six in ten of
them, and a thousand others are held out.  The property is the solubility that a linear model of
one half of the measured molecules of ESOL gives them; what a search finds is judged by trees
fitted to the other half, which the search has not seen.  Beside the model of tokens one after
the other stands the same model with a category per place.  Results go to
``benchmarks/results/molecules.md``.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import _report as report
import numpy as np
import pandas as pd
import torch
from _molecules_syntax import is_molecule
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline

from skvae import TokenEncoder, VAETransformer
from skvae.likelihoods import Columnwise, TokenSequence
from skvae.objectives import ELBO

RESULTS = Path(__file__).parent / "results" / "molecules.md"
N_TEST, N_DRAWN, N_STARTS = 1000, 1000, 200
UNKNOWN = 0.4
# Which share of the molecules is less soluble than what is looked for.
WANTED = 0.95
PATTERN = r"\[[^\]]*\]|Br|Cl|%\d\d|."


def solubility(data: Path):
    """Two models of measured solubility, of different families and disjoint molecules."""
    table = pd.read_csv(data / "moleculenet" / "esol.csv").sample(frac=1.0, random_state=0)
    strings, y = table.smiles.str.strip(), table.iloc[:, 8].to_numpy()
    half = len(table) // 2
    words = {"token_pattern": PATTERN, "lowercase": False}
    labeller = make_pipeline(CountVectorizer(**words), RidgeCV(np.logspace(-2, 3, 12)))
    judge = make_pipeline(
        CountVectorizer(ngram_range=(1, 2), **words),
        ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0),
    )
    labeller.fit(strings[:half], y[:half])
    judge.fit(strings[half:], y[half:])
    return labeller, judge, r2_score(y[:half], judge.predict(strings[:half]))


def models(n_components: int, max_iter: int, n_units: int) -> dict[str, tuple[str, dict]]:
    """Kind of the columns and arguments of each model."""
    common = {
        "n_components": n_components,
        "supervision": "properties",
        "batch_size": 128,
        "max_iter": max_iter,
        "random_state": 0,
    }
    tokens = {"likelihood": Columnwise(token=TokenSequence(n_units))}
    return {
        "tokens": ("token", common | tokens),
        "tokens, full KL": ("token", common | tokens | {"objective": ELBO()}),
        # At some places strings held out have tokens that no other has there.
        "category per place": ("categorical", common | {"unknown": "missing"}),
    }


def measured(kind: str, settings: dict, train, y, test, y_test, judge) -> dict:
    """What one model does."""
    encoder = TokenEncoder(pattern="smiles").fit([*train, *test])
    names = encoder.get_feature_names_out()
    X, T = (pd.DataFrame(encoder.transform(part), columns=names) for part in (train, test))
    started = time.process_time()
    vae = VAETransformer(column_kinds=dict.fromkeys(names, kind), **settings).fit(X, y)
    minutes = (time.process_time() - started) / 60
    back = encoder.inverse_transform(vae.reconstruct(T))
    drawn = encoder.inverse_transform(vae.sample(N_DRAWN, random_state=0))
    valid = [string for string in drawn if is_molecule(string)]
    starts = T[:N_STARTS]
    target = np.quantile(y[~np.isnan(y)], WANTED)
    found = encoder.inverse_transform(vae.optimize(starts, target))
    whole = np.array([is_molecule(string) for string in found])
    known = set(train)
    return {
        "places": (vae.reconstruct(T).to_numpy() == T.to_numpy()).mean(),
        "strings": (back == test).mean(),
        "KL": vae.diagnostics_["kl_per_latent"].sum(),
        "bound": float(vae._bound(T, 8).mean()),
        "valid": len(valid) / N_DRAWN,
        "unique": len(set(valid)) / max(len(valid), 1),
        "new": np.mean([string not in known for string in valid]),
        "R2": r2_score(y_test, vae.predict(T)),
        "target": target,
        "before": judge.predict(test[:N_STARTS]).mean(),
        "kept": judge.predict(back[:N_STARTS]).mean(),
        "found": judge.predict(found[whole]).mean() if whole.any() else np.nan,
        "found_valid": whole.mean(),
        "found_new": np.mean([s not in known for s in found[whole]]) if whole.any() else np.nan,
        "examples": sorted(set(valid), key=valid.index)[:6],
        "minutes": minutes,
    }


STRINGS, PROPERTY = "Strings", "Property"
HEAD = ["# Molecules as strings"]


def sections(
    found: dict[str, dict], n_train: int, args, agreement: float, pool: dict
) -> dict[str, list[str]]:
    """The page, section by section."""
    first = next(iter(found.values()))
    strings = [
        *report.paragraphs(
            f"{n_train} SMILES strings of QM9, {args.components} latents, {args.epochs} epochs, a "
            f"recurrent layer of {args.units} units; {N_TEST} strings held out, {N_DRAWN} drawn "
            "from the prior. Places and strings: share that comes back from the code. KL and "
            "bound on log p(x): nats per string held out. Valid: syntax, rings and valences by "
            f"the check in `_molecules_syntax.py`, which takes {pool['valid']:.1%} of the strings "
            "of QM9; unique and new, among the valid ones. CPU minutes are of the fit, on one "
            "thread of a machine that others used too.\n\n"
            '"category per place" is the same model with one softmax per place and nothing '
            'between places; "full KL" weighs the KL term by 1 instead of 0.2.'
        ),
        *report.markdown_table(
            ["model", "places", "strings", "KL", "bound", "valid", "unique", "new", "CPU min"],
            [[name, *STRING_ROW.format(**r).split()] for name, r in found.items()],
        ),
        "",
        "Drawn by the first model: " + ", ".join(f"`{s}`" for s in first["examples"]) + ".",
    ]
    of_property = [
        *report.paragraphs(
            "The property is log solubility as a linear model of token counts of one half of "
            f"ESOL gives it, hidden for {UNKNOWN:.0%} of the training strings. R2 is of the "
            "property head at the codes of strings held out. "
            f"`optimize` starts at {N_STARTS} strings held out and looks for "
            f"{first['target']:.2f}, the {WANTED:.0%} quantile. Its molecules are judged by trees "
            "on pairs of tokens fitted to the other half of ESOL (R2 "
            f"{agreement:.2f} on the first half): mean of the starts, of what comes back from "
            "their codes, and of the valid ones among those found. The mean of the training "
            f"strings is {pool['judged']:.2f}, and that of the tenth of them that the "
            f"linear model finds most soluble {pool['best']:.2f}."
        ),
        *report.markdown_table(
            ["model", "R2", "starts", "back", "found", "found valid", "found new"],
            [[name, *PROPERTY_ROW.format(**r).split()] for name, r in found.items()],
        ),
    ]
    return {STRINGS: strings, PROPERTY: of_property}


STRING_ROW = (
    "{places:.4f} {strings:.3f} {KL:.1f} {bound:.2f} {valid:.3f} {unique:.3f} {new:.3f} "
    "{minutes:.1f}"
)
PROPERTY_ROW = "{R2:.3f} {before:.2f} {kept:.2f} {found:.2f} {found_valid:.2f} {found_new:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("SKVAE_DATA"))
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--components", type=int, default=32)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.data is None:
        parser.error("Pass --data, the folder with qm9.csv and moleculenet/, or set SKVAE_DATA.")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    machine = report.Machine()
    strings = pd.read_csv(args.data / "qm9.csv").smiles.to_numpy(object)
    rng = np.random.default_rng(0)
    chosen = strings[rng.permutation(len(strings))[: args.rows + N_TEST]]
    train, test = chosen[: args.rows], chosen[args.rows :]
    labeller, judge, agreement = solubility(args.data)
    y, y_test = labeller.predict(train), labeller.predict(test)
    judged = judge.predict(train)
    pool = {
        "valid": np.mean([is_molecule(string) for string in strings]),
        "judged": judged.mean(),
        "best": judged[y >= np.quantile(y, 0.9)].mean(),
    }
    known = np.where(rng.random(len(y)) < UNKNOWN, np.nan, y)
    found = {}
    for name, (kind, settings) in models(args.components, args.epochs, args.units).items():
        if args.only and name not in args.only:
            continue
        found[name] = measured(kind, settings, train, known, test, y_test, judge)
        print(name, found[name], flush=True)
        parts = sections(found, len(train), args, agreement, pool)
        parts[STRINGS] += ["", *machine.describe(1)]
        report.write(args.out, HEAD, [STRINGS, PROPERTY], parts)


if __name__ == "__main__":
    main()
