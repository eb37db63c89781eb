"""The average of the weights against direct computations."""

import pytest
import torch
from torch import nn

from edm.ema import Ema, PowerEma, Snapshot, combined, posthoc_coefficients, power_of_width


def scalar_module(value=0.0):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


@pytest.mark.parametrize("halflife_kimg", [0.0, 0.05, 0.5, 500.0])
def test_average_of_one_weight_is_the_direct_computation(halflife_kimg):
    module, batch_size = scalar_module(2.0), 100
    ema, average = Ema(module, halflife_kimg, 0.05), 2.0
    for step in range(60):
        value = (-1.0) ** step * step
        nn.init.constant_(module.weight, value)
        ema.update(module, batch_size, seen_kimg=step * batch_size / 1000)
        # EDM, appendix F.2: the half-life is at most 5% of the images seen before the step
        halflife = min(halflife_kimg * 1000, 0.05 * step * batch_size)
        beta = 0.5 ** (batch_size / halflife) if halflife > 0 else 0.0
        average = beta * average + (1 - beta) * value
        assert float(ema.module.weight.detach()) == pytest.approx(average, rel=1e-4, abs=1e-5)


def test_a_half_life_halves_the_old_weights_share():
    module = scalar_module(1.0)
    ema = Ema(module, 2.0, rampup=0.05)
    nn.init.zeros_(module.weight)
    for _ in range(20):
        ema.update(module, batch_size=100, seen_kimg=1e6)
    assert float(ema.module.weight) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("seen_kimg", [1.0, 40.0, 9_999.0])
def test_half_life_is_limited_to_5_percent_of_what_was_seen(seen_kimg):
    ema = Ema(scalar_module(), halflife_kimg=500.0, rampup=0.05)
    five_percent = round(seen_kimg * 1000 * 0.05)
    assert ema.decay(five_percent, seen_kimg) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(("rampup", "share"), [(0.05, 0.05), (0.5, 0.5), (1000.0, None), (None, None)])
def test_another_ramp_up_limits_otherwise_and_none_not_at_all(rampup, share):
    decay = Ema(scalar_module(), 50.0, rampup).decay(100, seen_kimg=10.0)
    assert decay == 0.5 ** (0.1 / (50.0 if share is None else 10 * share))


def test_half_life_holds_once_the_ramp_has_passed():
    ema = Ema(scalar_module(), halflife_kimg=500.0, rampup=0.05)
    assert ema.decay(1000, 10_000.0) == ema.decay(1000, 1e9) == 0.5 ** (1 / 500)
    assert ema.decay(1000, 9_000.0) < ema.decay(1000, 10_000.0)


@pytest.mark.parametrize(("halflife_kimg", "seen_kimg"), [(0.0, 100.0), (500.0, 0.0)])
def test_average_is_the_weights_without_a_half_life_and_at_the_first_step(halflife_kimg, seen_kimg):
    module = scalar_module(1.0)
    ema = Ema(module, halflife_kimg, 0.05)
    nn.init.constant_(module.weight, 0.3)
    assert ema.decay(64, seen_kimg) == 0
    ema.update(module, 64, seen_kimg)
    assert torch.equal(ema.module.weight, module.weight)


def test_average_starts_as_a_copy_that_is_not_trained():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    ema = Ema(module, 500.0, 0.05)
    pairs = list(zip(module.parameters(), ema.module.parameters(), strict=True))
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not ema.module.training
    assert module.training


def width_of_power(gamma):
    """EDM2, section 3.1: standard deviation over the past, as a share of the time trained."""
    return (gamma + 1) ** 0.5 / ((gamma + 2) * (gamma + 3) ** 0.5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 6.94, 16.97, 120.0])
def test_width_and_power_are_each_others_inverse(gamma):
    assert power_of_width(width_of_power(gamma)) == pytest.approx(gamma, rel=1e-8)


