"""What each loader trusts, claim by claim of SECURITY.md: no file runs code but pickles do."""

import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skvae import VAEImputer, VAEOutlierDetector, VAESynthesizer, VAETransformer
from skvae.exceptions import CheckpointWarning, ExportError, StateError, VersionError
from skvae.networks import MLP

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.PosteriorCollapseWarning")
QUICK = {"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def table(n_columns=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 2)) @ rng.normal(size=(2, n_columns)) + rng.normal(
        size=(60, n_columns)
    )


RAN = []


def note(*args):
    """What hostile files try to have called."""
    RAN.append(args)
    return 0


class Bomb:
    """Runs ``note`` in whoever unpickles it."""

    def __reduce__(self):
        return note, ("by pickle",)


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()


@pytest.fixture(scope="module")
def vae():
    return VAETransformer(**QUICK).fit(table())


# ---------------------------------------------------------------------------- pickle and joblib


def test_pickles_run_code_before_we_are_asked(vae):
    """As SECURITY.md warns: a state is read before it can be checked."""
    blob = pickle.dumps({"model": vae, "bomb": Bomb()})
    pickle.loads(blob)
    assert RAN == [("by pickle",)]
    file = io.BytesIO()
    joblib.dump(Bomb(), file)
    joblib.load(io.BytesIO(file.getvalue()))
    assert len(RAN) == 2


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_half_a_pickle_is_no_model(share, vae):
    blob = pickle.dumps(vae)
    with pytest.raises((EOFError, pickle.UnpicklingError, ValueError, IndexError)):
        pickle.loads(blob[: int(share * len(blob))])


# --------------------------------------------------------------------------------------- states

NO_STATES = {
    "no dictionary": lambda state: list(state),
    "a method is replaced": lambda state: {**state, "fit": note},
    "a private method is replaced": lambda state: {**state, "_validate_params": note},
    "what makes it is replaced": lambda state: {**state, "__init__": note},
    "what Python keeps": lambda state: {**state, "__class__": VAEImputer},
    "a name that is none": lambda state: {**state, "a b": 1},
    "a number for a name": lambda state: {**state, 3: 1},
    "no version": lambda state: {**state, "_skvae_version": "newest"},
    "a number for a version": lambda state: {**state, "_skvae_version": 1},
}


@pytest.mark.parametrize("name", NO_STATES)
@pytest.mark.parametrize(
    "cls", [VAETransformer, VAEOutlierDetector, VAEImputer, VAESynthesizer], ids=str
)
def test_states_that_are_none(cls, name):
    state = cls().__getstate__()
    with pytest.raises(StateError, match=f"{cls.__name__}.*(damaged|harm)"):
        cls.__new__(cls).__setstate__(NO_STATES[name](state))


def test_a_newer_version_is_told():
    state = {**VAETransformer().__getstate__(), "_skvae_version": "99.0"}
    with pytest.raises(VersionError, match="saved by skvae 99.0.*Upgrade"):
        VAETransformer().__setstate__(state)


NO_COMPONENTS = {
    "no dictionary": lambda state: [],
    "something is missing": lambda state: {k: v for k, v in state.items() if k != "weights"},
    "something more": lambda state: {**state, "run": note},
    "the way through is replaced": lambda state: {**state, "attributes": {"forward": note}},
    "weights of objects": lambda state: {
        **state, "weights": {"weight_0": np.array([note], dtype=object)}
    },
    "weights that are none": lambda state: {**state, "buffers": {"a": note}},
}  # fmt: skip


@pytest.mark.parametrize("name", NO_COMPONENTS)
def test_components_that_are_none(name):
    state = MLP((3,)).__getstate__()
    with pytest.raises(StateError, match="saved .*MLP"):
        MLP((3,)).__setstate__(NO_COMPONENTS[name](state))


