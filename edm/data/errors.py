"""The error that everything about data sets raises."""

from __future__ import annotations


class DataError(ValueError):
    """A data set cannot be had, or is not what it should be; the message names the file or folder and the remedy."""


def unreadable(error: OSError) -> DataError:
    """Return the error for a file or folder that the system could not read."""
    return DataError(f"{error.filename}: cannot be read ({error.strerror}); make it readable or remove it")
