"""Public classes say what they take and show how they are used."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

docscrape = pytest.importorskip("numpydoc.docscrape")

PACKAGE = Path(__file__).resolve().parents[1] / "skvae"
AXES = (
    "likelihoods",
    "missingness",
    "networks",
    "objectives",
    "penalties",
    "posteriors",
    "priors",
    "views",
)
# Contracts, not things to use: a base has no parameters of its own and nothing to show.
BASES = {
    "Component",
    "Likelihood",
    "Missingness",
    "Network",
    "Objective",
    "Penalty",
    "Posterior",
    "Prior",
    "View",
}


def exists(axis):
    return (PACKAGE / f"{axis}.py").exists() or (PACKAGE / axis / "__init__.py").exists()


def public_components():
    """Public classes of the axis modules, found without importing what may not exist yet."""
    for axis in filter(exists, AXES):
        module = importlib.import_module(f"skvae.{axis}")
        names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
        for name in names:
            value = getattr(module, name)
            ours = inspect.isclass(value) and value.__module__.startswith(f"skvae.{axis}")
            if ours and name not in BASES:
                yield value


def public_names():
    """``__all__`` of skvae, read from the source."""
    init = PACKAGE / "__init__.py"
    if not init.exists():
        return []
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return ast.literal_eval(node.value)
    return []


def public_estimators():
    skvae = importlib.import_module("skvae") if public_names() else None
    for name in public_names():
        if name.startswith("VAE"):
            yield getattr(skvae, name)


def or_skip(classes, what):
    found = [pytest.param(cls, id=f"{cls.__module__}.{cls.__name__}") for cls in classes]
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {what} yet"))]


COMPONENTS = or_skip(public_components(), "components")
ESTIMATORS = or_skip(public_estimators(), "estimators")


def read(value):
    doc = inspect.getdoc(value) if not inspect.isclass(value) else value.__doc__
    assert doc, f"{value.__qualname__} has no docstring"
    return docscrape.NumpyDocString(inspect.cleandoc(doc))


def documented(doc):
    """Names in the Parameters section; one entry may name several: ``q, p : Distribution``."""
    entries = [entry.name for entry in doc["Parameters"]]
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


def accepted(function):
    """Names that a callable accepts."""
    parameters = inspect.signature(function).parameters
    return [name for name in parameters if name != "self"]


@pytest.mark.parametrize("cls", COMPONENTS + ESTIMATORS)
def test_constructor_is_documented(cls):
    expected, found = accepted(cls), documented(read(cls))
    assert len(found) == len(set(found)), "a parameter is documented twice"
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    assert not missing, f"{cls.__name__} does not document {missing}"
    assert not unknown, f"{cls.__name__} documents {unknown}, which it does not take"
    assert found == expected, "documented in another order than taken"


@pytest.mark.parametrize("cls", COMPONENTS + ESTIMATORS)
def test_class_shows_an_example(cls):
    doc = read(cls)
    assert " ".join(doc["Summary"]).endswith("."), "the summary is a sentence"
    assert any(line.strip().startswith(">>>") for line in doc["Examples"])


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_estimator_lists_its_fitted_attributes(cls):
    names = [entry.name for entry in read(cls)["Attributes"]]
    assert {"n_features_in_", "feature_names_in_", "n_iter_", "history_"} <= set(names)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_public_methods_are_documented(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if name.startswith("_") or not inspect.unwrap(method).__module__.startswith("skvae"):
            continue
        doc = read(method)
        assert " ".join(doc["Summary"]).endswith("."), f"{name}: the summary is a sentence"
        unknown = set(documented(doc)) - set(accepted(method))
        assert not unknown, f"{name} documents {unknown}, which it does not take"


# Penalties are told of by their dict; rows that explain others have no score.
LEFT_OUT = {"VAEOutlierDetector": {"time_lagged", "past_future"}}


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_docstrings_name_every_string_that_a_parameter_takes(cls):
    for parameter in docscrape.ClassDoc(cls)["Parameters"]:
        for constraint in cls._parameter_constraints.get(parameter.name, []):
            options = getattr(constraint, "options", set()) - LEFT_OUT.get(cls.__name__, set())
            if parameter.name == "penalty":
                continue
            told = set(re.findall(r'"([^"]+)"', parameter.type))
            assert told >= {option for option in options if isinstance(option, str)}, parameter


@pytest.mark.parametrize("cls", COMPONENTS + ESTIMATORS)
def test_docstrings_name_the_defaults(cls):
    taken = inspect.signature(cls).parameters
    for parameter in read(cls)["Parameters"]:
        names = [name.strip() for name in parameter.name.split(",")]
        told = re.search(r"default=(.+)", " ".join(parameter.type.split()))
        if told and len(names) == 1:
            default = eval(told[1], {"np": np})
            assert repr(taken[names[0]].default) == repr(default), names