def test_edm2s_two_widths_have_the_powers_that_the_paper_gives():
    assert power_of_width(0.05) == pytest.approx(16.97, abs=0.005)
    assert power_of_width(0.10) == pytest.approx(6.94, abs=0.005)


def wandering_weights(steps, seed=0):
    """The weights after every step of a training that goes somewhere, with noise."""
    generator = torch.Generator().manual_seed(seed)
    walk = torch.randn(steps, generator=generator, dtype=torch.float64).cumsum(0) * 0.05
    return (torch.linspace(1, 0, steps, dtype=torch.float64) ** 3 * 5 + walk).tolist()


def tracked(widths, values):
    """Power-function averages of one weight, step by step: a dict width -> value after each step."""
    module = nn.Linear(1, 1, bias=False).double()
    power = PowerEma(module, widths)
    for step, value in enumerate(values, start=1):
        nn.init.constant_(module.weight, value)
        power.update(module, step)
        yield {float(name.split("/")[0]): tensor.clone() for name, tensor in power.tensors().items()}


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_power_average_weighs_the_past_by_the_power_function(width):
    values = wandering_weights(2000)
    *_, last = tracked([width], values)
    t = torch.arange(1, 2001, dtype=torch.float64) / 2000
    profile = t ** power_of_width(width)
    expected = float((profile * torch.tensor(values, dtype=torch.float64)).sum() / profile.sum())
    assert float(last[width]) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("width", [0.05, 0.07, 0.1, 0.15, 0.2])
def test_posthoc_average_is_the_one_that_was_tracked(width):
    """EDM2, section 3.2: from 24 snapshots of two widths any other width, without training again."""
    steps, values = 4800, wandering_weights(4800, seed=1)
    snapshots, parts = [], []
    for step, averages in enumerate(tracked([0.05, 0.1], values), start=1):
        if step % (steps // 24) == 0:
            for kept, value in averages.items():
                snapshots.append(Snapshot(step, kept))
                parts.append({"weight": value})
    *_, directly = tracked([width], values)
    coefficients = posthoc_coefficients(snapshots, Snapshot(steps, width))
    found = combined(zip(coefficients, parts, strict=True))["weight"]
    truth = float(directly[width])
    assert float(found) == pytest.approx(truth, abs=6e-3 if width > 0.1 else 1e-3)
    if width not in (0.05, 0.1):  # and no average that was kept would have done
        assert min(abs(float(kept) - truth) for kept in averages.values()) > 0.05


def test_posthoc_average_of_a_width_that_was_kept_is_its_last_snapshot():
    snapshots = [Snapshot(step, width) for step in (100, 200, 300) for width in (0.05, 0.1)]
    coefficients = posthoc_coefficients(snapshots, Snapshot(300, 0.1))
    assert coefficients == pytest.approx([0, 0, 0, 0, 0, 1], abs=1e-6)


@pytest.mark.parametrize(("width", "count"), [(0.1, 24), (0.25, 24), (0.28, 24), (0.2, 8), (0.28, 8)])
def test_posthoc_average_of_weights_that_stay_is_those_weights(width, count):
    snapshots = [Snapshot(100 * n, kept) for n in range(1, count + 1) for kept in (0.05, 0.1)]
    coefficients = posthoc_coefficients(snapshots, Snapshot(100 * count, width))
    parts = [{"weight": torch.tensor(3.0)} for _ in snapshots]
    assert float(combined(zip(coefficients, parts, strict=True))["weight"]) == pytest.approx(3.0, rel=1e-6)


def test_combined_sums_what_it_is_given_part_by_part():
    parts = [
        (2.0, {"a": torch.tensor([1.0, 2.0])}),
        (-1.0, {"b": torch.tensor(3.0)}),
        (0.5, {"a": torch.tensor([4.0, 4.0])}),
    ]
    total = combined(parts)
    assert total["a"].tolist() == [4.0, 6.0] and float(total["b"]) == -3.0
    assert total["a"].dtype == torch.float32
