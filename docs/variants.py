"""The published variants, each as a choice on one axis; ``python docs/variants.py`` writes them.

``tests/test_variants.py`` fits every spelling, searches over its main hyper-parameter and sees
that the page is that of this table.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "user_guide" / "variants.rst"


class Variant(NamedTuple):
    """One published variant.

    Parameters
    ----------
    name : str
    formula : str
        What differs from the plain one, in LaTeX.
    spelling : str
        Arguments of ``VAETransformer``.
    search : tuple of (str, list)
        Its main hyper-parameter, and values to search over.
    paper : str
    tests : str
        Where its acceptance test and the negative control are.
    """

    name: str
    formula: str
    spelling: str
    search: tuple[str, list]
    paper: str
    tests: str


ELBO = r"\mathbb{E}_q[\log p(x|z)] - \mathrm{KL}(q \,\|\, p)"
TRAINING, CODES = "test_components_training", "test_variants_codes"
PENALTIES, TRAINED = "test_variants_penalties", "test_variants_penalties_trained"
GIVEN, NETS = "test_variants_conditions", "test_variants_networks"
RAVE, MATCHED = "test_variants_rave", "test_variants_matching"
QUANTIZED = "test_variants_quantized"

VARIANTS = [
    Variant(
        "VAE",
        ELBO,
        'objective="elbo"',
        ("n_components", [1, 2]),
        "Kingma and Welling 2014; Rezende et al. 2014",
        "test_exactness",
    ),
    Variant(
        "beta-VAE",
        r"\mathbb{E}_q[\log p(x|z)] - \beta\,\mathrm{KL}",
        "objective=ELBO(beta=4.0)",
        ("objective__beta", [1.0, 4.0]),
        "Higgins et al. 2017",
        "test_exactness",
    ),
    Variant(
        "controlled capacity",
        r"\mathbb{E}_q[\log p(x|z)] - \beta\,|\mathrm{KL} - C|",
        "objective=ELBO(beta=10.0, capacity=3.0)",
        ("objective__capacity", [1.0, 3.0]),
        "Burgess et al. 2018",
        TRAINING,
    ),
    Variant(
        "free bits",
        r"\sum_j \max(\mathrm{KL}_j, \lambda)",
        "objective=ELBO(free_bits=0.1)",
        ("objective__free_bits", [0.0, 0.1]),
        "Kingma et al. 2016",
        TRAINING,
    ),
    Variant(
        "KL annealing",
        r"\beta(t)\ \text{rises}",
        "objective=ELBO(warm_up=2)",
        ("objective__warm_up", [0, 2]),
        "Bowman et al. 2016",
        "test_tokens",
    ),
    Variant(
        "cyclical annealing",
        r"\beta(t)\ \text{rises again in each cycle}",
        "objective=ELBO(cycles=2)",
        ("objective__cycles", [0, 2]),
        "Fu et al. 2019",
        TRAINING,
    ),
    Variant(
        "sigma-VAE",
        r"p(x|z) = N(\mu(z), \hat\sigma^2)",
        'likelihood=Normal(scale="shared"), objective="elbo"',
        ("likelihood__initial_scale", [0.5, 1.0]),
        "Rybkin et al. 2021",
        "test_exactness",
    ),
    Variant(
        "Student-t VAE",
        r"p(x|z) = t_\nu(\mu(z), \sigma)",
        'likelihood="student_t"',
        ("likelihood__df", [3.0, 5.0]),
        "Takahashi et al. 2018",
        "test_variants_tables",
    ),
    Variant(
        "IWAE",
        r"\log \tfrac1K \sum_k p(x, z_k) / q(z_k|x)",
        "objective=IWAE(n_draws=5)",
        ("objective__n_draws", [1, 5]),
        "Burda et al. 2016",
        TRAINING,
    ),
    Variant(
        "IWAE, doubly reparameterised",
        r"\text{the same bound, a gradient of less noise}",
        "objective=DReG(n_draws=5)",
        ("objective__n_draws", [1, 5]),
        "Tucker et al. 2019",
        CODES,
    ),
    Variant(
        "Renyi",
        r"\tfrac{1}{1-\alpha} \log \tfrac1K \sum_k (p/q)^{1-\alpha}",
        "objective=Renyi(alpha=0.5)",
        ("objective__alpha", [0.0, 0.5]),
        "Li and Turner 2016",
        CODES,
    ),
    Variant(
        "autoencoder",
        r"\|x - g(f(x))\|^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), view=None',
        ("weight_decay", [0.0, 0.3]),
        "Hinton and Salakhutdinov 2006",
        TRAINED,
    ),
    Variant(
        "denoising autoencoder",
        r"\|x - g(f(x + \epsilon))\|^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), view=Denoising(scale=0.3)',
        ("view__scale", [0.1, 0.3]),
        "Vincent et al. 2008",
        TRAINED,
    ),
    Variant(
        "regularised autoencoder, gradient",
        r"\ldots + \lambda\,\|\nabla_z g(z)\|^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="decoder_gradient"',
        ("penalty__weight", [0.01, 0.1]),
        "Ghosh et al. 2020",
        TRAINED,
    ),
    Variant(
        "regularised autoencoder, decay",
        r"\ldots + \lambda\,\|\theta_g\|^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="decoder_decay"',
        ("penalty__weight", [0.01, 0.1]),
        "Ghosh et al. 2020",
        TRAINED,
    ),
    Variant(
        "regularised autoencoder, spectrum",
        r"\ldots + \lambda \sum_l \sigma_{\max}(W_l)^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="decoder_spectrum"',
        ("penalty__weight", [0.01, 0.1]),
        "Ghosh et al. 2020",
        TRAINED,
    ),
    Variant(
        "beta-TCVAE",
        r"\ldots - (\beta - 1)\,\mathrm{TC}(q(z))",
        "penalty=TotalCorrelation(weight=5.0)",
        ("penalty__weight", [1.0, 5.0]),
        "Chen et al. 2018",
        PENALTIES,
    ),
    Variant(
        "FactorVAE",
        r"\ldots - \gamma\,\mathrm{TC}(q(z))\ \text{by a critic}",
        "penalty=FactorCritic(weight=10.0)",
        ("penalty__weight", [1.0, 10.0]),
        "Kim and Mnih 2018",
        PENALTIES,
    ),
    Variant(
        "DIP-VAE",
        r"\ldots - \lambda\,\|\mathrm{Cov}(\mu) - I\|^2",
        "penalty=DIP(weight=10.0)",
        ("penalty__weight", [1.0, 10.0]),
        "Kumar et al. 2018",
        PENALTIES,
    ),
    Variant(
        "InfoVAE, MMD-VAE",
        r"\ldots - \lambda\,\mathrm{MMD}(q(z), p(z))",
        "penalty=MMD(weight=100.0)",
        ("penalty__weight", [10.0, 100.0]),
        "Zhao et al. 2019",
        MATCHED,
    ),
    Variant(
        "WAE-MMD",
        r"\|x - g(f(x))\|^2 + \lambda\,\mathrm{MMD}",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="mmd"',
        ("penalty__kernel", ["imq", "gaussian"]),
        "Tolstikhin et al. 2018",
        MATCHED,
    ),
    Variant(
        "WAE-GAN, adversarial autoencoder",
        r"\|x - g(f(x))\|^2 + \lambda\,D(q(z), p(z))",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="latent_critic"',
        ("penalty__weight", [1.0, 10.0]),
        "Makhzani et al. 2016; Tolstikhin et al. 2018",
        TRAINED,
    ),
    Variant(
        "sliced-Wasserstein autoencoder",
        r"\|x - g(f(x))\|^2 + \lambda\,\mathrm{SW}_2^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="sliced_wasserstein"',
        ("penalty__n_projections", [10, 50]),
        "Kolouri et al. 2019",
        MATCHED,
    ),
    Variant(
        "Radon-Sobolev",
        r"\|x - g(f(x))\|^2 + \lambda\,\mathrm{RS}",
        'posterior="deterministic", objective=ELBO(beta=0.0), penalty="radon_sobolev"',
        ("penalty__weight", [3.0, 30.0]),
        "Turinici 2021",
        TRAINED,
    ),
    Variant(
        "VAE-GAN",
        r"\text{likelihood of a critic's features of } x",
        'penalty="decoder_critic"',
        ("penalty__weight", [0.1, 1.0]),
        "Larsen et al. 2016",
        MATCHED,
    ),
    Variant(
        "VQ-VAE",
        r"z = e_{\arg\min_k \|f(x) - e_k\|}",
        "posterior=VectorQuantized(n_codes=8)",
        ("posterior__n_codes", [4, 8]),
        "van den Oord et al. 2017",
        QUANTIZED,
    ),
    Variant(
        "VQ-VAE-2",
        r"z = (e^{1}_{k_1}, e^{2}_{k_2})",
        "posterior=VectorQuantized(n_codes=8, n_levels=2)",
        ("posterior__n_levels", [1, 2]),
        "Razavi et al. 2019",
        QUANTIZED,
    ),
    Variant(
        "ladder VAE",
        r"p(z) = \prod_l p(z_l|z_{<l}),\ q(z_l|x, z_{<l}) \propto p(z_l|z_{<l})\,N(f_l(x))",
        "posterior=Ladder(n_groups=2)",
        ("posterior__n_groups", [1, 2]),
        "Sonderby et al. 2016",
        "test_variants_ladder",
    ),
    Variant(
        "NVAE",
        r"q(z_l|x, z_{<l}) = N(\mu + \Delta\mu, (\sigma\,\Delta\sigma)^2)",
        "n_components=3, posterior=ResidualLadder(n_groups=2), "
        "network=ResidualConvolutional(image_shape=(2, 3), channels=(4, 4)), "
        "objective=ELBO(warm_up=1, balance=True), penalty=SpectralNorm()",
        ("penalty__weight", [0.01, 0.1]),
        "Vahdat and Kautz 2020",
        "test_variants_ladder",
    ),
    Variant(
        "JointVAE",
        r"q(z, c|x) = N \times \mathrm{Concrete}",
        "posterior=Joint(n_categories=2)",
        ("posterior__n_categories", [2, 3]),
        "Dupont 2018",
        CODES,
    ),
    Variant(
        "JointVAE, two capacities",
        r"\ldots - \gamma\,|\mathrm{KL}_z - C_z| - \gamma\,|\mathrm{KL}_c - C_c|",
        "posterior=Joint(n_categories=2), objective=ELBO(beta=30.0, capacity=(2.0, 0.5))",
        ("objective__capacity", [(1.0, 0.5), (2.0, 0.5)]),
        "Dupont 2018",
        "test_variants_joint",
    ),
    Variant(
        "kernelised",
        r"q(z|x) = \text{Epanechnikov}",
        'posterior="epanechnikov"',
        ("n_components", [1, 2]),
        "Qin and Huang 2024",
        CODES,
    ),
    Variant(
        "mixture prior",
        r"p(z) = \sum_k \pi_k N_k",
        "prior=GaussianMixture(n_mixture_components=2)",
        ("prior__n_mixture_components", [2, 3]),
        "Dilokthanakul et al. 2016",
        "test_components_densities",
    ),
    Variant(
        "two-stage, aggregate prior",
        r"p(z) \leftarrow \tfrac1n \sum_i q(z|x_i)",
        'prior="aggregate"',
        ("prior__n_mixture_components", [2, 3]),
        "Dai and Wipf 2019",
        TRAINED,
    ),
    Variant(
        "delta-VAE",
        r"p(z) = \text{chain of correlation } \alpha:\ \mathrm{KL} \ge \delta",
        "prior=AutoregressiveNormal(correlation=0.8)",
        ("prior__correlation", [0.5, 0.8]),
        "Razavi et al. 2019",
        CODES,
    ),
    Variant(
        "VampPrior",
        r"p(z) = \tfrac1K \sum_k q(z|u_k)",
        "prior=VampPrior(n_mixture_components=5)",
        ("prior__n_mixture_components", [3, 5]),
        "Tomczak and Welling 2018",
        CODES,
    ),
    Variant(
        "flow prior",
        r"p(z) = N(T(z))\,|\det T'|",
        "prior=Flow(max_iter=5)",
        ("prior__n_hidden", [8, 16]),
        "Chen et al. 2017; Papamakarios et al. 2017",
        CODES,
    ),
    Variant(
        "conditional VAE",
        r"\log p(x|c)",
        "condition=[0]",
        ("condition", [[0], [1]]),
        "Sohn et al. 2015",
        GIVEN,
    ),
    Variant(
        "semi-supervised VAE (M2)",
        r"p(y)\,p(z)\,p(x|y, z)",
        'supervision="classes"',
        ("supervision__label_weight", [1.0, 10.0]),
        "Kingma et al. 2014",
        "test_variants_supervised",
    ),
    Variant(
        "property head",
        r"\ldots + \log p(y|z)",
        'supervision="properties"',
        ("supervision__property_weight", [1.0, 10.0]),
        "Gomez-Bombarelli et al. 2018; Yao et al. 2021",
        "test_variants_supervised",
    ),
    Variant(
        "time-lagged autoencoder",
        r"\|x_{t + \tau} - g(f(x_t))\|^2",
        'posterior="deterministic", objective=ELBO(beta=0.0), view=TimeLagged(lag=2)',
        ("view__lag", [1, 2]),
        "Wehmeyer and Noe 2018",
        RAVE,
    ),
    Variant(
        "past-future information bottleneck (RAVE of 2019)",
        r"\|x_{t + \tau} - g(z)\|^2,\ z \sim N(x_t w / \|w\|, \sigma^2)",
        'network=LinearEncoder((8,)), posterior="fixed_normal", objective=ELBO(beta=0.0), '
        "view=PastFuture(lag=2)",
        ("posterior__scale", [0.005, 0.05]),
        "Wang, Ribeiro and Tiwary 2019",
        RAVE,
    ),
    Variant(
        "MIWAE",
        r"\log p(x_\mathrm{obs})",
        "objective=IWAE(n_draws=5)",
        ("objective__n_draws", [1, 5]),
        "Mattei and Frellsen 2019",
        "test_variants_missing",
    ),
    Variant(
        "not-MIWAE",
        r"\log p(x_\mathrm{obs}, s)",
        'missingness="self_masking"',
        ("missingness__n_draws", [2, 4]),
        "Ipsen et al. 2021",
        "test_missingness",
    ),
    Variant(
        "HI-VAE",
        r"\prod_j p_j(x_j|z),\ \text{a family per column}",
        'likelihood="auto", prior="mixture"',
        ("prior__n_mixture_components", [2, 3]),
        "Nazabal et al. 2020",
        "test_variants_tables",
    ),
    Variant(
        "convolutional VAE",
        r"f, g\ \text{convolutions}",
        "network=Convolutional(image_shape=(2, 3), channels=(4,))",
        ("network__channels", [(2,), (4,)]),
        "LeCun et al. 1998; Kingma and Welling 2014",
        NETS,
    ),
    Variant(
        "recurrent VAE",
        r"f, g\ \text{recurrent over the steps of a row}",
        "network=Recurrent(sequence_shape=(3, 2), n_units=8)",
        ("network__cell", ["gru", "lstm"]),
        "Cho et al. 2014; Bowman et al. 2016",
        NETS,
    ),
    Variant(
        "VRNN",
        r"\prod_t p(z_t|h_{t-1})\,p(x_t|z_t, h_{t-1}),\ q(z_t|x_t, h_{t-1})",
        "network=VariationalRecurrent(sequence_shape=(3, 2), n_units=8)",
        ("network__n_units", [4, 8]),
        "Chung et al. 2015",
        "test_variants_sequences",
    ),
    Variant(
        "token sequences",
        r"p(x|z) = \prod_t p(x_t | z, x_1, \ldots, x_{t-1})",
        "network=Tokens(8), likelihood=TokenSequence(8)",
        ("likelihood__word_dropout", [0.0, 0.3]),
        "Bowman et al. 2016; Gomez-Bombarelli et al. 2018",
        "test_tokens",
    ),
    Variant(
        "supramolecular VAE",
        r"\text{tokens} \times \text{other parts} \times p(y|z)",
        'column_kinds={"x0": "token", "x1": "token"}, supervision="properties"',
        ("supervision__property_weight", [1.0, 10.0]),
        "Yao et al. 2021",
        "test_tokens",
    ),
    Variant(
        "very sparse flags",
        r"p_j(x_j|z)\ \text{Bernoulli},\ \text{a prior with room for empty rows}",
        'likelihood="bernoulli", prior=VampPrior(n_mixture_components=5), view=None',
        ("prior__n_mixture_components", [3, 5]),
        "after a specification of our own",
        "test_variants_sparse",
    ),
]


def arguments(spelling: str) -> dict:
    """The arguments of a spelling."""
    from skvae import likelihoods, networks, objectives, penalties, posteriors, priors, views

    names: dict = {}
    for module in (likelihoods, networks, objectives, penalties, posteriors, priors, views):
        names |= vars(module)
    return eval(f"dict({spelling})", names)


def page() -> str:
    """The page of the user guide."""
    lines = [
        ".. Written by docs/variants.py; change that and run it.",
        "",
        "Variants",
        "========",
        "",
        "Each published variant is a choice on an axis of :class:`skvae.VAETransformer`, so that",
        "they can be combined and searched over: ``VAETransformer(SPELLING)``. The formula says",
        "what differs from the plain bound. Every spelling is fitted, searched over and saved by",
        "``tests/test_variants.py``; what it does that others do not is tested, beside a control",
        "that must fail, in the file named below it.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 30 32 38",
        "",
        "   * - name and paper",
        "     - formula",
        "     - spelling, and where it is tested",
    ]
    for variant in VARIANTS:
        lines += [
            f"   * - **{variant.name}**",
            "",
            f"       {variant.paper}",
            f"     - :math:`{variant.formula}`",
            f"     - ``{variant.spelling}``",
            "",
            f"       {variant.tests}",
        ]
    lines += [
        "",
        "Around such a model goes RAVE of 2018 (Ribeiro et al.), which takes turns with a",
        "simulator: :class:`skvae.rave.MolecularRAVE`, tested in test_variants_rave.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
