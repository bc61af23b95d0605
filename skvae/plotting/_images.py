"""Rows that are images, side by side in one picture."""

from __future__ import annotations

import numpy as np

from ._tables import dense

RANGE = (0.01, 0.99)


def mosaic(images: np.ndarray, gap: int = 1) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Images ``(down, across, height, width, ...)`` as one, and where their middles lie.

    Between them is nothing, NaN, which is drawn as the ground.
    """
    n_down, n_across, height, width = images.shape[:4]
    shape = (n_down * (height + gap) - gap, n_across * (width + gap) - gap, *images.shape[4:])
    out = np.full(shape, np.nan)
    tops, lefts = np.arange(n_down) * (height + gap), np.arange(n_across) * (width + gap)
    for top, strip in zip(tops, images):
        for left, image in zip(lefts, strip):
            out[top : top + height, left : left + width] = image
    return out, (tops + (height - 1) / 2, lefts + (width - 1) / 2)


def as_images(caller: str, rows, shape: tuple) -> np.ndarray:
    """Rows as images, ``(rows, height, width, ...)``."""
    rows = dense(rows).astype(float)
    if rows.ndim != 2 or rows.shape[1] != np.prod(shape):
        raise ValueError(
            f"{caller} expects rows of {' x '.join(map(str, shape))} = {np.prod(shape)} pixels "
            f"for image_shape={shape!r}; got {rows.shape[-1]} columns."
        )
    return rows.reshape(-1, *shape)


def pixel_limits(X) -> tuple[float, float]:
    """Values of pixels that are drawn as nothing and as full: nearly all lie between."""
    low, high = np.nanquantile(dense(X).astype(float), RANGE)
    return float(low), float(high)


def show_pixels(ax, picture: np.ndarray, limits, style: dict):
    """Draw a picture on an axes, dark where a pixel is large; colours as they are."""
    if picture.ndim == 3:
        low, high = (np.nanmin(picture), np.nanmax(picture)) if limits is None else limits
        picture = np.clip((picture - low) / max(high - low, 1e-12), 0.0, 1.0)
        # Nothing is white.
        picture = np.where(np.isnan(picture), 1.0, picture)
    low, high = (None, None) if limits is None or picture.ndim == 3 else limits
    default = {"cmap": "gray_r", "interpolation": "nearest", "vmin": low, "vmax": high}
    return ax.imshow(picture, **default | style)
