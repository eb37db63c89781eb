"""Canonical forms: one for configurations that come to the same computation, and it comes to the same as well."""

import math
from dataclasses import replace

import pytest
import torch

from edm.batches import TrainingSet
from edm.config import (
    GuideConfig,
    NetworkConfig,
    SamplingConfig,
    TrainingConfig,
    canonical_sampling,
    canonical_training,
    guiding_the_same_steps,
)
from edm.config.canonical import reached_halflife
from edm.ema import Ema
from edm.generate import draw
from edm.samplers import sample
from edm.train import TrainState, train
from tests.edm.test_guidance import LABELS, new_model
from tests.edm.test_samplers import TRIANGLE, noise_table, normal
from tests.edm.test_train import CONFIG, tiny_data
from tests.edm.test_train import NETWORK as TRAINED

NETWORK = NetworkConfig(1, 8, 10, 8, (1,), (0,), 0)
UNLABELLED = replace(NETWORK, num_classes=0)
SHORT = TrainingConfig(kimg=1.0, batch_size=64)  # 16 steps, before the last of which 0.96 kimg were seen


def trained(config: TrainingConfig, network: NetworkConfig = NETWORK) -> TrainingConfig:
    found = canonical_training(config, network)
    assert canonical_training(found, network) == found
    return found


def decays(config: TrainingConfig) -> list[float]:
    """What every step keeps of the average of the weights: all that decides it besides the weights."""
    ema = Ema(torch.nn.Linear(1, 1), config.ema_halflife_kimg, config.ema_rampup)
    kept = [ema.decay(config.batch_size, step * config.batch_size / 1000) for step in range(config.num_steps)]
    return [1 - decay for decay in kept]  # as the update takes it


@pytest.mark.parametrize(
    ("kimg", "batch_size", "form"),
    [
        (50.0, 64, 50.0),
        (49.99, 64, 50.0),
        (50.048, 64, 50.0),
        (50.049, 64, 50.1),
        (0.61, 32, 0.64),
        (0.64, 32, 0.64),
        (102.0, 4096, 100.0),
        (9_999.0, 2048, 10_000.0),
        (18_750.0, 64, 18_750.0),
        (200_000.0, 512, 200_000.0),
        (0.001, 1, 0.001),
        (1e-5, 64, 0.06),
    ],
)
def test_kimg_that_take_as_many_steps_are_the_roundest(kimg: float, batch_size: int, form: float) -> None:
    config = TrainingConfig(kimg=kimg, batch_size=batch_size)
    found = trained(config)
    assert found.kimg == form and found.num_steps == config.num_steps


def test_kimg_before_a_checkpoint_to_keep_is_no_form() -> None:
    assert trained(replace(SHORT, kimg=1.02, keep=(1.0,))).kimg == 1.0
    assert trained(replace(SHORT, kimg=1.02, keep=(1.02,))).kimg == 1.02


AVERAGES = [(halflife, 0.05) for halflife in (0.0, 1e-6, 0.01, 0.0479, 0.048, 0.1, 0.5, 2.0, 500.0, math.inf)]
AVERAGES += [(halflife, rampup) for halflife in (0.1, 2.0, 500.0) for rampup in (0.5, 2.0, 3000.0, None)]


@pytest.mark.parametrize("training", [SHORT, TrainingConfig(kimg=0.064), TrainingConfig(kimg=50.0)])
def test_averages_share_a_form_where_and_only_where_they_are_the_same(training: TrainingConfig) -> None:
    configs = [replace(training, ema_halflife_kimg=h, ema_rampup=rampup) for h, rampup in AVERAGES]
    forms, kept = [trained(config) for config in configs], [decays(config) for config in configs]
    for form, one in zip(forms, kept, strict=True):
        assert decays(form) == one
        for other_form, other in zip(forms, kept, strict=True):
            assert form != other_form or one == other


@pytest.mark.parametrize("training", [SHORT, TrainingConfig(kimg=50.0), TrainingConfig(kimg=12_000.0)])
def test_all_half_lives_that_are_never_reached_are_one(training: TrainingConfig) -> None:
    reached = reached_halflife(training)
    assert len({trained(replace(training, ema_halflife_kimg=reached * k)) for k in (1, 1.5, 2, 40, 10_000)}) == 1
    below = replace(training, ema_halflife_kimg=reached * 0.999)
    assert trained(below) == below


