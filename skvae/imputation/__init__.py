"""Imputation: the conditional model, its training by cells, refinement, and pooling."""
