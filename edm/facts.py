"""What plans need to know of an extension, found by asking its code once, without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

from edm.config import SPLITS, DataConfig, EvaluationConfig, Extension, NetworkConfig, SamplingConfig
from edm.cost import attention_fact, norm_fact
from edm.extension import Options
from edm.registry import registration_of

T = TypeVar("T")
M = TypeVar("M")


def with_facts(config: T) -> T:
    """Return a configuration whose extensions carry their facts. Raises whatever an extension's code raises."""
    if isinstance(config, EvaluationConfig):
        metrics = tuple(_with_settings(metric, "title", "better", "terms") for metric in config.metrics)
        return replace(config, metrics=metrics, features=_with_settings(config.features, "dimension"))
    if isinstance(config, DataConfig):
        shape = ("channels", "resolution", "num_classes", *SPLITS)
        return replace(config, name=_with_settings(config.name, *shape))
    if not isinstance(config, SamplingConfig):
        return config
    if isinstance(config.schedule, Extension):
        levels: Options = (("levels", tuple(config.sigmas[:-1])),)
        config = replace(config, schedule=replace(config.schedule, facts=levels))
    if isinstance(config.sampler, Extension):
        facts = _sampler_facts(config.sampler, config.sigmas)
        config = replace(config, sampler=replace(config.sampler, facts=facts))
    return config


def _sampler_facts(sampler: Extension, sigmas: list[float]) -> Options:
    """adds_noise: whether it draws noise. evaluations: in each step. evaluated_at: the noise level of every call."""
    registration = registration_of(sampler)
    settings = registration.settings
    facts: Options = (("adds_noise", True),) if settings["adds_noise"] else ()
    if callable(settings["evaluations"]):
        levels = replace(registration, function=settings["evaluations"]).bound(sampler)(sigmas)
        if not isinstance(levels, Iterable):
            found = type(levels).__name__
            raise TypeError(f"evaluations= returns {found}, not a list of the noise level of each call of the network")
        return (*facts, ("evaluated_at", tuple(map(float, cast(Iterable[float], levels)))))
    return facts if settings["evaluations"] == 1 else (*facts, ("evaluations", settings["evaluations"]))


def _with_settings(value: M, *names: str) -> M:
    """Return an extension with some of the settings that it was registered with as its facts; any other value as is."""
    if not isinstance(value, Extension):
        return value
    settings = registration_of(value).settings
    return replace(value, facts=tuple((name, settings[name]) for name in names))


def norm_facts(norm: Extension, networks: Iterable[NetworkConfig]) -> Options:
    """Return how many parameters a norm has at every width of some networks. Raises whatever its code raises."""
    sizes = {(width, each.cond_channels) for each in networks for c in each.level_channels for width in (c, 2 * c)}
    build = registration_of(norm).bound(norm)
    return tuple((norm_fact(*size), _parameters(build, *size)) for size in sorted(sizes))


def attention_facts(attention: Extension, networks: Iterable[NetworkConfig]) -> Options:
    """Return how many parameters an attention block has at every level of some networks that has attention.

    Raises whatever its code raises.
    """
    levels = ((each, [*each.level_channels, each.level_channels[-1]]) for each in networks)
    sizes = {
        (width, heads, each.cond_channels)
        for each, widths in levels
        for width, heads in zip(widths, [*each.heads, each.bridge_heads], strict=False)
        if heads
    }
    build = registration_of(attention).bound(attention)
    return tuple((attention_fact(*size), _parameters(build, *size)) for size in sorted(sizes))


def _parameters(build: Callable[..., Any], *sizes: int) -> int:
    """Return the number of parameters of a module, which is built without values, in no time."""
    import torch

    with torch.device("meta"):
        built = build(*sizes)
    return sum(parameter.numel() for parameter in _module(built).parameters())


def _module(built: Any) -> Any:
    import torch

    if not isinstance(built, torch.nn.Module):
        raise TypeError(f"returns {type(built).__name__}, not a torch.nn.Module")
    return built


def network_facts(network: Extension, image_channels: int, resolution: int, num_classes: int) -> Options:
    """parameters: their number. flops: of a forward pass on one image of `resolution` pixels a side.

    Both are counted on a network without values, in no time. Raises whatever its code raises.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        built = _module(registration_of(network).bound(network)(image_channels, resolution, num_classes)).eval()
        x, c_noise = torch.zeros(1, image_channels, resolution, resolution), torch.zeros(1)
        label = torch.zeros(1, dtype=torch.int64) if num_classes else None
        with FlopCounterMode(display=False) as counter:
            built(x, c_noise, label, None)
    parameters = sum(parameter.numel() for parameter in built.parameters())
    return (("parameters", parameters), ("flops", counter.get_total_flops()), ("resolution", resolution))
