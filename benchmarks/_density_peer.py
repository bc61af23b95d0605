"""Runs in the peers' own environment: VAE and IWAE of pythae on MNIST, one job per line.

PYTHON _density_peer.py

A line is ``{"method": ..., "epochs": ..., "data": NPZ, "out": NPZ, ...}``; the answer is a line of
CPU seconds of the training.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import warnings

os.environ["OMP_NUM_THREADS"] = "1"
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _density_estimate import log_marginal  # noqa: E402
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: E402
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(1)


def layers(widths):
    pairs = zip(widths, widths[1:])
    return nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.Tanh())))


class Encoder(BaseEncoder):
    def __init__(self, n_columns, hidden, n_latents):
        super().__init__()
        self.body = layers((n_columns, *hidden))
        self.out = nn.Linear(hidden[-1], 2 * n_latents)

    def forward(self, x):
        loc, log_variance = self.out(self.body(x)).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decoder(BaseDecoder):
    def __init__(self, n_columns, hidden, n_latents):
        super().__init__()
        self.body = layers((n_latents, *hidden))
        self.out = nn.Linear(hidden[-1], n_columns)

    def logits(self, z):
        return self.out(self.body(z))

    def forward(self, z):
        return ModelOutput(reconstruction=self.logits(z).sigmoid())


class Dynamic:
    """Pixels drawn anew for each batch, before the model sees them."""

    def forward(self, inputs, **kwargs):
        drawn = torch.bernoulli(inputs["data"])
        return super().forward({**inputs, "data": drawn}, **kwargs)


class DynamicVAE(Dynamic, VAE):
    pass


class DynamicIWAE(Dynamic, IWAE):
    pass


def model_of(job, n_columns):
    common = {"input_dim": (n_columns,), "latent_dim": job["n_latents"]}
    shape = n_columns, tuple(job["hidden"]), job["n_latents"]
    parts = {"encoder": Encoder(*shape), "decoder": Decoder(*shape[:1], shape[1][::-1], shape[2])}
    if job["n_draws"] == 1:
        return DynamicVAE(VAEConfig(**common, reconstruction_loss="bce"), **parts)
    config = IWAEConfig(**common, reconstruction_loss="bce", number_samples=job["n_draws"])
    return DynamicIWAE(config, **parts)


def run(job):
    from pythae.data.datasets import BaseDataset

    data = np.load(job["data"])
    torch.manual_seed(job["seed"])
    model = model_of(job, data["train"].shape[1])
    rows = torch.as_tensor(data["train"], dtype=torch.float32) / 255
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=job["epochs"], learning_rate=job["rate"],
            per_device_train_batch_size=job["batch_size"], no_cuda=True, seed=job["seed"],
            scheduler_cls="CosineAnnealingLR", scheduler_params={"T_max": job["epochs"]},
        )  # fmt: skip
        trainer = BaseTrainer(model, BaseDataset(rows, torch.zeros(len(rows))), None, config)
        started = time.process_time()
        trainer.train()
        seconds = time.process_time() - started
    model.eval()

    def encode(x):
        found = model.encoder(x)
        return found.embedding, 0.5 * found.log_covariance

    scores = {
        f"draws_{n}": log_marginal(encode, model.decoder.logits, data["test"][:rows], n)
        for n, rows in job["estimates"]
    }
    np.savez(job["out"], **scores)
    return seconds


def main() -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
