"""Blocks of Arrow data as pandas frames, whose columns are read alike in every block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from .refusals import refuse_column

# A frame of a part that holds no missing flag must look like one of a part that does.
_MAPPED = {pa.bool_(): pd.BooleanDtype()}


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The types in which columns are read: numbers, flags, dates, strings and categories.

    Raises
    ------
    ValueError
        If a column holds lists, structures or bytes.
    """
    return pa.schema([field.with_type(_plain(field)) for field in schema])


def frame_of(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pd.DataFrame:
    """Record batches as one frame."""
    table: Any = pa.Table.from_batches(batches, schema)
    if any(pa.types.is_dictionary(kind) for kind in schema.types):
        table = table.unify_dictionaries()
    return table.to_pandas(
        ignore_metadata=True, date_as_object=False, types_mapper=_MAPPED.get, use_threads=False
    )


def _plain(field: pa.Field) -> pa.DataType:
    kind = field.type
    if pa.types.is_decimal(kind) or pa.types.is_null(kind) or kind == pa.float16():
        return pa.float64()
    if pa.types.is_date(kind):
        return pa.timestamp("s")
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
    plain = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_timestamp,
        pa.types.is_string,
    )  # fmt: skip
    if not any(is_plain(kind) for is_plain in plain):
        refuse_column(field.name, kind, f"columns= without {field.name!r}")
    return kind
