"""Noise schedules of sampling: decreasing noise levels that end in 0.

EDM writes every earlier sampler as a choice of noise levels on the same ODE (Karras et al. 2022, Table 1 and appendix
C); these are those choices. They are computed in Python's floats, so that a plan needs no torch; these are float64, as
in EDM, since noise levels span 0.002 to 80.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from edm.extension import Extension
from edm.registry import Registration, Registry

ScheduleName = Literal["karras", "exponential", "linear_log_snr", "ve", "vp", "iddpm"]

# with x = y + sigma n, the log of the signal-to-noise ratio is -2 ln(sigma): all three are a geometric series
SAME_AS: dict[ScheduleName, ScheduleName] = {"linear_log_snr": "exponential", "ve": "exponential"}

ROUNDING = 1e-9  # relative, by which levels may leave the range that they are asked for
VP_EPSILON = 1e-3  # smallest time of the variance-preserving SDE (Song et al. 2021)
IDDPM_LEVELS, IDDPM_C1, IDDPM_C2 = 1000, 0.001, 0.008  # EDM, Table 1


def noise_levels(
    schedule: ScheduleName | Extension, steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> list[float]:
    """Return `steps` + 1 decreasing noise levels, from about sigma_max to about sigma_min and then 0.

    rho: bend of the karras schedule; unused by the others. Raises ValueError if the schedule has no such levels.
    """
    return list(_levels(schedule, steps, sigma_min, sigma_max, rho))


@lru_cache(maxsize=1024)  # a plan asks for the levels of every cell several times
def _levels(
    schedule: ScheduleName | Extension, steps: int, sigma_min: float, sigma_max: float, rho: float
) -> tuple[float, ...]:
    if steps == 1:
        return float(sigma_max), 0.0
    if isinstance(schedule, Extension):
        known = schedule.fact("levels", ())  # found before, so that nothing of an extension runs again
        levels = list(known) if len(known) == steps else SCHEDULES[schedule](steps, sigma_min, sigma_max, rho)
    else:
        levels = SCHEDULES[SAME_AS.get(schedule, schedule)](steps, sigma_min, sigma_max, rho)
    # clipped, so that rounding does not carry an end out of a range of churn or guidance given by the same number
    return *(min(max(level, sigma_min), sigma_max) for level in levels), 0.0


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    """Return levels whose sigma**(1 / rho) falls linearly (EDM, eq. 5)."""
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(top + i / (steps - 1) * (bottom - top)) ** rho for i in range(steps)]


def exponential(steps: int, sigma_min: float, sigma_max: float, _rho: float) -> list[float]:
    """Return levels whose ln(sigma), and with it the log of the signal-to-noise ratio, falls linearly."""
    return [sigma_max * (sigma_min / sigma_max) ** (i / (steps - 1)) for i in range(steps)]


def vp(steps: int, sigma_min: float, sigma_max: float, _rho: float) -> list[float]:
    """Return the levels of the variance-preserving SDE at times that fall linearly from 1 (EDM, Table 1, VP).

    beta_d and beta_min are such that sigma(1) = sigma_max and sigma(VP_EPSILON) = sigma_min. Raises ValueError where
    sigma does not rise all the way between these times.
    """
    high, low, end = math.log(sigma_max**2 + 1), math.log(sigma_min**2 + 1), VP_EPSILON
    beta_d = 2 * (low / end - high) / (end - 1)
    beta_min = high - beta_d / 2
    if beta_d + beta_min <= 0:
        raise ValueError(f"vp does not fall steadily from {sigma_max:g} to {sigma_min:g}; give a lower sigma_min")

    def sigma(t: float) -> float:
        return math.sqrt(math.expm1(beta_d * t**2 / 2 + beta_min * t))

    return [sigma(1 + i / (steps - 1) * (end - 1)) for i in range(steps)]


def iddpm(steps: int, sigma_min: float, sigma_max: float, _rho: float) -> list[float]:
    """Return evenly spaced ones of the 1,000 levels of improved DDPM's cosine schedule (EDM, Table 1, iDDPM).

    Only those from sigma_min to sigma_max count; the highest of them is 71.3 by default, where EDM begins at 80.2.
    Raises ValueError if there are fewer than `steps`.
    """
    inside = [sigma for sigma in iddpm_levels() if sigma_min <= sigma <= sigma_max]
    if steps > len(inside):
        raise ValueError(
            f"iddpm has {len(inside)} levels from {sigma_max:g} to {sigma_min:g}; give at most as many steps"
        )
    return [inside[round(i * (len(inside) - 1) / (steps - 1))] for i in range(steps)]


def iddpm_levels() -> list[float]:
    """Return the levels u_0 to u_1000 of improved DDPM, decreasing (EDM, Table 1, iDDPM)."""

    def alpha_bar(j: int) -> float:
        return math.sin(math.pi / 2 * j / (IDDPM_LEVELS * (IDDPM_C2 + 1))) ** 2

    levels = [0.0]
    for j in range(IDDPM_LEVELS, 0, -1):  # from the least noise to the most
        ratio = max(alpha_bar(j - 1) / alpha_bar(j), IDDPM_C1)
        levels.append(math.sqrt((levels[-1] ** 2 + 1) / ratio - 1))
    return levels[::-1]


Levels = Callable[[int, float, float, float], list[float]]  # (steps, sigma_min, sigma_max, rho) -> noise levels


def _of_extension(registration: Registration, schedule: Extension) -> Levels:
    function = registration.bound(schedule)

    def levels(steps: int, sigma_min: float, sigma_max: float, _rho: float) -> list[float]:
        try:
            found = [float(level) for level in function(steps, sigma_min, sigma_max)]
        except Exception as error:
            raise ValueError(f"{schedule}: its code failed ({_described(error, registration)}); correct it") from None
        falls = all(a > b > 0 for a, b in pairwise(found))
        if len(found) != steps or not falls:
            raise ValueError(f"{schedule} returns {found[:4]}...; return {steps} numbers above 0 that decrease")
        for level in found:
            if not sigma_min * (1 - ROUNDING) <= level <= sigma_max * (1 + ROUNDING):
                span = f"from sigma_max {sigma_max:g} to sigma_min {sigma_min:g}"
                raise ValueError(f"{schedule} returns {level:g}; return numbers {span}")
        return found

    return levels


def _described(error: Exception, registration: Registration) -> str:
    """Return what an extension's code raised, and in which file and line."""
    file, line = registration.function.__code__.co_filename, registration.function.__code__.co_firstlineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{[line, *lines][-1]}: {type(error).__name__}: {error}"


LEVELS: dict[str, Levels] = {
    "karras": karras,
    "exponential": exponential,
    "vp": vp,
    "iddpm": iddpm,
}
SCHEDULES = Registry(LEVELS, _of_extension)
