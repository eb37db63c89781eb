"""Configurations: what is refused, with the field and the remedy, and the numbers derived from their fields."""

import dataclasses
import inspect
import math
import pickle
import re
import subprocess
import sys

import pytest

from edm.config import (
    MAX_SEED,
    PRESETS,
    ClassifierConfig,
    DataConfig,
    EvaluationConfig,
    FieldError,
    GuideConfig,
    ModelConfig,
    NetworkConfig,
    SamplingConfig,
    TrainingConfig,
)

REFUSED = [  # configuration, the field that is wrong, fields given, what the message says to do
    (ModelConfig, "cond_channels", {"cond_channels": 7}, "even number"),
    (ModelConfig, "cond_channels", {"cond_channels": 0}, "2 or more"),
    (ModelConfig, "channels", {"channels": 0}, "give a positive number"),
    (ModelConfig, "channels", {"channels": -64}, "-64 is not above 0"),
    (ModelConfig, "depths", {"depths": ()}, "at least one block"),
    (ModelConfig, "depths", {"depths": (2, 0)}, "at least one block"),
    (ModelConfig, "depths", {"depths": (2, 2, 2)}, "3 levels but 2 numbers of heads; give one"),
    (ModelConfig, "heads", {"heads": (4,)}, "2 levels but 1 numbers of heads; give one"),
    (ModelConfig, "heads", {"heads": (4, 3)}, "3 heads do not divide 128 channels; give a divisor, or 0"),
    (ModelConfig, "heads", {"heads": (-1, 0)}, "give a divisor, or 0 for no attention"),
    (ModelConfig, "heads", {"preset": "nano", "channels": 9, "heads": (2, 0), "bridge_heads": 0}, "do not divide 9"),
    (ModelConfig, "bridge_heads", {"bridge_heads": 5}, "5 heads do not divide 256 channels"),
    (TrainingConfig, "kimg", {"kimg": 0.0}, "give a positive number"),
    (TrainingConfig, "kimg", {"kimg": math.inf}, "give a positive number"),
    (TrainingConfig, "kimg", {"kimg": math.nan}, "give a positive number"),
    (TrainingConfig, "batch_size", {"batch_size": 0}, "0 is not above 0"),
    (TrainingConfig, "lr", {"lr": -1e-4}, "-0.0001 is not above 0"),
    (TrainingConfig, "p_std", {"p_std": 0.0}, "give a positive number"),
    (TrainingConfig, "p_mean", {"p_mean": math.nan}, "finite"),
    (TrainingConfig, "p_mean", {"p_mean": -math.inf}, "finite"),
    (TrainingConfig, "ema_rampup", {"ema_rampup": 0.0}, "give a share above 0, or null for no limit"),
    (TrainingConfig, "ema_halflife_kimg", {"ema_halflife_kimg": -1.0}, "give 0 (no average) or more"),
    (TrainingConfig, "ema_halflife_kimg", {"ema_halflife_kimg": math.nan}, "give 0 (no average) or more"),
    (
        TrainingConfig,
        "ema_halflife_kimg",
        {"ema_halflife_kimg": math.inf, "ema_rampup": None},
        "infinite without ema_rampup",
    ),
    (TrainingConfig, "label_dropout", {"label_dropout": 1.01}, "give 0 to 1"),
    (TrainingConfig, "label_dropout", {"label_dropout": -0.2}, "-0.2 is not a share"),
    (SamplingConfig, "steps", {"steps": 0}, "give a positive number"),
    (SamplingConfig, "sigma_min", {"sigma_min": 0.0}, "give a positive number"),
    (SamplingConfig, "sigma_min", {"sigma_min": 80.0}, "80.0 is not below sigma_max 80.0"),
    (SamplingConfig, "sigma_max", {"sigma_max": math.inf}, "give a positive number"),
    (SamplingConfig, "rho", {"rho": -7.0}, "give a positive number"),
    (SamplingConfig, "s_noise", {"s_noise": 0.0}, "give a positive number"),
    (SamplingConfig, "guidance", {"guidance": math.inf}, "not a finite number"),
    (SamplingConfig, "s_churn", {"s_churn": -1.0}, "give 0 or more, or infinity"),
    (SamplingConfig, "s_churn", {"s_churn": math.nan}, "give 0 or more, or infinity"),
    (SamplingConfig, "s_min", {"s_min": 51.0}, "51.0 to s_max 50.0 is not a range"),
    (SamplingConfig, "s_min", {"s_min": -0.1}, "not a range of noise levels"),
    (SamplingConfig, "seed", {"seed": -1}, "give a whole number from 0 to 4294967295"),
    (SamplingConfig, "seed", {"seed": MAX_SEED + 1}, "is not a seed"),
    (SamplingConfig, "eta", {"eta": 1.1}, "1.1 is not a share; give 0 (no noise) to 1"),
    (SamplingConfig, "eta", {"eta": math.nan}, "nan is not a share"),
    (SamplingConfig, "guidance_interval", {"guidance_interval": (2.0, 2.0)}, "2 to 2 is not a range of noise levels"),
    (SamplingConfig, "guidance_interval", {"guidance_interval": (-1.0, 2.0)}, "give [low, high]"),
    (SamplingConfig, "ema", {"ema": 0.0}, "0.0 is not a relative width"),
    (SamplingConfig, "resolution", {"resolution": 0}, "give a number of pixels above 0"),
    (SamplingConfig, "schedule", {"schedule": "iddpm", "steps": 992}, "iddpm has 991 levels from 80 to 0.002; give"),
    (SamplingConfig, "schedule", {"schedule": "vp", "sigma_min": 1.0}, "vp does not fall steadily from 80 to 1; give"),
    (GuideConfig, "preset", {}, "a guide differs from its network in preset, channels, kimg or ema"),
    (GuideConfig, "channels", {"channels": 0}, "give a positive number"),
    (GuideConfig, "kimg", {"kimg": -1.0}, "give a positive number"),
    (GuideConfig, "ema", {"ema": 0.5}, "0.5 is not a relative width"),
    (EvaluationConfig, "images", {"images": 1}, "give 2 or more"),
    (EvaluationConfig, "splits", {"splits": ()}, "give one or more of train, val, test"),
    (EvaluationConfig, "splits", {"splits": ("test", "test")}, "remove one"),
]
ACCEPTED = [  # the nearest values that make sense
    (ModelConfig, {"cond_channels": 2}),
    (ModelConfig, {"attention": False}),
    (ModelConfig, {"depths": (2, 2, 2), "heads": (0, 0, 4)}),
    (ModelConfig, {"heads": (0, 128), "bridge_heads": 0}),
    (TrainingConfig, {"ema_halflife_kimg": 0.0, "label_dropout": 0.0}),
    (TrainingConfig, {"label_dropout": 1.0, "batch_size": 1, "kimg": 1e-3}),
    (SamplingConfig, {"steps": 1, "s_churn": 0.0, "s_min": 0.0, "s_max": 0.0}),
    (SamplingConfig, {"s_churn": math.inf, "s_max": math.inf, "seed": MAX_SEED, "guidance": -0.5}),
    (SamplingConfig, {"eta": 0.0, "guidance_interval": (0.0, math.inf), "resolution": 1, "ema": 0.28}),
    (SamplingConfig, {"schedule": "iddpm", "steps": 991}),
    (GuideConfig, {"kimg": 1e-3}),
    (EvaluationConfig, {"images": 2, "splits": ("val",)}),
]


