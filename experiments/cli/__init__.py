"""The command line: the only sub-package that prints."""