def resized(vae, part):
    """A model with a weight of another shape."""
    other = pickle.loads(pickle.dumps(vae))
    name, weight = next((n, p) for n, p in other.vae_.named_parameters() if part in n)
    path, _, last = name.rpartition(".")
    wrong = type(weight)(weight.detach()[..., : max(weight.shape[-1] // 2, 1)].clone())
    other.vae_.get_submodule(path)._parameters[last] = wrong
    assert wrong.shape != weight.shape
    return other


@pytest.mark.parametrize("part", ["encoder.weight_0", "decoder.weight_0", "encoder.weight_1"])
def test_weights_that_do_not_fit(part, vae):
    blob = pickle.dumps(resized(vae, part))
    with pytest.raises(StateError, match="weights of this saved VAETransformer do not fit"):
        pickle.loads(blob)


def test_weights_of_another_table(vae):
    other = pickle.loads(pickle.dumps(vae))
    other.codec_ = VAETransformer(**QUICK).fit(table(6)).codec_
    with pytest.raises(StateError, match="or its table of 6 columns .4 columns came out"):
        pickle.loads(pickle.dumps(other))


# ---------------------------------------------------------------------------------------- skops


def skops():
    return pytest.importorskip("skops.io")


def trusted_of(blob):
    """The rule of SECURITY.md."""
    unknown = skops().get_untrusted_types(data=blob)
    assert all(name.startswith("skvae.") for name in unknown), unknown
    return unknown


def tampered(blob, change):
    """The file with another schema, its arrays as they are."""
    found, out = zipfile.ZipFile(io.BytesIO(blob)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name in found.namelist():
            content = found.read(name)
            if name == "schema.json":
                content = json.dumps(change(json.loads(content))).encode()
            written.writestr(name, content)
    return out.getvalue()


def renamed(schema, module, name, kind=None, of="CodeAxes"):
    """The first node of a class as one of another class."""

    def visit(node):
        if isinstance(node, dict):
            if node.get("__class__") == of:
                node["__class__"], node["__module__"] = name, module
                if kind is not None:
                    node["__loader__"] = kind
                return True
            return any(visit(child) for child in node.values())
        return isinstance(node, list) and any(visit(child) for child in node)

    assert visit(schema)
    return schema


def test_what_skops_has_to_trust_is_ours(vae):
    blob = skops().dumps(vae)
    loaded = skops().loads(blob, trusted=trusted_of(blob))
    assert_array_equal(loaded.transform(table()), vae.transform(table()))


HOSTILE = {
    "a function of the system": ("os", "system", "FunctionNode"),
    "eval": ("builtins", "eval", "FunctionNode"),
    "a class of the system": ("subprocess", "Popen", None),
    "a type": ("subprocess", "Popen", "TypeNode"),
    "a function of ours": (__name__, "note", "FunctionNode"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_other_types_are_refused_and_never_run(name, vae):
    module, called, kind = HOSTILE[name]
    blob = skops().dumps(vae)
    ours = trusted_of(blob)
    bad = tampered(blob, lambda schema: renamed(schema, module, called, kind))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        skops().loads(bad, trusted=ours)
    assert isinstance(caught.value, (TypeError, ValueError, KeyError)), caught.value
    assert not RAN
    try:
        unknown = skops().get_untrusted_types(data=bad)
    except (TypeError, ValueError, KeyError):
        return
    assert [n for n in unknown if not n.startswith("skvae.")], "the rule does not see it"


def test_a_bomb_within_a_model_is_seen(vae):
    """An attribute that pickle would have run is a type that nobody trusts."""
    other = pickle.loads(pickle.dumps(vae))
    other.note = Bomb()
    try:
        blob = skops().dumps(other)
    except Exception:  # skops may refuse to write it at all.
        return
    with pytest.raises(skops().exceptions.UntrustedTypesFoundException):
        skops().loads(blob, trusted=trusted_of(skops().dumps(vae)))
    assert not RAN


def test_a_damaged_skops_file(vae):
    blob = skops().dumps(vae)
    for size in (0, 100, len(blob) // 2, len(blob) - 9):
        with pytest.raises((zipfile.BadZipFile, EOFError, ValueError, KeyError)):
            skops().loads(blob[:size], trusted=trusted_of(blob))


def test_wrong_shapes_in_a_skops_file(vae):
    blob = skops().dumps(resized(vae, "encoder.weight_0"))
    with pytest.raises(StateError, match="do not fit"):
        skops().loads(blob, trusted=trusted_of(blob))


# --------------------------------------------------------------------------------- other files


def test_checkpoints_hold_no_code(tmp_path):
    """Arrays are read without pickle: a bomb in one is damage, and training begins anew."""
    folder = tmp_path / "here"
    vae = VAETransformer(checkpoint=folder, **QUICK).fit(table())
    parts = sorted(folder.glob("part-*.npz"))
    assert parts and {p.suffix for p in folder.iterdir()} <= {".npz", ".json"}
    for path in parts:
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype != object for name in file.files)
        np.savez(path, bomb=np.array([Bomb()], dtype=object))
    manifest = json.loads((folder / "fit.json").read_text())
    (folder / "fit.json").write_text(json.dumps({**manifest, "finished": False}))
    with pytest.warns(CheckpointWarning, match="damaged"):
        again = VAETransformer(checkpoint=folder, **QUICK).fit(table())
    assert not RAN
    assert_array_equal(again.transform(table()), vae.transform(table()))


def test_safetensors_hold_no_code(vae, tmp_path):
    pytest.importorskip("safetensors")
    from skvae.export import load_weights

    path = tmp_path / "model.safetensors"
    for content in (pickle.dumps(Bomb()), b"", b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(ExportError, match="no whole file of safetensors"):
            load_weights(pickle.loads(pickle.dumps(vae)), path)
    assert not RAN


def test_graphs_hold_no_code(vae):
    """Operators of ONNX alone: none of a library of its own, and no files beside it."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from skvae.export import to_onnx

    graph = to_onnx(vae)
    assert {opset.domain for opset in graph.opset_import} <= {"", "ai.onnx", "ai.onnx.ml"}
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx", "ai.onnx.ml"}
    assert not any(weight.external_data for weight in graph.graph.initializer)
    assert not graph.functions


def test_tables_hold_no_code(vae, tmp_path):
    """Parquet files are columns of plain types; pickled cells stay the bytes that they are."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    columns = {f"x{j}": pa.array([pickle.dumps(Bomb())] * 60, pa.binary()) for j in range(4)}
    parquet.write_table(pa.table(columns), path)
    with pytest.raises((TypeError, ValueError), match="(?s)Column|column|binary"):
        VAETransformer(**QUICK).fit(str(path))
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises((TypeError, ValueError, OSError)):
        VAETransformer(**QUICK).fit(str(path))
    objects = np.array([[Bomb()] * 4] * 60, dtype=object)
    np.save(tmp_path / "rows.npy", objects, allow_pickle=True)
    with pytest.raises((TypeError, ValueError)):
        VAETransformer(**QUICK).fit(str(tmp_path / "rows.npy"))
    assert not RAN


def test_nothing_is_unpickled_or_evaluated_but_where_it_says_so():
    """The places in the source that could run what a file holds."""
    risky = re.compile(
        r"\b(pickle\.loads?|joblib\.load|torch\.load|eval|exec|allow_pickle=True|yaml\.load)\b(?=\()"
        r"|allow_pickle=True"
    )
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "skvae").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if risky.search(re.sub(r"\.eval\(", "", line.split("#")[0]))
    }
    # Processes that train together send one another calls, through a folder of their own.
    assert all(name.startswith("skvae/distributed/") for name in found), found


def test_the_page_names_every_loader():
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for word in ("pickle", "joblib", "skops", "safetensors", "ONNX", "checkpoint", "Parquet"):
        assert word in page