@pytest.mark.parametrize(("kind", "field", "given", "remedy"), REFUSED)
def test_a_wrong_value_is_refused_by_field_with_a_remedy(kind, field, given, remedy):
    with pytest.raises(FieldError) as refusal:
        kind(**given)
    assert refusal.value.field == field
    assert remedy in refusal.value.problem
    assert str(refusal.value) == f"{field}: {refusal.value.problem}"
    assert isinstance(refusal.value, ValueError)


def test_a_refusal_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(FieldError("steps", "0 is not above 0")))
    assert (error.field, str(error)) == ("steps", "steps: 0 is not above 0")


CONFIGURATIONS = (
    DataConfig, NetworkConfig, ModelConfig, TrainingConfig, GuideConfig, SamplingConfig, EvaluationConfig,
    ClassifierConfig,
)  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_docstring_explains_every_field_in_order(kind):
    """The format that docs/ reads: a line `field: Meaning.` for each, the lines that continue it indented."""
    _, _, fields = inspect.cleandoc(kind.__doc__).partition("\n\n")
    meanings = re.findall(r"^(\w+): (\S(?:.|\n(?= ))*\.)$", fields, re.MULTILINE)
    assert [name for name, _ in meanings] == [field.name for field in dataclasses.fields(kind)]
    assert "\n".join(f"{name}: {meaning}" for name, meaning in meanings) == fields


