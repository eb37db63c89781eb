"""Shapes and types of edm's public functions are checked in every test run."""

from jaxtyping import install_import_hook

# before anything of edm is imported; processes that tests start run unchecked
install_import_hook("edm", "beartype.beartype")
