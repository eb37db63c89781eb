"""Features kept by segments: measured once, read back in any cut, redone where damaged, refused where foreign."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edm.config import SPLITS, EvaluationConfig
from edm.metrics.features import Extractor
from edm.metrics.fid import Reference
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.segments import segments
from experiments.trials.evaluation.features import FeatureCache, FeatureRows
from experiments.trials.evaluation.references import References
from experiments.trials.evaluation.scoring import baseline_scores
from tests.inprocess import cut_segments, references_of

CPU = torch.device("cpu")


class Pixels:
    """An extractor of an image's pixels as they are."""

    dimension, knows_classes, fingerprint = 4, False, "pixels"

    def __call__(self, images):
        return images.flatten(1).float(), None


class Counting:
    """An extractor that counts what it is asked."""

    def __init__(self, inner: Extractor) -> None:
        self.inner, self.images = inner, 0
        self.dimension, self.knows_classes = inner.dimension, inner.knows_classes
        self.fingerprint = inner.fingerprint

    def __call__(self, images):
        self.images += len(images)
        return self.inner(images)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_segments(monkeypatch, 10)


def images(num: int) -> torch.Tensor:
    return torch.randint(0, 256, (num, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def filled(folder: Path, num: int) -> tuple[FeatureCache, torch.Tensor]:
    cache, pictures = FeatureCache(folder, Pixels(), "pixels"), images(num)
    for start, stop in segments(0, num):
        cache.measure(start, pictures[start:stop], CPU)
    return cache, pictures.flatten(1).float()


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [
        (0, 10, [(0, 10)]),
        (0, 25, [(0, 10), (10, 20), (20, 25)]),
        (13, 17, [(10, 17)]),
        (20, 31, [(20, 30), (30, 31)]),
        (5, 5, [(0, 5)]),
    ],
)
@pytest.mark.usefixtures("small_segments")
def test_segments_begin_at_whole_multiples(start: int, stop: int, found: list[tuple[int, int]]) -> None:
    assert list(segments(start, stop)) == found


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize(("start", "stop"), [(0, 35), (0, 10), (7, 23), (30, 35), (34, 35)])
def test_any_stretch_is_read_back(tmp_path: Path, start: int, stop: int) -> None:
    cache, features = filled(tmp_path, 35)
    found = cache.measured(start, stop)
    assert found.num_images == stop - start
    assert torch.equal(torch.cat(list(found)), features[start:stop])
    assert all(isinstance(part, FeatureRows) and part.stop > part.start for part in found.parts)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("count", [1, 10, 15, 35])
def test_a_prefix_is_the_first_images(tmp_path: Path, count: int) -> None:
    cache, features = filled(tmp_path, 35)
    assert torch.equal(torch.cat(list(cache.measured(0, 35).first(count))), features[:count])


@pytest.mark.usefixtures("small_segments")
def test_statistics_of_shards_in_any_order_equal_one_piece_to_the_bit(
    tmp_path: Path,
) -> None:
    whole, _ = filled(tmp_path / "whole", 35)
    shards, pictures = FeatureCache(tmp_path / "shards", Pixels(), "pixels"), images(35)
    for start, stop in reversed(list(segments(0, 35))):
        shards.measure(start, pictures[start:stop], CPU)
    a, b = (cache.measured(0, 35).statistics() for cache in (whole, shards))
    assert a.count == b.count and torch.equal(a.mean, b.mean) and torch.equal(a.scatter, b.scatter)


@pytest.mark.usefixtures("small_segments")
def test_a_short_segment_does_not_serve_for_more_images(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 35)
    assert cache.find(30, 5) is not None and cache.find(30, 6) is None and cache.find(40, 1) is None
    cache.measure(30, images(10), CPU)  # measured again, for more
    assert cache.find(30, 10) is not None and len(list(tmp_path.glob("00000030-*"))) == 1


def test_a_damaged_segment_is_dropped(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 5)
    (path,) = tmp_path.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.find(0, 5) is None and not path.exists()


def test_features_that_other_weights_measured_are_refused(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path, 5)
    other = Pixels()
    other.fingerprint = "other"
    with pytest.raises(UserError, match=r"was measured with other weights of pixels; delete the folder"):
        replace(cache, extractor=other).find(0, 5)


@pytest.fixture
def references(tiny_plan: Plan, store: Store) -> References:
    return references_of(next(iter(tiny_plan.evaluations.values())), store)


def test_real_images_are_measured_once_for_all_of_a_store(references: References) -> None:
    counting = Counting(references.extractor)
    own = replace(references, extractor=counting)
    assert own.features("train", 0, 300).num_images == 300 and counting.images == 0  # the fixture's store has them
    own.reference("val", 300)
    assert counting.images == 0


def test_a_reference_is_that_of_its_images(references: References) -> None:
    found = references.reference("test", 250)
    expected = Reference.of(references.features("test", 0, 250).statistics())
    assert found.count == 250 and torch.equal(found.mean, expected.mean) and torch.equal(found.factor, expected.factor)
    torch.testing.assert_close(found.factor @ found.factor.T, expected.covariance)


def test_the_order_of_a_split_is_fixed_and_mixes_it(references: References) -> None:
    order = references.order("train")
    assert sorted(order.tolist()) == sorted(references.data.splits["train"])
    assert torch.equal(order, references.order("train"))
    first = references.data.labels[order[:300]].bincount(minlength=10)
    assert first.min() >= 15  # of 30: no class is left out


def test_the_baseline_is_of_train_images_that_nothing_is_compared_with(references: References) -> None:
    config = EvaluationConfig(images=120, features="classifier")
    scores = tuple(f"{metric}/{split}" for metric in ("fid", "kid") for split in SPLITS)
    made = baseline_scores(references, config, scores)
    assert made["real_images"] == 120  # of 1,197 - 300 there are, as many as are drawn
    assert {
        f"{who}_{m}_{s}" for who in ("noise", "real") for m in ("fid", "kid") for s in ("train", "val", "test")
    } == {name for name in made if name != "real_images"}
    assert all(made[f"noise_fid_{s}"] > 8 * made[f"real_fid_{s}"] > 0 for s in ("train", "val", "test"))
    everything = baseline_scores(references, replace(config, reference="all"), ("fid/train", "fid/test"))
    assert "real_fid_train" not in everything and everything["real_fid_test"] > 0
