"""A VAE in ordinary PyTorch, as one would write it without a library."""

from __future__ import annotations

import numpy as np
import torch
from _common import HIDDEN
from sklearn.base import BaseEstimator
from torch import nn


def layers(*widths: int) -> list[nn.Module]:
    pairs = zip(widths, widths[1:])
    return [m for n_in, n_out in pairs for m in (nn.Linear(n_in, n_out), nn.ReLU())]


class PlainVAE(nn.Module):
    """Encoder, draw, decoder."""

    def __init__(self, d: int, n_components: int):
        super().__init__()
        self.encoder = nn.Sequential(*layers(d, *HIDDEN), nn.Linear(HIDDEN[-1], 2 * n_components))
        trunk = layers(n_components, *HIDDEN[::-1])
        self.decoder = nn.Sequential(*trunk, nn.Linear(HIDDEN[0], d))

    def forward(self, x):
        loc, log_var = self.encoder(x).chunk(2, 1)
        z = loc + (0.5 * log_var).exp() * torch.randn_like(loc)
        return self.decoder(z), loc, log_var


class PlainLoss(nn.Module):
    """Squared error plus KL, nats per row."""

    def __init__(self, beta: float = 1.0):
        super().__init__()
        self.beta = beta

    def forward(self, output, x):
        reconstruction, loc, log_var = output
        kl = 0.5 * (loc.square() + log_var.exp() - 1 - log_var).sum(1)
        return (0.5 * (x - reconstruction).square().sum(1) + self.beta * kl).mean()


class EagerVAE(BaseEstimator):
    """The estimator around it: tensors that stay, shuffled minibatches, Adam, ELBO as score."""

    def __init__(
        self, n_components=8, learning_rate=1e-3, beta=1.0, batch_size=32, max_iter=20, seed=0
    ):
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.beta = beta
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X, y=None):
        torch.manual_seed(self.seed)
        X = torch.as_tensor(X, dtype=torch.float32)
        self.loc_, self.scale_ = X.mean(0), X.std(0)
        X = (X - self.loc_) / self.scale_
        self.module_ = PlainVAE(X.shape[1], self.n_components)
        loss = PlainLoss(self.beta)
        optimizer = torch.optim.Adam(self.module_.parameters(), lr=self.learning_rate)
        for _ in range(self.max_iter):
            for rows in torch.randperm(len(X)).split(self.batch_size):
                x = X[rows]
                optimizer.zero_grad()
                loss(self.module_(x), x).backward()
                optimizer.step()
        return self

    @torch.no_grad()
    def score(self, X, y=None):
        X = (torch.as_tensor(X, dtype=torch.float32) - self.loc_) / self.scale_
        unit = 0.5 * X.shape[1] * np.log(2 * np.pi) + self.scale_.log().sum()
        return float(-PlainLoss()(self.module_(X), X) - unit)
