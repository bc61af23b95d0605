"""Synthetic rows: a conditional model that draws one cell after another, and its critic."""
