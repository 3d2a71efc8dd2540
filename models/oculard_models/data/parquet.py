"""Parquet as columns of text, read by a process of its own: a damaged file can take its reader down with it."""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

PATIENCE_S = 300.0
MEMORY_BYTES = 8 << 30  # of the reader
TEXT_BYTES_MAX = 512 << 20  # of all cells: equal ones are stored once in a Parquet file, and are many here


class ParquetWrong(ValueError):
    """A Parquet file cannot be read. The message is one line."""


@dataclass(frozen=True, slots=True)
class Read:
    """The names of all columns, the wanted columns as text ("" for nothing), and the number of rows."""

    names: Sequence[str]
    columns: Mapping[str, Sequence[str]]
    rows: int


def read_parquet(data: bytes, wanted: Collection[str], *, rows_max: int) -> Read:
    """Read the columns whose stripped names are wanted; more rows than `rows_max` are counted, not read.

    Raises ParquetWrong.
    """
    command = [sys.executable, "-m", __name__, str(rows_max), *wanted]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603 ours
    except subprocess.TimeoutExpired:
        raise ParquetWrong(f"it was not read within {PATIENCE_S:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ParquetWrong(lines[-1][:200] if done.returncode == 1 and lines else "its reader died of it")
    said = json.loads(done.stdout)
    return Read(said["names"], said["columns"], said["rows"])


def main(rows_max: int, wanted: Collection[str]) -> None:
    """Read stdin, write stdout."""
    import polars

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    frame = polars.scan_parquet(io.BytesIO(sys.stdin.buffer.read()))
    names = frame.collect_schema().names()
    rows = int(frame.select(polars.len()).collect().item())
    columns: dict[str, list[str]] = {}
    if rows <= rows_max:
        texts = [polars.col(name).cast(polars.String).fill_null("") for name in names if name.strip() in wanted]
        found = frame.select(texts).collect()
        if sum(int(found[name].str.len_bytes().sum()) for name in found.columns) > TEXT_BYTES_MAX:
            raise ParquetWrong(f"its cells hold more than {TEXT_BYTES_MAX >> 20} MiB of text")
        columns = {name: found[name].to_list() for name in found.columns}
    json.dump({"names": names, "columns": columns, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
