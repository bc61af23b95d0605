"""Codes and cells of rows given some of their cells: p(z | given) and p(rest | given).

An encoder approximates p(z|x) for the rows that it was trained on.  The ways in here only start
from it: what they give follows the prior and the likelihood, also for rows whose missing cells
the encoder has never seen.
"""

from .methods import METHODS
from .shared_noise import SharedNoise
from .tables import completions, draws_given, draws_given_each

__all__ = ["METHODS", "SharedNoise", "completions", "draws_given", "draws_given_each"]
