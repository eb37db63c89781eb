"""Feature extractors: against pytorch-fid, clean-fid and a plain DINOv2 on the same weights, and their guard rails."""

import functools
import hashlib
import struct
import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer, make_resizer
from PIL import Image
from pytorch_fid import inception
from pytorch_fid.fid_score import get_activations
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from edm.config import ClassifierConfig
from edm.metrics import features
from edm.metrics.features import (
    DINOV2_NETWORK,
    DINOV2_WEIGHTS,
    EXTRACTOR_BATCH,
    INCEPTION_WEIGHTS,
    Classifier,
    Dinov2,
    Extractor,
    FeatureError,
    Inception,
    extract,
    fingerprint,
    load_dinov2,
    load_inception,
    required_weights,
)
from edm.metrics.weights import MissingPackageError, Weights, WeightsError

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")  # bits depend on the number of threads


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("image_channels", "resolution"), [(1, 8), (3, 32), (3, 64)])
def test_classifier_fits_any_data_set(image_channels, resolution):
    config = ClassifierConfig(channels=4, feature_channels=6)
    model = Classifier(config, image_channels, resolution, num_classes=5).eval()
    found, scores = model(random_images(2, image_channels, resolution, resolution))
    assert found.shape == (2, model.dimension) == (2, 6)
    assert scores.shape == (2, 5)


@pytest.mark.parametrize("sizes", [[250], [100, 100, 50], [1, 99, 150], [33, 217]])
def test_features_do_not_depend_on_how_images_are_split(sizes):
    classifier, images = Classifier(ClassifierConfig(), 1, 8, 10).eval(), random_images(250, 1, 8, 8)
    whole, classes = extract(classifier, images)
    parts = [extract(classifier, part) for part in images.split(sizes)]
    torch.testing.assert_close(torch.cat([found for found, _ in parts]), whole, rtol=0, atol=1e-5)
    assert torch.equal(torch.cat([found for _, found in parts]), classes)


class FirstPixels:
    """An extractor without classes: an image's first two pixels, through a function of the test's own."""

    dimension, knows_classes, fingerprint = 2, False, "pixels"

    def __init__(self, change=lambda found: found):
        self.change = change
        self.batch_sizes = []

    def __call__(self, batch):
        self.batch_sizes.append(len(batch))
        return self.change(batch.flatten(1)[:, :2].float()), None


