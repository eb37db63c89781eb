"""Adds remedies to edm's errors about data and weights: commands, variables and fields that edm does not know of."""

from __future__ import annotations

from edm.data.sources import MissingFilesError
from edm.metrics.weights import MissingPackageError, MissingWeightsError, OtherWeightsError
from experiments.environment import DATA_VARIABLE, WEIGHTS_VARIABLE


def explain(error: Exception) -> str:
    """Return the message of an error together with the command, variable or field of the sweep file that helps."""
    if isinstance(error, MissingFilesError):
        they = "it is" if len(error.files) == 1 else "they are"
        command = f"'edm-sweep data prepare {error.dataset} --from PATH'"
        return f"{error}, or say where {they} with {command} or {DATA_VARIABLE}"
    if isinstance(error, MissingWeightsError):
        other = "use 'evaluation.features: classifier', which needs no download"
        return f"{error}, or point {WEIGHTS_VARIABLE} to it; or {other}"
    if isinstance(error, OtherWeightsError):
        return f"{error}, with {WEIGHTS_VARIABLE}, or unset that to have the file downloaded"
    if isinstance(error, MissingPackageError):
        return f"{error} with uv sync --extra dinov2, or pip install '.[dinov2]' in the checkout"
    return str(error)