@pytest.mark.parametrize(
    ("kimg", "halflife"), [(50.0, 5.0), (20.0, 2.0), (5000.0, 500.0), (10_000.0, 500.0), (200_000.0, 500.0)]
)
def test_the_form_is_what_defaults_templates_and_sweeps_have_had(kimg: float, halflife: float) -> None:
    config = TrainingConfig(kimg=kimg, ema_halflife_kimg=halflife)
    assert trained(config) == config


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"optimizer": "adamw", "weight_decay": 0.0}, {}),
        ({"clip_norm": math.inf}, {}),
        ({"noise_distribution": "vp", "p_mean": -0.4, "p_std": 1.0}, {"noise_distribution": "vp"}),
        ({"warmup_kimg": 0.01}, {"warmup_kimg": 0.064}),
        ({"ema_halflife_kimg": 0.0, "ema_rampup": None}, {"ema_halflife_kimg": 0.0}),
        ({"micro_batch": 64, "weight_decay": 3.0, "min_snr_gamma": 1.0}, {}),
    ],
)
def test_trainings_that_are_the_same_are_one(given, same) -> None:
    base = TrainingConfig()
    assert trained(replace(base, **given)) == trained(replace(base, **same))


def test_labels_are_dropped_where_there_are_some() -> None:
    low, high = (TrainingConfig(label_dropout=share) for share in (0.1, 0.5))
    assert trained(low, UNLABELLED) == trained(high, UNLABELLED)
    assert trained(low) != trained(high)


@pytest.mark.parametrize(
    "other", [{"optimizer": "adamw"}, {"clip_norm": 1.0}, {"warmup_kimg": 0.065}, {"micro_batch": 32}, {"kimg": 1.1}]
)
def test_what_changes_a_training_stays(other) -> None:
    assert trained(replace(SHORT, **other)) != trained(SHORT)


TINY = replace(CONFIG, kimg=0.06)  # 6 steps of 10 images


@pytest.mark.parametrize(
    ("network", "given", "other"),
    [
        (TRAINED, {"ema_halflife_kimg": 0.003}, {"ema_halflife_kimg": 500.0}),
        (TRAINED, {"ema_halflife_kimg": 0.0}, {"ema_halflife_kimg": 1e-6, "ema_rampup": None}),
        (TRAINED, {"optimizer": "adamw", "weight_decay": 0.0}, {"optimizer": "adam"}),
        (TRAINED, {"clip_norm": math.inf}, {}),
        (TRAINED, {"warmup_kimg": 0.001}, {"warmup_kimg": 0.01}),
        (replace(TRAINED, num_classes=0), {"label_dropout": 0.1}, {"label_dropout": 0.9}),
    ],
)
def test_trainings_of_one_form_end_in_the_same_bits(network, given, other) -> None:
    ends = []
    for changes in (given, other):
        config = replace(TINY, **changes)
        state = TrainState(network, config, 0.5, 0, torch.device("cpu"))
        data = tiny_data()
        images = data if network.num_classes else TrainingSet(data.images, torch.zeros_like(data.labels))
        list(train(state, images))
        ends.append((trained(config, network), state.tensors()))
    (form, first), (other_form, second) = ends
    assert form == other_form
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# sampling -----------------------------------------------------------------------------------------

STUDY = {"s_churn": math.inf, "s_min": 0.0, "s_max": math.inf, "s_noise": 1.0}
SAME: list[tuple[SamplingConfig, ...]] = [  # ways of sampling that draw the same images, the canonical one first
    (
        SamplingConfig("heun"),
        SamplingConfig("stochastic_heun", s_churn=0.0),
        SamplingConfig("stochastic_heun", s_min=90.0, s_max=99.0),
    ),
    (SamplingConfig("euler"), SamplingConfig("stochastic_euler", s_churn=0.0, s_noise=2.0)),
    (
        SamplingConfig("stochastic_heun"),
        SamplingConfig("stochastic_heun", s_churn=8.0),
        SamplingConfig("stochastic_heun", s_churn=math.inf, s_max=45.0),
    ),
    (
        SamplingConfig("stochastic_euler", **STUDY),
        SamplingConfig("stochastic_euler", **{**STUDY, "s_churn": 20.0, "s_max": 80.0}),
    ),
    (SamplingConfig("dpmpp_2m"), SamplingConfig("dpmpp_2m_sde", eta=0.0)),
    (SamplingConfig("dpmpp_2m", steps=3), SamplingConfig("dpmpp_3m", steps=3)),
    (
        SamplingConfig("euler", steps=1),
        SamplingConfig("heun", steps=1),
        SamplingConfig("dpm2", steps=1, rho=3.0),
        SamplingConfig("euler", steps=1, schedule="exponential"),
    ),
    (
        SamplingConfig("dpmpp_2m", steps=1),
        SamplingConfig("unipc", steps=1),
        SamplingConfig("dpmpp_3m", steps=1),
        SamplingConfig("dpmpp_2m_sde", steps=1),
    ),
]


