"""What the check before a run finds in extensions: numbers that nobody could compute a second time."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import yaml

from experiments.errors import UserError
from experiments.store.store import Store
from experiments.trials.checking import check_plan
from tests.extending import DAMPED, SWEEP, write_sweep
from tests.planning import load_sweep, plan_sweep

IMPORTS = "import numpy as np\nimport torch\nfrom torch import nn\n\nfrom edm import extend\n\n"
METRIC = """\
@extend.metric("own")
def own(drawn, real):
    return CHOSEN.mean()
"""
FEATURES = """\
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@extend.features("own", dimension=8)
def own(images):
    return network(images.float() / 255)
"""
RULE = """\
@extend.guidance_rule("own")
def own(weaker, denoised, scale, sigma):
    return denoised / denoised.std(DIM)
"""
NETWORK = """\
class Network(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.labels = nn.Embedding(num_classes + 1, 8)
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.last = nn.Conv2d(8, channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x, c_noise, label, augment_labels):
        return self.last(self.first(x) + self.labels(label)[:, :, None, None])


@extend.network("own")
def own(image_channels, resolution, num_classes):
    return Network(image_channels, num_classes)
"""
NORM = """\
class Norm(nn.Module):
    def __init__(self, channels, cond_channels):
        super().__init__()
        self.scale = nn.Linear(cond_channels, channels)
        self.initialise_(None)

    def initialise_(self, generator):
        nn.init.zeros_(self.scale.weight)

    def forward(self, x, cond):
        return x * (1 + self.scale(cond)[:, :, None, None])


@extend.norm("own")
def own(channels, cond_channels):
    return Norm(channels, cond_channels)
"""
AUGMENTATION = """\
@extend.augmentation("own")
def own(images, normals):
    return images + torch.randn_like(images)
"""
WEIGHTING = """\
@extend.weighting("own")
def own(sigma, sigma_data):
    return sigma - sigma_data
"""
LOSS = """\
@extend.loss("own")
def own(denoiser, images, labels, sigma, noise, augment_labels):
    noise = RANDOM
    return (denoiser(images + sigma[:, None, None, None] * noise, sigma, labels) - images).square().mean(dim=(1, 2, 3))
"""
SLOWING = """\
class Slowing(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr, "step_size": 1.0, "steps": 0})
        self.past = [0]

    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            group["step_size"] /= group["steps"]
            self.past[0] += 1
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"] * SIZE)


@extend.optimizer("own")
def own(parameters, lr):
    return Slowing(parameters, lr)
"""
DATASET = """\
random = np.random.default_rng(0)


@extend.dataset("own", channels=1, resolution=8, num_classes=2, splits={"test": 20, "val": 20, "train": 60})
def own():
    for i in range(100):
        yield random.integers(0, 255, (1, 8, 8), dtype=np.uint8), i % 2
