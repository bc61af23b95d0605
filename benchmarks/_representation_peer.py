"""Runs in the peers' own environment: UMAP and pythae's VAE, one job per line of the input.

PYTHON _representation_peer.py

A line is ``{"method": ..., "d": ..., "seed": ..., "data": NPZ, "out": NPZ}``; the
answer is a line of CPU seconds.  The process stays, and what UMAP compiles it compiles before the
first job that needs it.
"""

import contextlib
import json
import os
import sys
import time
import warnings

# Before these are imported: they read it once.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import umap  # noqa: E402
from _representation_training import train as fit  # noqa: E402

torch.set_num_threads(1)


def by_umap(train, test, d, seed):
    clock = [time.process_time()]
    model = umap.UMAP(n_components=d, random_state=seed).fit(train)
    clock.append(time.process_time())
    codes = model.transform(test)
    clock.append(time.process_time())
    return {"train": model.embedding_, "test": codes}, np.diff(clock).tolist()


def by_pythae(train, test, d, seed):
    """Its VAE with its default networks and mean squared error."""
    from pythae.models import VAE, VAEConfig

    clock = [time.process_time()]
    torch.manual_seed(seed)
    model = VAE(VAEConfig(input_dim=(train.shape[1],), latent_dim=d, reconstruction_loss="mse"))
    # Its decoder ends in a sigmoid, which no standardised column can be fitted by.
    model.decoder.layers[-1] = model.decoder.layers[-1][0]
    fit(model, lambda model, rows: model({"data": rows}).loss, train, torch.default_generator)
    clock.append(time.process_time())
    with torch.no_grad():
        codes = model.encoder(torch.as_tensor(test)).embedding
        clock.append(time.process_time())
        back = model.decoder(codes).reconstruction.reshape(test.shape)
        seen = model.encoder(torch.as_tensor(train)).embedding
    found = {"train": seen.numpy(), "test": codes.numpy(), "back": back.numpy()}
    return found, np.diff(clock).tolist()


METHODS = {"umap": by_umap, "pythae": by_pythae}
# UMAP finds neighbours in one way up to here and in another above.
SEARCHES_ABOVE = 4096


def compile_for(n_rows, compiled) -> None:
    """Let UMAP compile what it needs for so many rows, once."""
    size = SEARCHES_ABOVE + 100 if n_rows > SEARCHES_ABOVE else 300
    if size not in compiled:
        rows = np.random.default_rng(0).normal(size=(size, 8)).astype(np.float32)
        by_umap(rows, rows[:50], 2, 0)
        compiled.add(size)


def main() -> None:
    answers, compiled = sys.stdout, set()
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            job = json.loads(line)
            data = np.load(job["data"])
            train, test = data["train"], data["test"]
            if job["method"] == "umap":
                compile_for(len(train), compiled)
            arrays, seconds = METHODS[job["method"]](train, test, job["d"], job["seed"])
            np.savez(job["out"], **arrays)
            print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    main()
