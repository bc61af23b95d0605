"""What the pictures of latents ask of an estimator."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._style import number, pyplot

# Standard deviations by which a latent moves a column that is worth being pointed out.
NOTABLE = 0.25


def fitted_with(caller: str, estimator, *methods: str):
    """The fitted estimator itself, which must have these methods."""
    pyplot(caller)
    final = estimator[-1] if hasattr(estimator, "named_steps") else estimator
    lacking = [method for method in methods if not hasattr(final, method)]
    if lacking:
        raise TypeError(
            f"{caller} draws what {lacking[0]} gives, and {type(final).__name__} has none. "
            "Pass a VAETransformer."
        )
    if final is not estimator:
        raise TypeError(
            f"{caller} draws columns as the VAE knows them, and got a Pipeline. Pass its last "
            "step, pipeline[-1]."
        )
    check_is_fitted(estimator)
    return estimator


def image_shape_of(estimator, image_shape, columns) -> tuple[int, ...] | None:
    """That of rows which are images: as asked for, or of the network where no columns are."""
    if image_shape is not None or columns is not None or estimator.condition is not None:
        return image_shape
    return getattr(estimator.vae_.network, "image_shape", None)


def nats_of(estimator) -> np.ndarray | None:
    """Nats that each latent, or axis of codes, carries, where they are known."""
    known = getattr(estimator, "diagnostics_", {}).get("kl_per_latent")
    return known if known is None else getattr(estimator, "explained_", known)


def names_of(estimator) -> list:
    """Names of the columns, in their order."""
    return [column.name for column in estimator.codec_.columns_]


def chosen_components(caller: str, n: int, components, nats, most: int) -> list[int]:
    """Latents asked for, or those that carry the most, in their order."""
    if components is None:
        carried = np.zeros(n) if nats is None else np.asarray(nats)
        return sorted(np.argsort(-carried, kind="stable")[:most].tolist())
    chosen = [int(c) for c in np.atleast_1d(components)]
    if not chosen or not all(0 <= c < n for c in chosen):
        raise ValueError(
            f"{caller} expects components to be numbers from 0 to {n - 1}, as there are {n} "
            f"latents; got {components!r}."
        )
    return chosen


def with_nats(label: str, component: int, nats) -> str:
    """The label of a latent, with the nats that it carries where they are known."""
    return label if nats is None else f"{label}\n{number(float(nats[component]))} nats"