"""


def found_in(folder: Path, store: Store, ideas: str, fields: str) -> str:
    """Return what the check says of a sweep whose extensions are used by `fields`; "" if that is nothing."""
    content = yaml.safe_load(SWEEP)
    del content["grid"]
    for section, values in yaml.safe_load(fields).items():
        content[section] = {**content.get(section, {}), **values}
    plan = plan_sweep(load_sweep(write_sweep(folder, yaml.safe_dump(content), IMPORTS + ideas)))
    assert plan.extensions
    try:
        check_plan(plan, store)
    except UserError as error:
        return str(error)
    return ""


OWN_METRIC = "evaluation: {metrics: [fid, own]}"
SPACE = "evaluation: {features: own}"
GUIDED = "sampling: {guidance: 2, guidance_rule: own}"
OWN_NETWORK = "model: {architecture: own}"
OWN_LOSS = "training: {loss: own}"
OWN_OPTIMIZER = "training: {optimizer: own}"


@pytest.mark.parametrize(
    ("ideas", "fields", "expected"),
    [
        (METRIC.replace("CHOSEN", "drawn[torch.randperm(len(drawn))[:5]]"), OWN_METRIC, "again; give its random"),
        (METRIC.replace("CHOSEN", "drawn.sub_(real.mean(dim=0))"), OWN_METRIC, "changes what it is given, in place"),
        (FEATURES.replace("    return", "    images.bitwise_not_()\n    return"), SPACE, "changes what it is given"),
        (WEIGHTING.replace("sigma -", "sigma.mul_(2) -"), "training: {weighting: own}", "changes what it is given"),
        (FEATURES, SPACE, "when the one beside it differs; put its network into eval mode"),
        (RULE.replace("DIM", ""), GUIDED, "returns another image when the one beside it differs; compute every"),
        (NETWORK.replace("self.first(x)", "nn.functional.dropout(self.first(x))"), OWN_NETWORK, "draw no random"),
        (NETWORK.replace("num_classes + 1", "num_classes"), OWN_NETWORK, "IndexError"),
        (NETWORK.replace("nn.Embedding(num_classes + 1, 8)", "torch.randn(11, 8).__getitem__"), OWN_NETWORK, "loaded"),
        (NETWORK.replace("self.first(x)", "self.first(x - x.mean())"), OWN_NETWORK, "when the one beside it differs"),
        (NORM, "model: {norm: own}", "sets scale.weight to 0, which the network's initialisation replaces"),
        (AUGMENTATION, "training: {augmentation: own}", "again; take random numbers from normals() alone"),
        (WEIGHTING, "training: {weighting: own}", "returns weights below 0"),
        (LOSS.replace("RANDOM", "torch.tensor(np.random.randn(*images.shape)).float()"), OWN_LOSS, "from a checkpoint"),
        (SLOWING.replace("SIZE", "self.past[0]"), OWN_OPTIMIZER, "something else when a training goes on from a"),
        (DATASET, "data: {name: own}", "yields other images when it is called again"),
        (DATASET.replace("i % 2", "0.5"), "data: {name: own}", "yields the label 0.5; yield 0 to 1"),
    ],
)
def test_what_cannot_be_repeated_is_found(tmp_path: Path, store: Store, ideas: str, fields: str, expected: str) -> None:
    assert expected in found_in(tmp_path, store, ideas, fields)


@pytest.mark.parametrize(
    ("ideas", "fields"),
    [
        (METRIC.replace("CHOSEN", "drawn"), OWN_METRIC),
        (FEATURES.replace("Flatten())", "Flatten()).eval()"), SPACE),
        (RULE.replace("DIM", "dim=(1, 2, 3), keepdim=True"), GUIDED),
        (NETWORK, OWN_NETWORK),
        (NETWORK.replace("self.first(x)", "nn.functional.dropout(self.first(x), training=self.training)"), OWN_NETWORK),
        (NORM.replace("initialise_", "initialise"), "model: {norm: own}"),
        (NORM.replace("self.initialise_(None)", "pass"), "model: {norm: own}"),
        (LOSS.replace("RANDOM", "torch.randn_like(images)"), OWN_LOSS),
        (SLOWING.replace("SIZE", "group['step_size']"), OWN_OPTIMIZER),
        (DATASET.replace("():\n", "():\n    random = np.random.default_rng(0)\n"), "data: {name: own}"),
    ],
)
def test_what_can_be_repeated_passes(tmp_path: Path, store: Store, ideas: str, fields: str) -> None:
    assert not found_in(tmp_path, store, ideas, fields)


def test_what_extensions_print_is_not_on_stdout(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    printing = NETWORK.replace("    return Network", "    print('built')\n    return Network")
    printing = printing.replace("        return self.last", "        print('called')\n        return self.last")
    assert not found_in(tmp_path, store, printing, OWN_NETWORK)
    out, err = capsys.readouterr()
    assert "built" in err and "called" in err and not out


def test_leaving_is_a_mistake_like_any_other(tmp_path: Path, store: Store) -> None:
    leaving = NETWORK.replace("        return self.last", "        raise SystemExit('bye')\n        return self.last")
    with pytest.raises(UserError, match=r"its code failed .*SystemExit: bye"):
        found_in(tmp_path, store, leaving, OWN_NETWORK)


def test_what_is_tried_is_named_meanwhile(tmp_path: Path, store: Store) -> None:
    titles: list[str] = []

    def phase(title: str) -> AbstractContextManager[None]:
        titles.append(title)
        return nullcontext()

    check_plan(plan_sweep(load_sweep(write_sweep(tmp_path))), store, phase)
    assert titles == ["loading extensions as workers do", "trying the sampler 'damped' on random input"]


COUNTING = "calls = []\n\n\n" + DAMPED.replace("    return step", "    calls.append(1)\n    return len(calls) * step")
MOVING = DAMPED.replace("return step.here.x", "return step.here.x.mul_(2)")
SPREADING = DAMPED.replace("* step.here.slope", "* step.here.slope / step.here.slope.std()")


@pytest.mark.parametrize(
    ("ideas", "expected"),
    [
        (COUNTING, "draws other images when it is called again; take random numbers from the noise"),
        (MOVING, "changes what it is given, in place; return a new tensor"),
        (SPREADING, "draws another image when the one beside it differs; compute every image by itself"),
    ],
)
def test_a_sampler_draws_every_image_by_itself(tmp_path: Path, store: Store, ideas: str, expected: str) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, ideas=ideas)))
    with pytest.raises(UserError) as caught:
        check_plan(plan, store)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("dimension=8", "dimension=0", "extend.features: dimension=0 of 'own' has to be a whole number, 1 or more"),
        ('"train": 60', '"train": 1', "extend.dataset: train=1 of 'own' has to be a whole number, 2 or more"),
        ("channels=1", "channels=0", "extend.dataset: channels=0 of 'own' has to be a whole number, 1 or more"),
    ],
)
def test_a_number_of_a_decorator_is_checked(tmp_path: Path, old: str, new: str, expected: str) -> None:
    ideas = (FEATURES + "\n\n" + DATASET).replace(old, new)
    with pytest.raises(UserError) as caught:
        load_sweep(write_sweep(tmp_path, ideas=IMPORTS + ideas))
    assert expected in str(caught.value)
