"""Errors of edm, as people read them: with the command, variable or field that helps."""

from pathlib import Path

import pytest

from edm.data.catalogue import CATALOGUE
from edm.data.sources import MissingFilesError
from edm.metrics.weights import MissingPackageError, MissingWeightsError, OtherWeightsError, Weights, WeightsError
from experiments.trials.remedies import explain

WEIGHTS = Weights("features: inception", "file.pth", "https://example.org/file.pth", 10, "abc")
HERE = Path("/here")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            MissingFilesError("celeba", CATALOGUE["celeba"].files, HERE),
            " and put them there, or say where they are with 'edm-sweep data prepare celeba --from PATH' "
            "or EDM_SWEEP_DATA",
        ),
        (
            MissingFilesError("cifar10", CATALOGUE["cifar10"].files, HERE, "no route"),
            " and put it there, or say where it is with 'edm-sweep data prepare cifar10 --from PATH' or EDM_SWEEP_DATA",
        ),
        (
            MissingWeightsError(WEIGHTS, [HERE / "file.pth"], "no route"),
            " and put it at /here/file.pth, or point EDM_SWEEP_WEIGHTS to it; "
            "or use 'evaluation.features: classifier', which needs no download",
        ),
        (
            OtherWeightsError(WEIGHTS, HERE / "other.pth", HERE),
            "; give that file, or a folder for it, with EDM_SWEEP_WEIGHTS, or unset that to have the file downloaded",
        ),
        (
            MissingPackageError("features: dinov2", "timm"),
            "; install it with uv sync --extra dinov2, or pip install '.[dinov2]' in the checkout",
        ),
        (WeightsError("file.pth is cut short"), "file.pth is cut short"),
    ],
)
def test_an_error_ends_in_what_a_person_can_do(error: Exception, remedy: str) -> None:
    assert explain(error).endswith(remedy) and explain(error).startswith(str(error))
