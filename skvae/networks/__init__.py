"""Networks: the encoder and decoder pair, which knows how to unfold a 2-D row."""

from ._base import Network
from .convolutional import Convolutional
from .linear_encoder import LinearEncoder
from .mlp import ACTIVATIONS, MLP
from .recurrent import Recurrent
from .residual import ResidualConvolutional
from .tokens import Tokens
from .variational_recurrent import VariationalRecurrent

NETWORKS: dict[str, type[Network]] = {
    "mlp": MLP,
    "convolutional": Convolutional,
    "linear_encoder": LinearEncoder,
    "recurrent": Recurrent,
    "tokens": Tokens,
    "variational_recurrent": VariationalRecurrent,
}

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "Convolutional",
    "LinearEncoder",
    "Network",
    "Recurrent",
    "ResidualConvolutional",
    "Tokens",
    "VariationalRecurrent",
]