def test_an_unknown_preset_is_answered_with_those_there_are():
    # in a process of its own: here the type checker of the tests would refuse the word first
    code = "import edm.config; edm.config.ModelConfig('huge')"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "FieldError: preset: 'huge' is not one of nano, micro, mini, tiny, small, big" in answer.stderr


@pytest.mark.parametrize(("kind", "given"), ACCEPTED)
def test_values_at_the_edge_are_accepted(kind, given):
    config = kind(**given)
    assert all(getattr(config, name) == value for name, value in given.items())


@pytest.mark.parametrize("kind", [ModelConfig, TrainingConfig, SamplingConfig, EvaluationConfig])
def test_configurations_cannot_be_changed(kind):
    config = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(kind)[0].name, None)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("attention", [True, False])
def test_every_preset_makes_a_network(preset, attention):
    network = ModelConfig(preset, attention=attention).network(3, 128, 10)
    assert bool(sum(network.heads) + network.bridge_heads) == attention
    assert (network.channels, network.depths) == (PRESETS[preset].channels, PRESETS[preset].depths)


def test_fields_of_a_model_override_its_preset():
    config = ModelConfig("mini", channels=32, depths=(1, 2, 3), heads=(0, 1, 2), bridge_heads=8, cond_channels=16)
    assert config.network(3, 32, 10) == NetworkConfig(3, 32, 10, 32, (1, 2, 3), (0, 1, 2), 8, 16)


def test_a_model_without_attention_may_have_other_depths_than_its_preset():
    network = ModelConfig("mini", attention=False, depths=(2, 2, 2)).network(3, 32, 10)
    assert (network.depths, network.heads, network.bridge_heads) == ((2, 2, 2), (0, 0, 0), 0)


def test_channels_double_at_every_level_and_in_the_bridge():
    assert ModelConfig("tiny").network(3, 128, 0).level_channels == (64, 128, 256, 512)


@pytest.mark.parametrize(
    ("kimg", "batch_size", "num_steps"),
    [(10_000.0, 64, 156_250), (1.0, 64, 16), (0.064, 64, 1), (0.065, 64, 2), (0.001, 64, 1), (12.8, 100, 128)],
)
def test_num_steps_are_the_whole_batches_it_takes(kimg, batch_size, num_steps):
    assert TrainingConfig(kimg=kimg, batch_size=batch_size).num_steps == num_steps


@pytest.mark.parametrize(("kimg", "batch_size", "num_steps"), [(4.035, 5, 807), (2.007, 1, 2007), (16.21, 10, 1621)])
def test_num_steps_does_not_gain_a_step_by_rounding(kimg, batch_size, num_steps):
    assert TrainingConfig(kimg=kimg, batch_size=batch_size).num_steps == num_steps


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_sampling_forgets_what_its_sampler_ignores(sampler):
    given = SamplingConfig(sampler, steps=9, guidance=2.0, s_churn=1.0, s_min=0.1, s_max=2.0, s_noise=1.5, seed=4)
    assert given.without_unread() == SamplingConfig(sampler, steps=9, guidance=2.0, seed=4)
    assert given.without_unread().without_unread() == given.without_unread()


def test_sampling_of_the_stochastic_sampler_keeps_everything():
    given = SamplingConfig("stochastic_heun", s_churn=1.0, s_min=0.1, s_max=2.0, s_noise=1.5)
    assert given.without_unread() == given


