"""The file of a table, CSV or Parquet, as columns of text: hostile until it was read whole."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oculard_models.data.parquet import ParquetWrong, Read, read_parquet

BYTES_MAX = 256 << 20
ROWS_MAX = 2_000_000
COLUMNS_MAX = 1_000
SHOWN_CHARS = 60  # of a wrong value
MISSING = frozenset({"", "NA", "NAN"})  # in capitals
SUFFIXES = (".csv", ".parquet")

Column = Sequence[str]  # one text a row, stripped; "" where nothing is known


class TableWrong(ValueError):
    """A table cannot be used. The message names file, row (1 is the first below the header), column, value and hint."""

    def __init__(
        self, file: str, words: str, *, hint: str, row: int | None = None, column: str = "", value: str | None = None
    ) -> None:
        self.row, self.column = row, column
        place = [file, *([f"row {row}"] if row is not None else []), *([f"column `{column}`"] if column else [])]
        got = "" if value is None else f", got `{value[:SHOWN_CHARS]}`"
        super().__init__(f"{', '.join(place)}: {words}{got}; hint: {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The known columns of a table file, all of one length, and the names of those that nobody reads."""

    columns: Mapping[str, Column]
    ignored: tuple[str, ...]
    rows: int
    sha256: str


def read_cells(path: Path, known: Collection[str]) -> Cells:
    """Read the columns of `known` that are there as text. Raises TableWrong."""
    data = _read_bytes(path)
    found = _csv(path, data) if path.suffix.lower() == ".csv" else _parquet(path, data, known)
    if len(found.names) > COLUMNS_MAX or found.rows > ROWS_MAX:
        words = f"has {found.rows} rows and {len(found.names)} columns, more than {ROWS_MAX} and {COLUMNS_MAX}"
        raise TableWrong(path.name, words, hint="one row a photograph")
    named = _named(path, found.names, known)
    return Cells(
        columns={ours: [text.strip() for text in found.columns[theirs]] for ours, theirs in named.items()},
        ignored=tuple(name for name in found.names if name not in named.values()),
        rows=found.rows,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _read_bytes(path: Path) -> bytes:
    """Read the file once, so that what is parsed is what the digest names."""
    if path.suffix.lower() not in SUFFIXES:
        raise TableWrong(path.name, "is no kind of table that is read", hint=f"one of {' '.join(SUFFIXES)}")
    try:
        if not path.is_file():
            raise TableWrong(path.name, "there is no such file", hint=f"looked at {path}")
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as why:
        raise TableWrong(path.name, f"cannot be read: {why.strerror}", hint=f"looked at {path}") from why
    if len(data) > BYTES_MAX:
        raise TableWrong(path.name, f"is larger than {BYTES_MAX >> 20} MiB", hint="one row a photograph, no pictures")
    return data


def _csv(path: Path, data: bytes) -> Read:
    """Parse CSV; every cell stays text."""
    import polars

    try:
        frame = polars.read_csv(io.BytesIO(data), infer_schema=False).fill_null("")
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, ValueError) as why:
        hint = "is it UTF-8 with commas, as many cells in every row as in the header?"
        raise TableWrong(path.name, f"cannot be read as CSV: {_line(why)}", hint=hint) from why
    return Read(frame.columns, {name: frame[name].to_list() for name in frame.columns}, frame.height)


def _parquet(path: Path, data: bytes, known: Collection[str]) -> Read:
    """Parse Parquet."""
    try:
        return read_parquet(data, known, rows_max=ROWS_MAX)
    except ParquetWrong as why:
        raise TableWrong(path.name, f"cannot be read as Parquet: {why}", hint="is the file whole?") from why


def _line(why: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(why).splitlines()[0][:200] if str(why) else type(why).__name__


def _named(path: Path, names: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Find the known columns by their names; spaces around a name do not count, and no name may stand twice."""
    named: dict[str, str] = {}
    for name in names:
        ours = name.strip().split("_duplicated_")[0]  # polars renames what stands twice in a header
        if ours in named and ours in known:
            raise TableWrong(path.name, "the column is there twice", column=ours, hint="keep one of them")
        if ours in known:
            named[ours] = name
    return named
