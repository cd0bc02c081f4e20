"""The rows of an episode out of a parquet file, a few at a time, and its columns as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["Column", "as_column", "episode_batches"]

_ROWS = 1024
_PICTURE_ROWS = 16
"""Of a file that has pictures in it: a PNG of 640x480 is 300 KB."""
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Column:
    """Some rows of a column.

    Attributes:
        rows: Which of the batch's rows have a value; None: all of them.
        array: (N, …), or None where the rows are of several lengths.
        ragged: These, or texts.
        pictures: The bytes or the path of a picture each.
    """

    rows: NDArray[np.int64] | None = None
    array: NDArray[Any] | None = None
    ragged: list[Any] | None = None
    pictures: list[Mapping[str, Any]] | None = None


def episode_batches(path: Path, episode: int) -> Iterator[pa.RecordBatch]:
    """The rows of an episode in their order; memory holds a batch of them.

    Args:
        path: The parquet file, with episodes before and after it or not.
        episode: The number in its column ``episode_index``; a file without that column is all one episode's.

    Raises:
        OSError, pa.ArrowException: It cannot be read.
    """
    # Without these, Arrow reads whole column chunks ahead: 3 GB of an episode with 10,000 pictures.
    with path.open("rb") as raw, pq.ParquetFile(raw, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        names = file.schema_arrow.names
        place = names.index("episode_index") if "episode_index" in names else None
        groups = [group for group in range(file.num_row_groups) if _may_hold(file, group, episode)]
        pictures = any(pa.types.is_struct(field.type) for field in file.schema_arrow)
        for batch in file.iter_batches(_PICTURE_ROWS if pictures else _ROWS, row_groups=groups, use_threads=False):
            if place is not None:
                batch = batch.filter(pc.equal(batch.column(place), episode))
            if batch.num_rows:
                yield batch


def _may_hold(file: Any, group: int, episode: int) -> bool:
    metadata = file.metadata.row_group(group)
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        if column.path_in_schema == "episode_index" and column.statistics is not None and column.statistics.has_min_max:
            return bool(column.statistics.min <= episode <= column.statistics.max)
    return True


def as_column(values: pa.Array, shape: tuple[int, ...]) -> Column:
    """A column of a batch as arrays, dtype and shape as they are.

    Args:
        values: The rows.
        shape: Of a row, as ``meta/info.json`` has it; lists of any length are an array where that says so.

    Raises:
        ValueError: No array can hold it.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):  # datasets' Array2D and the like
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    rows = None
    if values.null_count:
        rows = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False)).astype(np.int64)
        values = values.drop_null()
    kind = values.type
    if pa.types.is_null(kind):
        return Column(rows, array=None, ragged=[])
    if pa.types.is_struct(kind) and "bytes" in {field.name for field in kind}:
        return Column(rows, pictures=values.to_pylist())
    if _is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Column(rows, ragged=values.to_pylist())
    lengths: list[int] = []
    flat = values
    while _is_list(flat.type):
        width = _width(flat)
        if width is None:
            if lengths:
                raise ValueError(f"lists of several lengths within lists ({kind}) are no array")
            return Column(rows, ragged=[_primitive(row.values) for row in values])
        lengths.append(width)
        flat = flat.flatten()
    array = _primitive(flat).reshape(len(values), *lengths)
    # A list of one number is written as the number.
    if not lengths and math.prod(shape) != 1:
        raise ValueError(f"its rows are single numbers, and meta/info.json says {shape}")
    return Column(rows, array=array)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _width(lists: pa.Array) -> int | None:
    """How long all of the lists are; None where they differ."""
    if pa.types.is_fixed_size_list(lists.type):
        return int(lists.type.list_size)
    if not len(lists):
        return 0
    found = pc.min_max(pc.list_value_length(lists)).as_py()
    return int(found["min"]) if found["min"] == found["max"] else None


def _primitive(values: pa.Array) -> NDArray[Any]:
    if _is_list(values.type):
        raise ValueError(f"lists of several lengths within lists ({values.type}) are no array")
    if values.null_count and not pa.types.is_floating(values.type):
        raise ValueError("it has gaps within a row")
    array: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if array.dtype == object:
        raise ValueError(f"values of the type {values.type} are no numbers")
    return array
