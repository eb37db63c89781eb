"""The average of the weights against direct computations."""

import pytest
import torch
from torch import nn

from edm.ema import RAMP_UP, Ema


def scalar_module(value=0.0):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


@pytest.mark.parametrize("halflife_kimg", [0.0, 0.05, 0.5, 500.0])
def test_average_of_one_weight_is_the_direct_computation(halflife_kimg):
    module, batch_size = scalar_module(2.0), 100
    ema, average = Ema(module, halflife_kimg), 2.0
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
    ema = Ema(module, halflife_kimg=2.0)
    nn.init.zeros_(module.weight)
    for _ in range(20):
        ema.update(module, batch_size=100, seen_kimg=1e6)
    assert float(ema.module.weight) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("seen_kimg", [1.0, 40.0, 9_999.0])
def test_half_life_is_limited_to_5_percent_of_what_was_seen(seen_kimg):
    ema = Ema(scalar_module(), halflife_kimg=500.0)
    five_percent = round(seen_kimg * 1000 * 0.05)
    assert ema.decay(five_percent, seen_kimg) == pytest.approx(0.5, rel=1e-3)
    assert RAMP_UP == 0.05


def test_half_life_holds_once_the_ramp_has_passed():
    ema = Ema(scalar_module(), halflife_kimg=500.0)
    assert ema.decay(1000, 10_000.0) == ema.decay(1000, 1e9) == 0.5 ** (1 / 500)
    assert ema.decay(1000, 9_000.0) < ema.decay(1000, 10_000.0)


@pytest.mark.parametrize(("halflife_kimg", "seen_kimg"), [(0.0, 100.0), (500.0, 0.0)])
def test_average_is_the_weights_without_a_half_life_and_at_the_first_step(halflife_kimg, seen_kimg):
    module = scalar_module(1.0)
    ema = Ema(module, halflife_kimg)
    nn.init.constant_(module.weight, 0.3)
    assert ema.decay(64, seen_kimg) == 0
    ema.update(module, 64, seen_kimg)
    assert torch.equal(ema.module.weight, module.weight)


def test_average_starts_as_a_copy_that_is_not_trained():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).train()
    ema = Ema(module, 500.0)
    pairs = list(zip(module.parameters(), ema.module.parameters(), strict=True))
    assert all(torch.equal(a, b) and a.data_ptr() != b.data_ptr() for a, b in pairs)
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not ema.module.training
    assert module.training
