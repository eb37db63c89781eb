"""The one exception of the data sets."""


class DataError(ValueError):
    """A data set is not what it should be; the message says which file or folder, and what to do."""
