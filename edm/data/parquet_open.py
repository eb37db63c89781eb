"""Opens parquet files with pyarrow, which is heavy and need not be installed where nobody has such files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from edm.data.errors import DataError, FileProblem, FilesError
from edm.data.files import open_regular, wrong_content

READ_AHEAD = 2**20  # bytes that are read of a file at once, so that a row group of gigabytes never is
PYARROW_ERRORS = (OSError, LookupError, ValueError, TypeError, RuntimeError)  # what its own errors are


def import_pyarrow(title: str | Path) -> tuple[Any, Any]:
    """Return pyarrow and its module for parquet files; raises DataError where it is not installed."""
    try:  # without stubs, and not a dependency of edm's
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(f"{title}: reading parquet files needs pyarrow; install it, or give another packing") from None


def reason_of(error: Exception) -> str:
    """Return the first line of what pyarrow says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def open_parquet(path: Path) -> Generator[Any, None, None]:
    """Open a parquet file for reading a little at a time; raises FilesError for what goes wrong inside the block."""
    _, parquet = import_pyarrow(path)
    with open_regular(path) as opened:
        try:
            yield parquet.ParquetFile(opened, pre_buffer=False, buffer_size=READ_AHEAD)
        except DataError:
            raise
        except PYARROW_ERRORS as error:
            problem = wrong_content(path) or f"cannot be read as a parquet file ({reason_of(error)})"
            remedy, of_several = "download it again, or remove it", "download them again, or remove them"
            raise FilesError(FileProblem(str(path), problem, remedy, of_several)) from None