GUIDING = {"guidance_interval": (0.1, 2.0), "guide": GuideConfig(channels=16)}
UNREAD = [  # fields given, and those of them that nothing reads
    ({"sampler": "stochastic_euler", "s_churn": 1.0, "s_noise": 1.5, "eta": 0.5}, {"eta"}),
    ({"sampler": "dpmpp_2m_sde", "s_churn": 1.0, "s_min": 0.1, "eta": 0.5}, {"s_churn", "s_min"}),
    ({"sampler": "unipc", "s_max": 1.0, "eta": 0.5, "rho": 5.0}, {"s_max", "eta"}),
    ({"schedule": "karras", "rho": 5.0}, set()),
    ({"schedule": "exponential", "rho": 5.0}, {"rho"}),
    ({"schedule": "vp", "rho": 5.0}, {"rho"}),
    ({"schedule": "iddpm", "rho": 5.0}, {"rho"}),
    ({"guidance": 1.0, **GUIDING}, {"guidance_interval", "guide"}),
    ({"guidance": 0.0, **GUIDING}, set()),
    ({"guidance": 2.0, **GUIDING}, set()),
    ({"resolution": 16, "precision": "bf16", "ema": 0.1, "seed": 3, "sigma_min": 0.01}, set()),
]


@pytest.mark.parametrize(("given", "unread"), UNREAD)
def test_fields_that_nothing_reads_can_be_set_to_their_defaults(given, unread):
    read = {name: value for name, value in given.items() if name not in unread}
    assert SamplingConfig(**given).without_unread() == SamplingConfig(**read)
    assert (SamplingConfig(**given) == SamplingConfig(**read)) == (not unread)


@pytest.mark.parametrize("alias", ["linear_log_snr", "ve"])
def test_schedules_that_are_the_same_become_one(alias):
    given, same = SamplingConfig(schedule=alias, steps=9), SamplingConfig(schedule="exponential", steps=9)
    assert given.sigmas == same.sigmas
    assert given.without_unread() == same


def test_guidance_interval_excludes_its_low_end_and_includes_its_high_end():
    config = SamplingConfig(guidance=2.0, guidance_interval=(0.5, 2.0))
    assert [config.guides(sigma) for sigma in (0.1, 0.5, 0.51, 2.0, 2.01)] == [False, False, True, True, False]
    assert SamplingConfig(guidance=2.0).guides(80.0)


@pytest.mark.parametrize(
    ("given", "main", "other"),
    [
        ({"sampler": "euler"}, 4, 0),
        ({"sampler": "heun"}, 7, 0),
        ({"sampler": "heun", "guidance": 0.0}, 0, 7),
        ({"sampler": "heun", "guidance": 2.0}, 7, 7),
        # levels 80, 9.7, 0.5 and 0.002
        ({"sampler": "heun", "guidance": 2.0, "guidance_interval": (0.01, 9.0)}, 7, 2),
        ({"sampler": "heun", "guidance": 0.0, "guidance_interval": (0.01, 9.0)}, 5, 2),
        ({"sampler": "dpm2", "guidance": 2.0, "guidance_interval": (0.0, 1.0)}, 7, 3),
        ({"sampler": "unipc", "guidance": 2.0, "guidance_interval": (0.0, 1.0)}, 4, 2),
        ({"sampler": "dpmpp_2m", "guidance": 2.0, "guide": GuideConfig(kimg=1.0)}, 4, 4),
    ],
)
def test_evaluations_are_counted_for_each_branch(given, main, other):
    config = SamplingConfig(steps=4, **given)
    assert config.evaluations == {"main": main, "other": other}
    assert config.nfe == main + other


@pytest.mark.parametrize(
    ("sampler", "steps", "guidance", "nfe"),
    [
        ("euler", 50, 1.0, 50),
        ("heun", 18, 1.0, 35),
        ("stochastic_heun", 256, 1.0, 511),
        ("heun", 1, 1.0, 1),
        ("heun", 18, 0.0, 35),
        ("heun", 18, 2.5, 70),
        ("euler", 50, 0.5, 100),
    ],
)
def test_nfe_counts_evaluations_per_image(sampler, steps, guidance, nfe):
    assert SamplingConfig(sampler, steps=steps, guidance=guidance).nfe == nfe


def test_heads_do_not_matter_without_attention_so_it_can_be_an_axis():
    plain = ModelConfig("mini", attention=False).network(3, 32, 10)
    assert ModelConfig("mini", attention=False, heads=(2, 2), bridge_heads=2).network(3, 32, 10) == plain
