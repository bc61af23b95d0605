"""Where the columns that are modelled stand in the table."""

from typing import NamedTuple

from .codec import TableCodec


class Places(NamedTuple):
    """Places among the columns of a table that are not conditions.

    Parameters
    ----------
    places : tuple of int
        That of each modelled column.
    n_places : int
        How many there are; constant columns have one too.
    indicated : tuple of int
        Which modelled columns have an input, behind the others, that says whether they are
        observed.
    """

    places: tuple[int, ...]
    n_places: int
    indicated: tuple[int, ...]

    @classmethod
    def of(cls, codec: TableCodec) -> "Places":
        """Those of a fitted codec."""
        given = getattr(codec, "condition_index_", [])
        others = [j for j in range(len(codec.columns_)) if j not in given]
        place = {j: i for i, j in enumerate(others)}
        had_gaps = [codec.columns_[j].had_missing for j in codec.modelled_index_]
        return cls(
            tuple(place[j] for j in codec.modelled_index_),
            len(others),
            tuple(slot for slot, gaps in enumerate(had_gaps) if gaps),
        )
