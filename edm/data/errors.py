"""The error that everything about data sets raises."""


class DataError(ValueError):
    """A data set cannot be had, or is not what it should be; the message names the file or folder and the remedy."""
