"""Weights of fitted estimators as safetensors."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from sklearn.utils.validation import check_is_fitted

from .. import VAEOutlierDetector, VAETransformer
from .._files import replacing
from .._persistence import KEY, check_version
from .._version import __version__
from ..code_axes import CodeAxes
from ..exceptions import ExportError
from ..scores import BoundScore, LikelihoodScore
from .registry import Exporters

# What belongs to the weights beside those of the model, by estimator.
REST = Exporters("estimator")
FORMAT = "skvae weights"
# Of whose shape weights are.
PARTS = ("network", "posterior", "prior", "likelihood", "supervision")
# Longer lists are told apart by their digest.
MOST_NUMBERS = 64


def save_weights(estimator: Any, path: str | os.PathLike) -> None:
    """Write the weights of a fitted estimator to a file of safetensors, whole or not at all.

    Names are those of the mathematics, as ``encoder.weight_0``, ``posterior.log_factor``,
    ``prior.loc`` or ``likelihood.continuous.log_excess``; every array has a leading axis of the
    members. The metadata hold the version, the parameters and the units of the columns as JSON.
    The file holds no code.

    Parameters
    ----------
    estimator : VAETransformer or VAEOutlierDetector
        Fitted; a detector by ``score_function="likelihood"`` or ``"elbo"``, as the others keep
        more than weights.
    path : path
        File to write.

    Raises
    ------
    ExportError
        If the estimator is more than its weights.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skvae import VAETransformer
    >>> from skvae.export import load_weights, save_weights
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> trained = VAETransformer(2, max_iter=5, random_state=0).fit(X)
    >>> other = VAETransformer(2, max_iter=1, random_state=1).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "vae.safetensors")
    ...     save_weights(trained, path)
    ...     codes = load_weights(other, path).transform(X)
    >>> bool((codes == trained.transform(X)).all())
    True
    """
    check_is_fitted(estimator)
    rest = REST(estimator)
    arrays = {_outward(name): array for name, array in _state(estimator.vae_).items()}
    arrays |= rest.arrays(estimator)
    metadata = {"format": FORMAT, "skvae_version": __version__} | {
        name: json.dumps(value) for name, value in _about(estimator).items()
    }
    with replacing(path) as file:
        file.write(save(arrays, metadata))


def load_weights(estimator: Any, path: str | os.PathLike) -> Any:
    """Put weights that ``save_weights`` wrote into an estimator of the same shape.

    Parameters
    ----------
    estimator : VAETransformer or VAEOutlierDetector
        Fitted, if only by one epoch, to a table of the same columns, units and categories.
    path : path
        File to read.

    Returns
    -------
    estimator : estimator
        The same one; nothing of it has changed where an error is raised.

    Raises
    ------
    ExportError
        If the file holds something else, or weights of another model: other columns, units,
        categories, components or layers. It says which.
    VersionError
        If a newer major version of skvae wrote it.
    """
    check_is_fitted(estimator)
    rest = REST(estimator)
    arrays, metadata = _read(path)
    name, own = type(estimator).__name__, _about(estimator)
    check_version({KEY: metadata.get("skvae_version", __version__)}, name)
    about = {key: _of_metadata(metadata, key, path) for key in own}
    _check_same(name, own, about)
    state = {_outward(key): key for key in estimator.vae_.state_dict()}
    needed = {key: array.shape for key, array in rest.arrays(estimator).items()}
    needed = {k: shape for k, shape in needed.items() if k in arrays or k not in rest.later}
    _check_shapes(estimator, arrays, needed)
    beside = {key: arrays.pop(key) for key in needed}
    _fill(estimator.vae_, {state.get(k, _inward(estimator.vae_, k)): a for k, a in arrays.items()})
    estimator.best_member_ = about["best_member"]
    rest.put(estimator, beside)
    return estimator


@REST.of(VAETransformer)
class _Axes:
    # What files of earlier versions lack.
    later = frozenset({"codes.directions"})

    @staticmethod
    def arrays(estimator: Any) -> dict[str, np.ndarray]:
        axes = dict(vars(estimator._axes))
        # Latents in their order are axes, too, so that files of both have the same arrays.
        if axes.get("directions") is None:
            axes["directions"] = np.eye(len(axes["order"]))[:, axes["order"]]
        return {f"codes.{name}": np.array(value, order="C") for name, value in axes.items()}

    @staticmethod
    def put(estimator: Any, arrays: dict[str, np.ndarray]) -> None:
        axes = CodeAxes(**{k.removeprefix("codes."): v for k, v in arrays.items()})
        latents = np.eye(len(axes.order))[:, axes.order]
        if axes.directions is not None and np.array_equal(axes.directions, latents):
            axes.directions = None
        estimator._axes = axes
        estimator.explained_variance_ = estimator._axes.variance


@REST.of(VAEOutlierDetector)
class _Threshold:
    later: frozenset[str] = frozenset()

    @staticmethod
    def arrays(estimator: Any) -> dict[str, np.ndarray]:
        if type(estimator.score_) not in (LikelihoodScore, BoundScore):
            raise ExportError(
                f"{type(estimator).__name__}(score_function={estimator.score_function!r}) keeps "
                "more than weights: other models, or rows of the table. Save it by skops or "
                "pickle, or use score_function='likelihood'."
            )
        return {"offset": np.asarray(estimator.offset_, dtype=np.float64)}

    @staticmethod
    def put(estimator: Any, arrays: dict[str, np.ndarray]) -> None:
        estimator.offset_ = float(arrays["offset"])


def _state(vae: Any) -> dict[str, np.ndarray]:
    # Copies: safetensors writes the memory of an array as if it were contiguous.
    return {
        name: np.array(tensor.detach().cpu().numpy(), order="C")
        for name, tensor in vae.state_dict().items()
    }


def _outward(name: str) -> str:
    """``network.encoder.weight_0`` is ``encoder.weight_0``."""
    return name.removeprefix("network.").replace("_block.", ".")


def _inward(vae: Any, name: str) -> str:
    """Name in the model of what calibration adds: that of its part, which has others."""
    part, _, last = name.rpartition(".")
    for known, _ in vae.named_modules():
        if known and _outward(f"{known}.") == f"{part}.":
            return f"{known}.{last}"
    return name


def _about(estimator: Any) -> dict[str, Any]:
    """What weights are of, as plain values."""
    codec, vae, supervision = estimator.codec_, estimator.vae_, estimator.vae_.supervision
    parts = {name: repr(getattr(vae, name)) for name in PARTS}
    targets = None if supervision is None else _plain(vars(supervision))
    if hasattr(estimator, "classes_"):
        targets = {"classes": np.asarray(estimator.classes_).tolist()}
    about = {
        "estimator": type(estimator).__name__,
        "params": {k: repr(v) for k, v in sorted(estimator.get_params(deep=False).items())},
        "columns": {
            str(column.name): {"kind": type(column).__name__} | _plain(vars(column))
            for column in codec.columns_
        },
        "targets": targets,
        "model": {"n_components": vae.n_latents, "n_members": vae.n_members} | parts,
        "best_member": int(estimator.best_member_),
    }
    # As it comes back from a file.
    return json.loads(json.dumps(about))


def _plain(attributes: dict) -> dict[str, Any]:
    """Numbers and short lists as they are, long ones and what holds some by their digest."""
    found = {}
    for name, value in attributes.items():
        if name in ("name", "form") or name.startswith("_") or isinstance(value, torch.Tensor):
            continue
        if hasattr(value, "knots"):
            value = np.concatenate([value.knots, value.scores])
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, (np.ndarray, list, tuple)):
            cells = np.asarray(value).tolist()
            text = json.dumps(cells, default=str)
            value = cells if np.size(value) <= MOST_NUMBERS else _digest(text)
        if isinstance(value, (str, bool, int, float, list, type(None))):
            found[name] = value
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ExportError(
            f"{os.fspath(path)!r} is no whole file of safetensors: {error}."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ExportError(
            f"{os.fspath(path)!r} holds no weights of skvae. Pass a file that save_weights wrote."
        )
    return arrays, metadata


def _of_metadata(metadata: dict[str, str], key: str, path: str | os.PathLike) -> Any:
    try:
        return json.loads(metadata[key])
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"{os.fspath(path)!r} does not say what its weights are of: {key!r} of its metadata "
            "is missing or no JSON. Write it again by save_weights."
        ) from error


def _check_same(name: str, own: dict, about: dict) -> None:
    if about["estimator"] != own["estimator"]:
        raise ExportError(f"The weights are of a {about['estimator']}, and this is a {name}.")
    theirs, ours = about["columns"], own["columns"]
    if list(theirs) != list(ours):
        raise ExportError(
            f"The weights are of a table with the columns {list(theirs)[:10]}, and this {name} "
            f"was fitted to {list(ours)[:10]}."
        )
    for column, known in theirs.items():
        if known != ours[column]:
            raise ExportError(
                f"The weights know column {column!r} as {known}, and this {name} as "
                f"{ours[column]}: units or categories differ, so that codes would. Fit it to the "
                "rows that the weights come from, or load the whole estimator by skops or pickle."
            )
    for part, theirs in about["model"].items():
        if theirs != own["model"][part]:
            raise ExportError(
                f"The weights are of a model with {part}={theirs}, and this {name} has {part}="
                f"{own['model'][part]}. Give it the parameters of the other one."
            )
    if about["targets"] != own["targets"]:
        raise ExportError(
            f"The weights have learned of the targets {about['targets']}, and this {name} of "
            f"{own['targets']}."
        )


def _check_shapes(estimator: Any, arrays: dict[str, np.ndarray], beside: dict[str, tuple]) -> None:
    name, vae = type(estimator).__name__, estimator.vae_
    weights = {_outward(key) for key, _ in vae.named_parameters()}
    shapes = {_outward(k): tuple(tensor.shape) for k, tensor in vae.state_dict().items()} | beside
    modules = {_outward(f"{k}."): part for k, part in vae.named_modules()}
    modules["."] = modules.pop("", vae)
    lacking = sorted((weights | set(beside)) - set(arrays))
    unknown = [k for k in arrays if k not in shapes and _is_taken(modules, k)]
    for what, names in (("lack", lacking), ("also hold", unknown)):
        if names:
            raise ExportError(
                f"The weights {what} {names[:5]}{' and others' if len(names) > 5 else ''}: they "
                f"are of another model than this {name}. Give it the parameters that the "
                "metadata of the file tell."
            )
    for key in set(shapes) & set(arrays):
        found, known = arrays[key].shape, shapes[key]
        fits = found == known if key in beside else _fits(found, known, key in weights)
        if not fits:
            raise ExportError(
                f"The weights have {key!r} of shape {found}, and this {name} of {known}. Give it "
                "the parameters that the metadata of the file tell."
            )


def _fits(found: tuple, known: tuple, is_weight: bool) -> bool:
    if len(found) != len(known):
        return False
    # Noise is one for all columns or one per column, and calibration fits more or fewer normals.
    one = bool(found) and 1 in (found[-1], known[-1])
    return (
        found == known
        or found[:1] == known[:1]
        and (not is_weight or one and found[:-1] == known[:-1])
    )


def _is_taken(modules: dict[str, Any], name: str) -> bool:
    """Whether a name is that of no part, or of something else there."""
    part, _, last = name.rpartition(".")
    return f"{part}." not in modules or hasattr(modules[f"{part}."], last)


def _fill(vae: Any, arrays: dict[str, np.ndarray]) -> None:
    """Take these weights, and of what calibration fits just what is there."""
    weights = dict(vae.named_parameters())
    for name in set(dict(vae.named_buffers())) - set(arrays):
        part, _, last = name.rpartition(".")
        del vae.get_submodule(part)._buffers[last]
    for name, array in arrays.items():
        if name in weights:
            weights[name].data = torch.tensor(array).to(weights[name])
            continue
        part, _, last = name.rpartition(".")
        device = next(iter(weights.values())).device
        vae.get_submodule(part).register_buffer(last, torch.tensor(array, device=device))
    vae.eval()
