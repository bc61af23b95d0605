"""Reweighted autoencoded variational Bayes: what to bias in the next simulation."""

from .bias import Bias
from .molecular import MolecularRAVE

__all__ = ["Bias", "MolecularRAVE"]
