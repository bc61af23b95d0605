"""Rows that are sequences, step by step: their model, its distributions, and what follows."""

from .model import SequentialVAE

__all__ = ["SequentialVAE"]
