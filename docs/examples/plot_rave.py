"""
===================================
What to bias in the next simulation
===================================

A particle between two wells, watched from an angle: neither coordinate of the plane is the one
that matters, and a simulation of this length hardly ever crosses the barrier.  RAVE learns from
its frames which direction leads across, biases that, and learns again.
"""

# %%
# The simulation
# --------------
# Overdamped Langevin dynamics in units of kT.  The particle starts on the left; along the other
# direction it moves ten times as fast and says nothing.  ``bias.gradient`` is what a bias takes
# off the force.

import matplotlib.pyplot as plt
import numpy as np

from skvae.rave import MolecularRAVE

angle = np.deg2rad(30)
turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
seeds = iter(range(100))
runs = []


def simulate(bias, n_walkers=64, n_steps=16_000, dt=1e-3):
    rng = np.random.default_rng(next(seeds))
    at = np.stack([np.full(n_walkers, -1.0), rng.normal(size=n_walkers)], 1)
    mobility = dt * np.array([1.0, 10.0])
    frames = []
    for step in range(n_steps):
        x, y = at.T
        force = np.stack([-24.0 * x * (x**2 - 1.0) - 0.5, -y], 1)
        if bias is not None:
            force = force - bias.gradient(at @ turn.T) @ turn
        at = at + mobility * force + np.sqrt(2 * mobility) * rng.normal(size=at.shape)
        if step % 50 == 0:
            frames.append(at @ turn.T)
    runs.append(np.concatenate(frames))
    return runs[-1]


# %%
# Four rounds
# -----------
# ``run`` simulates, weighs the frames by ``exp(bias / kT)``, fits and biases anew.  One round at a
# time would be ``fit(X, sample_weight=...)``.

energies = []
rave = MolecularRAVE(max_bias=8.0, random_state=0)
bias = None
for _ in range(4):
    frames = simulate(bias)
    weights = None if bias is None else np.exp(bias(frames))
    rave.fit(frames, sample_weight=weights)
    bias = rave.bias_
    sign = np.sign(rave.coef_ @ turn[:, 0])
    energies.append((sign * rave.grid_, rave.free_energy_))

found = np.degrees(np.arctan2(*(sign * rave.coef_)[::-1]))
print(f"direction found: {found:.1f} degrees, planted: 30")

# %%
# What it found
# -------------
# On the left, where the first run went and where the last one did, with the direction found.  On
# the right, free energy along it: one run alone takes the right well for far less likely than it
# is, and the depth of the bias, 8 kT, is as high as a round can tell.

chi = np.linspace(-1.6, 1.6, 400)
exact = 6.0 * (chi**2 - 1.0) ** 2 + 0.5 * chi
first, last = "#E69F00", "#0072B2"

figure, (plane, line) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for frames, color, label in ((runs[-1], last, "round 4"), (runs[0], first, "round 1")):
    plane.plot(*frames[::8].T, ".", color=color, markersize=3, alpha=0.5, label=label)
plane.axline((0, 0), sign * rave.coef_, color="black", linewidth=1.2, label="direction found")
plane.set(xlabel="first order parameter", ylabel="second order parameter", aspect="equal")
plane.set(xlim=(-3.6, 3.6), ylim=(-3.6, 3.6))
plane.legend(loc="lower left", markerscale=3, frameon=False)
plane.set_title("Frames: the bias sends the particle across", loc="left", fontsize="medium")

line.plot(chi, exact - exact.min(), color="black", linestyle="--", label="exact")
line.plot(*energies[0], color=first, label="round 1")
line.plot(*energies[-1], color=last, label="round 4")
line.set(xlabel="along the direction found", ylabel="free energy (kT)")
line.set(xlim=(-1.7, 1.7), ylim=(0, 8.5))
line.legend(loc="lower center", frameon=False)
line.set_title("Free energy: four rounds tell both wells", loc="left", fontsize="medium")
line.spines[["top", "right"]].set_visible(False)
plane.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The free energy of the right well over the left one, which is what such simulations are for:


def difference(grid, energy):
    share = np.exp(-energy)
    return -np.log(share[grid > 0].sum() / share[grid < 0].sum())


print(f"exact {difference(chi, exact):.2f} kT")
for number, pair in enumerate(energies, 1):
    print(f"round {number}: {difference(*pair):.2f} kT")
