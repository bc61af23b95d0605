"""Networks: the encoder and decoder pair, which knows how to unfold a 2-D row."""

from ._base import Network
from .convolutional import Convolutional
from .mlp import ACTIVATIONS, MLP
from .recurrent import Recurrent
from .tokens import Tokens

NETWORKS: dict[str, type[Network]] = {
    "mlp": MLP,
    "convolutional": Convolutional,
    "recurrent": Recurrent,
    "tokens": Tokens,
}

__all__ = ["ACTIVATIONS", "MLP", "NETWORKS", "Convolutional", "Network", "Recurrent", "Tokens"]
