"""Who may import whom: the direction of the design, read off the syntax trees.

A rule whose files do not exist is skipped. Imports for annotations only (``if TYPE_CHECKING:``)
do not count: nothing runs through them.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skvae"
MAX_LINES = 420

AXES = {
    "likelihoods",
    "missingness",
    "networks",
    "objectives",
    "penalties",
    "posteriors",
    "priors",
    "supervision",
    "views",
}
CORE = {
    "_component",
    "_pass",
    "_shorthand",
    "_state",
    "alignment",
    "arrays",
    "distributions",
    "divergences",
    "exceptions",
    "expectation_maximization",
    "expectations",
    "noise",
    "products",
    "recurrence",
}
ENGINE = {
    "calibration",
    "conditioning",
    "context",
    "factor_model",
    "gaussian_score",
    "incomplete_rows",
    "inference",
    "ladder",
    "semi_supervised",
    "sensitivity",
    "sequences",
    "training",
    "vae",
}
ESTIMATORS = {"_imputer", "_outlier_detector", "_synthesizer", "_transformer"}


def module_name(path):
    """``skvae/table/codec.py`` is ``skvae.table.codec``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def nodes(tree, *, into_functions):
    """Walk a tree past ``if TYPE_CHECKING:`` and, unless asked, past what only runs in a call."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        children = tree.orelse
    elif isinstance(tree, (ast.FunctionDef, ast.AsyncFunctionDef)) and not into_functions:
        children = []
    else:
        children = ast.iter_child_nodes(tree)
    for child in children:
        yield child
        yield from nodes(child, into_functions=into_functions)


def imports_of_source(source, name, is_package, known, *, into_functions=True):
    """Full names of the modules that a source imports."""
    found = set()
    for node in nodes(ast.parse(source), into_functions=into_functions):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                base = ".".join(parts + ([node.module] if node.module else []))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return found


@cache
def imports(name, *, into_functions=True):
    """Full names of the modules that a module of skvae imports."""
    path = FILES[name]
    return imports_of_source(
        path.read_text(encoding="utf-8"),
        name,
        path.name == "__init__.py",
        FILES.keys(),
        into_functions=into_functions,
    )


def part(name):
    """The part of skvae that a module belongs to: ``skvae.table.codec`` is of ``table``."""
    names = name.split(".")
    return names[1] if names[0] == "skvae" and len(names) > 1 else ""


def parts_imported(name):
    """The parts of skvae that a module imports; ``""`` stands for the package itself."""
    return {part(target) for target in imports(name) if target.split(".")[0] == "skvae"}


def modules_of(*parts):
    return [name for name in FILES if part(name) in parts]


def cases(*parts):
    found = modules_of(*parts)
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {parts} yet"))]


def roots_imported(name, *, into_functions=True):
    return {target.split(".")[0] for target in imports(name, into_functions=into_functions)}


def test_reader_resolves_imports():
    source = (
        "import torch.nn\nfrom ..noise import Noise\nfrom .. import priors, noise\n"
        "from .mlp import MLP\nfrom __future__ import annotations\n"
        "if TYPE_CHECKING:\n    from ..vae import VAE\nelse:\n    import json\n"
        "def late():\n    import matplotlib.pyplot\n"
    )
    known = {"skvae", "skvae.noise", "skvae.priors", "skvae.networks", "skvae.networks.mlp"}
    early = {
        "__future__",
        "json",
        "skvae.networks.mlp",
        "skvae.noise",
        "skvae.priors",
        "torch.nn",
    }
    read = imports_of_source
    assert read(source, "skvae.networks.conv", False, known, into_functions=False) == early
    assert read(source, "skvae.networks.conv", False, known) == early | {"matplotlib.pyplot"}
    package = read("from . import mlp\nfrom ..noise import Noise", "skvae.networks", True, known)
    assert package == {"skvae.networks.mlp", "skvae.noise"}


@pytest.mark.parametrize("name", cases("table"))
def test_table_knows_no_model(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"table", "exceptions"}


@pytest.mark.parametrize("name", cases("streaming"))
def test_sources_know_tables_and_no_model(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"streaming", "table", "exceptions"}


@pytest.mark.parametrize("name", cases("metrics"))
def test_measures_know_tables_and_no_model(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"metrics", "table"}


@pytest.mark.parametrize(
    "name", cases("conformal", "drift", "score_mixture", "transferred_mixture")
)
def test_promises_are_arithmetic_of_scores(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"score_mixture"}


@pytest.mark.parametrize("name", cases("plotting"))
def test_pictures_know_tables_and_measures(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"plotting", "metrics", "table"}


@pytest.mark.parametrize("name", cases(*sorted(AXES)))
def test_axes_know_only_the_core(name):
    assert parts_imported(name) <= CORE | {part(name)}  # an axis may be a package


@pytest.mark.parametrize("name", cases(*sorted(CORE)))
def test_core_knows_only_the_core(name):
    assert parts_imported(name) <= CORE


@pytest.mark.parametrize("name", cases(*sorted(ENGINE)))
def test_engine_knows_no_concrete_component(name):
    assert not parts_imported(name) & AXES
    assert not parts_imported(name) & (
        ESTIMATORS
        | {"", "_base", "_conditional", "_decoding", "_density", "_latents", "plotting", "table"}
    )


@pytest.mark.parametrize("name", cases(*sorted(ESTIMATORS)))
def test_estimators_know_only_the_base(name):
    known = {
        "_arguments",
        "_base",
        "_conditional",
        "_decoding",
        "_explanation",
        "_forecasting",
        "_latents",
        "_persistence",
        "_promises",
        "_resuming",
        "_scoring",
        "_sklearn_compat",
        "_sources",
        "_trimming",
        "_undo",
        "_warning",
        "_supervised",
        "code_axes",
        "exceptions",
        "imputation",
        "scores",
        "synthesis",
        "table",
    }
    assert parts_imported(name) <= known


@pytest.mark.parametrize("name", cases("scores"))
def test_scores_know_estimators_by_their_methods(name):
    assert not parts_imported(name) & (ESTIMATORS | {"", "_base", "plotting", "metrics"})


@pytest.mark.parametrize("name", cases("dask", "distributed"))
def test_machines_know_estimators_by_their_methods(name):
    above = ESTIMATORS | AXES | {"", "_base", "plotting", "table"}
    assert not parts_imported(name) & above


@pytest.mark.parametrize("name", cases("cellwise"))
def test_cells_are_judged_by_models_alone(name):
    above = ESTIMATORS | {"", "_base", "_explanation", "plotting", "metrics", "scores"}
    assert not parts_imported(name) & above


@pytest.mark.parametrize("name", cases("pyod"))
def test_other_conventions_wrap_an_estimator(name):
    assert "pyod" not in roots_imported(name)
    assert parts_imported(name) <= ESTIMATORS


@pytest.mark.parametrize("name", cases("rave"))
def test_simulations_wrap_a_transformer(name):
    assert "torch" not in roots_imported(name)
    assert parts_imported(name) <= {"_arguments", "_transformer", "rave"}


@pytest.mark.parametrize("name", cases("export"))
def test_exports_are_read_by_nobody(name):
    others = [other for other in FILES if part(other) != "export"]
    assert not [other for other in others if name in imports(other)]
    optional = {"onnx", "onnxruntime", "skl2onnx", "safetensors"}
    assert not optional & {r for other in others for r in roots_imported(other)}


def test_only_the_base_sees_the_axes_together():
    if "skvae._base" not in FILES:
        pytest.skip("no _base yet")
    together = {name for name in FILES if len(parts_imported(name) & AXES) > 1}
    assert together == {"skvae._base"}


@pytest.mark.parametrize("name", list(FILES) or [None])
def test_matplotlib_is_imported_late(name):
    if name is None:
        pytest.skip("no files yet")
    assert "matplotlib" not in roots_imported(name, into_functions=False)


@pytest.mark.parametrize("name", list(FILES) or [None])
def test_no_file_is_long(name):
    if name is None:
        pytest.skip("no files yet")
    n_lines = len(FILES[name].read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{name} has {n_lines} lines; split it at a seam"


def test_importing_skvae_is_light():
    if "skvae" not in FILES:
        pytest.skip("no skvae/__init__.py yet")
    code = (
        "import sys, skvae\n"
        "print(*({m.split('.')[0] for m in sys.modules} & {'torch', 'matplotlib'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


def test_importing_skvae_costs_no_more_than_scikit_learn():
    """The least of several runs in turn, so that a busy machine does not count."""
    resource = pytest.importorskip("resource")

    def seconds():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def cost(name):
        code = f"import sys, {name}; print(len(sys.modules))"
        before = seconds()
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
        return seconds() - before, int(ran.stdout)

    runs = [(cost("skvae"), cost("sklearn")) for _ in range(5)]
    (ours, our_modules), (theirs, their_modules) = (min(each) for each in zip(*runs))
    assert our_modules < their_modules
    assert ours < 1.15 * theirs
