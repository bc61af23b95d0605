"""The door through which tables go in and out: a table <-> values, mask and inputs."""

from .codec import Encoded, TableCodec
from .validation import check_table

__all__ = ["Encoded", "TableCodec", "check_table"]