@pytest.mark.parametrize("num", [1, 99, 100, 101, 250])
def test_every_batch_has_one_size_and_padding_is_dropped(num):
    extractor, images = FirstPixels(), random_images(num, 1, 2, 2)
    found, classes = extract(extractor, images)
    assert classes is None
    assert torch.equal(found, images.flatten(1)[:, :2].float())
    assert extractor.batch_sizes == [EXTRACTOR_BATCH] * -(-num // EXTRACTOR_BATCH)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_image_with_features_that_are_not_finite_is_named(value):
    images = torch.zeros(250, 1, 2, 2, dtype=torch.uint8)
    images[[137, 201], 0, 0, 1] = 1
    extractor = FirstPixels(lambda found: found.where(found == 0, value))
    assert extract(extractor, images[:137])[0].isfinite().all()
    for call, index in (
        (lambda: extract(extractor, images), 137),
        (lambda: extract(extractor, images[100:], first=5100), 5137),
    ):
        with pytest.raises(FeatureError, match=f"^image {index} has features that are NaN or infinite on cpu: "):
            call()


def test_no_images_are_answered():
    with pytest.raises(FeatureError, match=r"no images .*; give at least one"):
        extract(FirstPixels(), random_images(0, 1, 2, 2))


def test_no_short_float_format_is_used_inside_and_settings_are_put_back():
    seen = []

    def look(found):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return found / len(seen)

    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = True
        extract(FirstPixels(look), random_images(1, 1, 2, 2))
        with pytest.raises(ZeroDivisionError):
            extract(FirstPixels(lambda found: look(found) / (1 // 0)), random_images(1, 1, 2, 2))
        assert seen == [("highest", False)] * 2
        assert torch.get_float32_matmul_precision() == "medium" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@pytest.fixture(scope="module")
def inception_weights():
    """Random weights of pytorch-fid's Inception, whose names and shapes are torchvision's, scaled to keep variances."""
    network = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    return network.state_dict()


@pytest.fixture
def offered(inception_weights, monkeypatch):
    """pytorch-fid finds these random weights where it would fetch the published ones."""
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: inception_weights)


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 320)])
def test_inception_features_are_pytorch_fids_own_from_png_files(inception_weights, tmp_path, channels, side):
    images = random_images(2, channels, side, side)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).numpy()).save(path)
    expected = get_activations(paths, inception.InceptionV3([3]), batch_size=2, num_workers=0)

    found, scores = Inception(inception_weights, CPU)(images)
    assert scores is None
    assert found.shape == (2, Inception.dimension)
    assert (found[0] - found[1]).abs().max() > 1e-2
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num", [1, features.INCEPTION_AT_ONCE + 1])
def test_inception_in_parts_and_in_place_is_its_plain_layers(inception_weights, num):
    extractor = Inception(inception_weights, CPU)
    for norm in (module for module in extractor.network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.fill_(0.01)
        norm.running_var.fill_(1.1)
    images = random_images(num, 3, 8, 8)
    found = extractor(images)[0]
    for weight in extractor.network.parameters():
        weight.requires_grad_()  # so that no norm is computed in place
    resized = F.interpolate(images.float(), size=(299, 299), mode="bilinear", align_corners=False)
    plain = extractor.network((2 * (resized / 255) - 1).contiguous(memory_format=torch.channels_last))
    assert plain.requires_grad and not found.requires_grad
    torch.testing.assert_close(found, plain.detach(), rtol=1e-5, atol=1e-5)  # one batch has other last bits than parts
    if num == 1:
        assert torch.equal(found, plain)


class Layers(nn.Module):
    """The layers of the original network, which take images that are normalised already, with pytorch-fid's code."""

    def __init__(self):
        super().__init__()
        self.network = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()

    def forward(self, x):
        return self.network(x)[0]


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 320)])
def test_inception_features_of_clean_images_are_clean_fids_own(inception_weights, channels, side):
    images = random_images(2, channels, side, side)
    resizer = build_resizer("clean")
    color = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    resized = torch.stack([torch.from_numpy(resizer(image)).permute(2, 0, 1) for image in color])
    cleanfids = InceptionV3W.__new__(InceptionV3W)  # its constructor would download the weights
    nn.Module.__init__(cleanfids)
    cleanfids.layers, cleanfids.resize_inside = Layers(), False
    with torch.no_grad():
        expected = cleanfids(resized)

    found = Inception(inception_weights, CPU, "clean")(images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if side == 320:  # where images get smaller the rules do not agree
        assert (Inception(inception_weights, CPU)(images)[0] - found).abs().max() > 1e-2


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 320)])
def test_inception_features_of_tensorflow_images_are_torch_fidelitys_own(inception_weights, tmp_path, channels, side):
    images = random_images(2, channels, side, side)
    torch.save(inception_weights, tmp_path / "weights.pth")
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=tmp_path / "weights.pth"
    )
    (expected,) = network(images.expand(-1, 3, -1, -1))
    found = Inception(inception_weights, CPU, "tensorflow")(images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (Inception(inception_weights, CPU)(images)[0] - found).abs().max() > 1e-2


def test_fetch_function_is_put_back_whether_or_not_the_weights_fit(inception_weights):
    fetch = inception.load_state_dict_from_url
    Inception(inception_weights, CPU)
    assert inception.load_state_dict_from_url is fetch
    with pytest.raises(RuntimeError, match="Missing key"):
        Inception({}, CPU)
    assert inception.load_state_dict_from_url is fetch


SMALL = "vit_small_patch14_dinov2"


@pytest.fixture(scope="module")
def dinov2_weights():
    """Random weights of the smallest DINOv2 as Meta publishes them: for 37 x 37 patches, with an unused mask token."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = timm.create_model(SMALL, img_size=518, num_classes=0).state_dict()
    weights = {}
    for name, value in shapes.items():
        is_matrix = value.ndim > 1 and len(value) > 1  # positions and tokens are not
        scale = value[0].numel() ** -0.5 if is_matrix else 1.0  # keeps variances
        weights[name] = torch.randn(value.shape, generator=generator) * (0.3 if name.endswith("gamma") else scale)
    return {**weights, "mask_token": torch.randn(1, 384, generator=generator)}


def plain_dinov2(weights, images, heads=6):
    """DINOv2 (Oquab et al. 2023) written out: a transformer with scaled residuals, positions resampled as Meta does."""

    def normalised(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    patches = F.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14)
    grid, positions = patches.shape[-1], weights["pos_embed"]
    square = positions[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, scale_factor=((grid + 0.1) / 37, (grid + 0.1) / 37), mode="bicubic")
    token = (weights["cls_token"] + positions[:, :1]).expand(len(images), -1, -1)
    x = torch.cat([token, (patches + square).flatten(2).mT], dim=1)
    for block in range(12):
        name = f"blocks.{block}"
        q, k, v = linear(normalised(x, f"{name}.norm1"), f"{name}.attn.qkv").unflatten(2, (3, heads, -1)).unbind(2)
        similar = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
        mixed = torch.einsum("bhqk,bkhd->bqhd", similar.softmax(dim=-1), v).flatten(2)
        x = x + weights[f"{name}.ls1.gamma"] * linear(mixed, f"{name}.attn.proj")
        hidden = F.gelu(linear(normalised(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        x = x + weights[f"{name}.ls2.gamma"] * linear(hidden, f"{name}.mlp.fc2")
    return normalised(x, "norm")[:, 0]


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 64), (3, 300)])
def test_dinov2_features_are_its_class_token_of_normalised_images(dinov2_weights, channels, side):
    images = random_images(2, channels, side, side)
    resizer = make_resizer("PIL", False, "bicubic", (224, 224))
    color = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    unit = torch.stack([torch.from_numpy(resizer(image)) for image in color]) / 255
    normalised = (unit - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])

    extractor = Dinov2(dinov2_weights, CPU, SMALL)
    found, scores = extractor(images)
    assert scores is None
    assert found.shape == (2, extractor.dimension) == (2, 384)
    assert (found[0] - found[1]).abs().max() > 1e-2
    torch.testing.assert_close(found, plain_dinov2(dinov2_weights, normalised.permute(0, 3, 1, 2)), rtol=0, atol=2e-5)


def test_dinov2_takes_no_weights_but_its_own(dinov2_weights):
    with pytest.raises(RuntimeError, match="Missing key"):
        Dinov2({name: value for name, value in dinov2_weights.items() if name != "norm.bias"}, CPU, SMALL)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        Dinov2({**dinov2_weights, "head.bias": torch.zeros(1)}, CPU, SMALL)


def test_the_network_that_is_scored_with_has_1024_features():
    with torch.device("meta"):
        network = timm.create_model(DINOV2_NETWORK, img_size=224, num_classes=0)
    assert network.num_features == 1024
    assert sum(p.numel() for p in network.parameters()) * 4 < DINOV2_WEIGHTS.bytes < 1.01 * 304e6 * 4


def test_dinov2_without_timm_is_answered_before_anything_is_fetched(monkeypatch, dinov2_weights):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(features, "find_weights", lambda *_, **__: pytest.fail("was to be fetched"))
    calls = (lambda: load_dinov2(CPU), lambda: Dinov2(dinov2_weights, CPU), lambda: required_weights("dinov2"))
    for call in calls:
        with pytest.raises(
            MissingPackageError, match="features: dinov2 needs the package timm, which is not installed"
        ):
            call()
    assert required_weights("inception") is INCEPTION_WEIGHTS


def test_every_feature_space_tells_which_file_it_needs():
    assert required_weights("inception") is INCEPTION_WEIGHTS
    assert required_weights("dinov2") is DINOV2_WEIGHTS
    assert required_weights("classifier") is None
    for weights in (INCEPTION_WEIGHTS, DINOV2_WEIGHTS):
        assert weights.url.startswith("https://") and weights.url.endswith("/" + weights.file)
        assert len(bytes.fromhex(weights.sha256)) == 32
    assert INCEPTION_WEIGHTS.sha256[:8] in INCEPTION_WEIGHTS.file  # its publisher put the beginning there


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Weights of a test's own in the place of published ones."""

    def pretend(name, weights):
        path = tmp_path / f"{name}.pth"
        torch.save(weights, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        made = Weights(f"features: {name}", path.name, "http://127.0.0.1:9/", path.stat().st_size, digest)
        monkeypatch.setattr(features, f"{name.upper()}_WEIGHTS", made)
        return path

    return pretend


def test_published_weights_are_loaded_for_the_rule_asked_for(pretended, inception_weights):
    path = pretended("inception", inception_weights)
    images = random_images(1, 3, 16, 16)
    found = load_inception(CPU, "clean", path)
    assert torch.equal(found(images)[0], Inception(inception_weights, CPU, "clean")(images)[0])
    assert found.fingerprint == Inception(inception_weights, CPU, "clean").fingerprint


def test_published_dinov2_weights_are_loaded(pretended, dinov2_weights, monkeypatch):
    path = pretended("dinov2", dinov2_weights)
    monkeypatch.setattr(features, "Dinov2", functools.partial(Dinov2, architecture=SMALL))
    assert load_dinov2(CPU, path).fingerprint == Dinov2(dinov2_weights, CPU, SMALL).fingerprint


@pytest.mark.parametrize(("name", "load"), [("inception", load_inception), ("dinov2", load_dinov2)])
def test_damaged_weights_are_never_loaded(pretended, name, load):
    path = pretended(name, {"weight": torch.zeros(3)})
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(WeightsError, match="not the published file"):
        load(CPU, given=path)


WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}


def test_a_fingerprint_stays_the_same_for_good():
    """Statistics on disk say by it what they are of."""
    expected = b'["name", {"side": 3}]["a", "torch.float32", [2, 3]]' + struct.pack("<6f", *range(6))
    expected += b'["b", "torch.int64", []]' + struct.pack("<q", 1)
    assert fingerprint("name", {"side": 3}, WEIGHTS) == hashlib.sha256(expected).hexdigest()


def test_a_fingerprint_does_not_depend_on_order_or_layout():
    images = torch.rand(2, 3, 4, 4)
    laid_out = images.to(memory_format=torch.channels_last)
    assert laid_out.stride() != images.stride()
    one = fingerprint("name", {"side": 3, "resize": "clean"}, {"images": images, **WEIGHTS})
    assert one == fingerprint("name", {"resize": "clean", "side": 3}, {**WEIGHTS, "images": laid_out})


@pytest.mark.parametrize(
    "other",
    [
        ("other", {"side": 3}, WEIGHTS),
        ("name", {"side": 4}, WEIGHTS),
        ("name", {"side": 3}, {**WEIGHTS, "a": WEIGHTS["a"].reshape(3, 2)}),
        ("name", {"side": 3}, {**WEIGHTS, "a": WEIGHTS["a"].view(torch.int32)}),
        ("name", {"side": 3}, {**WEIGHTS, "a": WEIGHTS["a"].nextafter(torch.tensor(9.0))}),
        ("name", {"side": 3}, {**WEIGHTS, "a": WEIGHTS["a"].where(WEIGHTS["a"] != 0, -0.0)}),
        ("name", {"side": 3}, {"a": WEIGHTS["a"], "c": WEIGHTS["b"]}),
        ("name", {"side": 3}, {"a": WEIGHTS["a"]}),
        ("name", {"side": 3}, {**WEIGHTS, "c": torch.zeros(0)}),
    ],
)
def test_a_fingerprint_changes_with_anything_that_features_could_hang_on(other):
    assert fingerprint(*other) != fingerprint("name", {"side": 3}, WEIGHTS)


def test_extractors_have_a_fingerprint_of_their_rule_and_weights(inception_weights, dinov2_weights):
    name = "Mixed_7c.branch_pool.bn.bias"
    changed = {**inception_weights, name: inception_weights[name] + 1}
    extractors = [
        Inception(inception_weights, CPU),
        Inception(inception_weights, CPU, "clean"),
        Inception(inception_weights, CPU, "tensorflow"),
        Inception(changed, CPU),
        Dinov2(dinov2_weights, CPU, SMALL),
        Dinov2({**dinov2_weights, "norm.bias": dinov2_weights["norm.bias"] * 2}, CPU, SMALL),
        Classifier(ClassifierConfig(channels=4), 1, 8, 10),
    ]
    prints = [extractor.fingerprint for extractor in extractors]
    assert len(set(prints)) == len(prints) and {len(bytes.fromhex(one)) for one in prints} == {32}
    assert all(isinstance(extractor, Extractor) for extractor in extractors)
    assert Inception(inception_weights, CPU).fingerprint == prints[0]
