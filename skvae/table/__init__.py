"""The door through which tables go in and out: a table <-> values, mask and inputs."""

from .codec import Encoded, TableCodec
from .sparse import SPARSE
from .validation import check_table

__all__ = ["SPARSE", "Encoded", "TableCodec", "check_table"]
