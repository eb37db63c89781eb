"""All configurations of data, model, training, sampling and evaluation: frozen dataclasses and their presets.

They are apart from the modules that they configure, and import nothing heavy, so that a configuration can be read and
checked in less time than it takes to import torch.
"""

from edm.config.architectures import SHAPES, Architecture, Precondition
from edm.config.canonical import (
    canonical_but_for_kimg,
    canonical_sampling,
    canonical_training,
    guiding_the_same_steps,
)
from edm.config.data import SPLITS, DataConfig, DatasetName, Split
from edm.config.evaluation import (
    AnyClassifierConfig,
    ClassifierConfig,
    EvaluationConfig,
    Features,
    FormerClassifierConfig,
    Metric,
    Resize,
)
from edm.config.fields import MAX_SEED, FieldError, added_field, display_field, require, require_positive, require_seed
from edm.config.model import (
    AUGMENT_LABELS,
    PRESETS,
    Attention,
    Initialisation,
    ModelConfig,
    NetworkConfig,
    Norm,
    Preset,
    PresetName,
    Pretrained,
    Resample,
)
from edm.config.sampling import (
    CHURNED_SAMPLERS,
    EXACT_IMAGES,
    EXACT_STEPS,
    MAX_GAMMA,
    TWO_EVALUATION_SAMPLERS,
    GuideConfig,
    Sampler,
    SamplingConfig,
)
from edm.config.training import (
    MAX_POWER_WIDTH,
    LrSchedule,
    NoiseDistribution,
    Precision,
    Pretraining,
    TrainingConfig,
    Weighting,
    require_power_width,
)
from edm.extension import Extension, Options, OptionValue, extensions_in

__all__ = [
    "AUGMENT_LABELS",
    "CHURNED_SAMPLERS",
    "EXACT_IMAGES",
    "EXACT_STEPS",
    "MAX_GAMMA",
    "MAX_POWER_WIDTH",
    "MAX_SEED",
    "PRESETS",
    "SHAPES",
    "SPLITS",
    "TWO_EVALUATION_SAMPLERS",
    "AnyClassifierConfig",
    "Architecture",
    "Attention",
    "ClassifierConfig",
    "DataConfig",
    "DatasetName",
    "EvaluationConfig",
    "Extension",
    "Features",
    "FieldError",
    "FormerClassifierConfig",
    "GuideConfig",
    "Initialisation",
    "LrSchedule",
    "Metric",
    "ModelConfig",
    "NetworkConfig",
    "NoiseDistribution",
    "Norm",
    "OptionValue",
    "Options",
    "Precision",
    "Precondition",
    "Preset",
    "PresetName",
    "Pretrained",
    "Pretraining",
    "Resample",
    "Resize",
    "Sampler",
    "SamplingConfig",
    "Split",
    "TrainingConfig",
    "Weighting",
    "added_field",
    "canonical_but_for_kimg",
    "canonical_sampling",
    "canonical_training",
    "display_field",
    "extensions_in",
    "guiding_the_same_steps",
    "require",
    "require_positive",
    "require_power_width",
    "require_seed",
]