@pytest.mark.parametrize("configs", SAME, ids=lambda configs: f"{configs[-1].sampler} {configs[-1].steps}")
def test_ways_of_sampling_that_are_one_draw_the_same_bits(configs) -> None:
    assert [canonical_sampling(config) for config in configs] == [configs[0]] * len(configs)
    x = normal(4, 2, 1, 1)
    first, *others = (sample(TRIANGLE, x, c, noise_table(c.steps, x.shape)) for c in configs)
    assert all(torch.equal(first, other) for other in others)
    assert len({config.nfe for config in configs}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"sampler": "stochastic_heun", "s_churn": 7.0},
        {"sampler": "stochastic_heun", "s_min": 0.5},
        {"sampler": "dpmpp_2m_sde", "eta": 0.1},
        {"sampler": "dpmpp_3m", "steps": 4},
        {"sampler": "unipc", "steps": 2},
        {"sampler": "heun", "steps": 2},
        {"schedule": "iddpm", "steps": 2},
    ],
)
def test_what_changes_the_images_stays(other) -> None:
    config = SamplingConfig(**other)
    found = canonical_sampling(config)
    assert canonical_sampling(found) == found
    x = normal(4, 2, 1, 1)
    assert torch.equal(*(sample(TRIANGLE, x, c, noise_table(c.steps, x.shape)) for c in (config, found)))
    assert found.sampler == config.sampler and found.schedule == config.schedule


GUIDED = {"guidance": 2.0, "sampler": "heun"}


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({**GUIDED, "guidance_interval": (0.0, 80.0)}, GUIDED),
        ({**GUIDED, "guidance_interval": (0.001, math.inf)}, GUIDED),
        ({**GUIDED, "guidance_interval": (80.0, 99.0)}, {}),  # above low, so never at the first level
        ({**GUIDED, "guidance_interval": (0.0, 0.001), "guide": GuideConfig(channels=4)}, {}),
        ({"guidance": 1.0, "guidance_interval": (1.0, 2.0), "guide": GuideConfig(channels=4)}, {}),
        ({**GUIDED, "resolution": 8}, GUIDED),
    ],
)
def test_guidance_of_all_or_of_no_steps_is_one(given, same) -> None:
    given, same = SamplingConfig(**given), SamplingConfig(**same)
    assert canonical_sampling(given, NETWORK) == canonical_sampling(same, NETWORK)
    assert [given.guides(s) and given.guidance != 1 for s in given.sigmas[:-1]] == [
        same.guides(s) and same.guidance != 1 for s in same.sigmas[:-1]
    ]


@pytest.mark.parametrize(
    "given",
    [
        {**GUIDED, "guidance_interval": (0.002, 80.0)},  # not at 0.002 itself
        {**GUIDED, "guidance_interval": (0.0, 79.0)},
        {**GUIDED, "guidance_interval": (0.0, 71.5), "schedule": "iddpm"},  # the exact solution begins there, or lower
        {**GUIDED, "resolution": 16},
        {"guidance": 0.0},
    ],
)
def test_guidance_of_some_steps_stays(given) -> None:
    config = SamplingConfig(**given)
    assert canonical_sampling(config, NETWORK) == config.without_unread()


PARTLY = [  # intervals that guide the same ones of five steps from 80, at 17.5, 2.5 and 0.17; the first is the form
    [(0.16976, 17.528), (0.2, 20.0), (1.0, 18.0)],
    [(0.16976, 2.5153), (0.2, 3.0), (2.0, 17.0)],
    [(0.0, 0.16976), (0.0015, 1.0), (0.0, 0.5)],
]


@pytest.mark.parametrize("sampler", ["heun", "dpm2", "stochastic_heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc"])
@pytest.mark.parametrize("intervals", PARTLY)
def test_intervals_that_guide_the_same_steps_draw_the_same_bits(sampler, intervals) -> None:
    configs = [SamplingConfig(sampler, 5, 2.0, guidance_interval=interval) for interval in intervals]
    forms = [guiding_the_same_steps(config) for config in configs]
    assert forms[0] == forms[1] == forms[2] == guiding_the_same_steps(forms[0])
    assert forms[0].guidance_interval == pytest.approx(intervals[0], rel=1e-3)
    assert forms[0].sigmas == configs[0].sigmas and forms[0].evaluations == configs[0].evaluations
    images = [draw(new_model(), config, torch.arange(4), LABELS) for config in (*configs, forms[0])]
    assert all(torch.equal(images[-1], other) for other in images)
    wider = replace(configs[0], guidance_interval=(intervals[0][0], 90.0))
    assert guiding_the_same_steps(wider) != forms[0]
    assert not torch.equal(draw(new_model(), wider, torch.arange(4), LABELS), images[0])


def test_an_interval_of_all_or_of_no_steps_is_none() -> None:
    all_steps = SamplingConfig(steps=5, guidance=2.0, guidance_interval=(0.001, 80.0))
    no_step = replace(all_steps, guidance_interval=(3.0, 17.0))
    assert guiding_the_same_steps(all_steps) == replace(all_steps, guidance_interval=None)
    assert guiding_the_same_steps(no_step) == SamplingConfig(steps=5)


def test_a_network_without_classes_is_guided_by_another_network_alone() -> None:
    assert canonical_sampling(SamplingConfig(guidance=3.0), UNLABELLED) == SamplingConfig()
    guided = SamplingConfig(guidance=3.0, guide=GuideConfig(channels=4))
    assert canonical_sampling(guided, UNLABELLED) == guided
