"""Steps of training on a device that no tensor can be read from.

Tensors on ``meta`` have shapes and no numbers: to ask for one is an error there, as is an
operation that also meets a tensor on the host.  So they stand for an accelerator, and show where a
step would wait for it.
"""

import traceback

import numpy as np
import pytest
import torch
from components import EVERY, blocks_of, random_batch, tiny_vae, vae_and_batch
from numpy.testing import assert_allclose
from torch.utils._python_dispatch import TorchDispatchMode

from skvae import calibration, code_axes
from skvae._pass import Batch
from skvae.conditioning import annealing, bridge
from skvae.distributions import NegativeBinomial, count_rows
from skvae.distributions.count_rows import NegativeBinomialRows
from skvae.noise import Noise
from skvae.objectives import ELBO, _MemberwiseELBO
from skvae.penalties import pairs, radon_sobolev, sliced_wasserstein
from skvae.penalties._base import WeightedPenalty
from skvae.posteriors import Ladder, VectorQuantized, quantized
from skvae.training import Rows, Settings
from skvae.training.closed_form import GaussianStep
from skvae.training.flat import FlatAdam
from skvae.training.loop import _Run
from skvae.training.settings import StackSettings
from skvae.training.terms import TERMS, Terms
from skvae.views import Binarized

DEVICE = torch.device("meta")
# Without which no step of these was ever made on a device.
DOUBLES = annealing, bridge, calibration, code_axes, pairs, radon_sobolev, sliced_wasserstein


class Numbers(Noise):
    """Draws that have no value."""

    def __init__(self, n_members):
        self.device = DEVICE
        self.generators = [None] * n_members

    def _each(self, draw):
        raise AssertionError("there are no generators of this device")

    def normal(self, *shape):
        return torch.empty(self.n_members, *shape, device=DEVICE)

    uniform = normal

    def permutation(self, n):
        return torch.empty(self.n_members, n, dtype=torch.long, device=DEVICE)

    def gamma(self, concentration):
        return torch.empty_like(concentration)

    poisson = gamma

    def places(self):
        return np.zeros((self.n_members, 1), dtype=np.uint8)


class Watch(TorchDispatchMode):
    """Notes where work on the device waits for the host, and where it takes float64."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if name == "aten::_to_copy" and not kwargs.get("non_blocking"):
            if args[0].device != torch.device(kwargs.get("device") or args[0].device):
                self._note("a copy from the host")
        if name == "aten::copy_" and args[0].device != args[1].device:
            self._note("a copy from the host")
        out = func(*args, **kwargs)
        for part in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(part, torch.Tensor) and part.device == DEVICE:
                if part.dtype == torch.float64:
                    self._note("float64")
        return out

    def _note(self, what):
        place = [frame for frame in traceback.extract_stack() if "/skvae/" in frame.filename][-1]
        self.found.append(f"{what}: {place.filename}:{place.lineno} {place.line}")


@pytest.fixture(autouse=True)
def as_on_a_device(monkeypatch):
    """As on MPS, which has no float64."""
    for module in DOUBLES:
        monkeypatch.setattr(module, "wide", lambda tensor: tensor)


def moved(vae):
    for module in vae.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                kept = torch.nn.Parameter(there(parameter.detach()), parameter.requires_grad)
                module._parameters[name] = kept
        for name, buffer in module._buffers.items():
            module._buffers[name] = there(buffer)
    return vae.train()


def there(tensor):
    return None if tensor is None else torch.empty_like(tensor, device=DEVICE)


def waits_of_a_step(vae, batch, objective):
    """What a step would wait for."""
    names = ("inputs", "values", "mask", "weights", "codes", "targets", "shares")
    batch = Batch(*(there(getattr(batch, name)) for name in names))
    optimizer = FlatAdam(moved(vae), 0.1, 100.0)
    noise, gaussian = Numbers(vae.n_members), GaussianStep.of(vae, objective, optimizer)
    with Watch() as watch:
        if gaussian is not None:
            gaussian(batch, noise, objective.weight_at(3.0, 10))
        else:
            step = vae(batch, noise, objective.n_draws, optimizer.by_hand)
            loss = objective(step, 3.0, 10)
            if vae.penalty is not None:
                loss = loss + vae.penalty(step, noise)
                critic = vae.penalty.critic_loss(step, noise)
                loss = loss if critic is None else loss + critic
            optimizer.differentiate(loss.sum())
        optimizer.step([(0, vae.n_members, 0.1)])
    return sorted(set(watch.found))


@pytest.mark.parametrize("name", EVERY)
def test_a_step_waits_for_nothing(name):
    axis, example = EVERY[name]
    objective = example if axis == "objective" else ELBO()
    vae, batch = vae_and_batch(axis, example, masked=True, weighted=True)
    assert waits_of_a_step(vae, batch, objective) == []


@pytest.mark.parametrize(
    ("parts", "objective"),
    [
        ({}, ELBO()),
        ({}, _MemberwiseELBO([(ELBO(0.5), 10), (ELBO(2.0), 10)])),
        ({"posterior": Ladder(2)}, ELBO(balance=True, warm_up=5)),
    ],
    ids=["the default", "a stack of weights", "groups that are balanced"],
)
def test_a_step_on_whole_rows_waits_for_nothing(parts, objective):
    vae = tiny_vae(**parts)
    batch = random_batch(blocks_of(vae.likelihood))
    assert waits_of_a_step(vae, batch, objective) == []


def test_cells_are_drawn_anew_without_waiting():
    view = Binarized()
    view.cells = view.seen = slice(0, 2)
    view.step = np.ones(2, dtype=np.float32)
    batch = Batch(*(torch.empty(2, 1, 5, 3, device=DEVICE) for _ in range(2)), None, None)
    batch.shares = torch.empty(2, 1, 5, 2, device=DEVICE)
    with Watch() as watch:
        view.redrawn(batch, Numbers(2))
    assert watch.found == []


def test_an_epoch_waits_at_its_end_alone(monkeypatch):
    waited = []

    def sums(terms, n_members):
        waited.append(terms.n_steps)
        return np.zeros((len(TERMS), n_members))

    monkeypatch.setattr(Terms, "sums", sums)
    vae = moved(tiny_vae())
    cells = torch.empty(40, vae.n_inputs, device=DEVICE)
    rows = Rows(cells, cells, None, None)
    index = torch.empty(2, 40, dtype=torch.long, device=DEVICE)
    settings = StackSettings([Settings(3, 8, clip_norm=1.0)] * 2)
    run = _Run(vae, ELBO(), rows, index, None, Numbers(2), settings)
    with Watch() as watch:
        run._train_epoch(0)
    assert watch.found == [] and waited == [5]


class Asking(WeightedPenalty):
    """Asks for a number, meets the host, or takes float64."""

    def __init__(self, weight=1.0, ask="number"):
        super().__init__()
        self.weight = weight
        self.ask = ask

    def term(self, step, noise):
        kl = step.mean_kl.sum(-1)
        asked = {
            "number": lambda: kl * float(kl.detach().max()),
            "places": lambda: kl[kl.detach() > 0].sum().expand_as(kl),
            "tensor of the host": lambda: kl * torch.arange(2.0),
            "copy": lambda: kl * torch.arange(2.0).to(kl.device),
            "float64": lambda: kl.double().float(),
        }
        return asked[self.ask]()


@pytest.mark.parametrize("ask", ["number", "places", "tensor of the host", "copy", "float64"])
def test_the_watch_finds_what_waits(ask):
    vae, batch = vae_and_batch("penalty", Asking(ask=ask))
    try:
        found = waits_of_a_step(vae, batch, ELBO())
    except (RuntimeError, NotImplementedError):
        found = ["refused by the device"]
    assert found


def test_counts_have_one_likelihood_with_and_without_places(monkeypatch):
    """On a device all cells are looked at, on the host those with a count."""
    rng = np.random.default_rng(0)
    shape = 2, 1, 30, 4
    value = torch.as_tensor(rng.poisson(1.0, shape) * rng.choice([1, 500], shape)).float()
    mask = torch.as_tensor(rng.random(shape) < 0.8)
    found = []
    for on_host in (True, False):
        monkeypatch.setattr(count_rows, "on_host", lambda tensor, host=on_host: host)
        log_mean = torch.linspace(-1.0, 3.0, 2 * 3 * 30 * 4).view(2, 3, 30, 4).requires_grad_()
        log_total = torch.tensor([0.5, -1.0, 2.0, 40.0]).repeat(2, 1, 1, 1).requires_grad_()
        terms = NegativeBinomialRows.apply(log_mean, log_total, value, mask)
        slopes = torch.autograd.grad(terms[0].sum(), [log_mean, log_total])
        found.append([t.detach().numpy() for t in (*terms, *slopes)])
    for host, device in zip(*found):
        assert_allclose(device, host, rtol=1e-5, atol=1e-4)


def test_large_counts_keep_their_constant_where_there_is_no_float64(monkeypatch):
    value = torch.tensor([[[[3.0, 2000.0]]]])
    cells = NegativeBinomial(torch.full((1, 1, 1, 2), 7.0), torch.zeros(1, 1, 1, 2))
    exact = cells.log_prob_rows(value, None)
    monkeypatch.setattr(count_rows, "counts_exactly", lambda cells, learns=False: False)
    assert_allclose(cells.log_prob_rows(value, None), exact, atol=0.01)


def test_unused_codes_move_without_being_asked_for(monkeypatch):
    """On the host it is asked whether there are any; elsewhere none may move by mistake."""
    found = []
    for on_host in (True, False):
        monkeypatch.setattr(quantized, "on_host", lambda tensor, host=on_host: host)
        vae, batch = vae_and_batch("posterior", VectorQuantized(n_codes=4))
        for _ in range(3):
            vae.train()(batch, Noise([0, 1]), 1)
        found.append(vae.posterior.codebook.detach().numpy())
    assert np.array_equal(*found)
