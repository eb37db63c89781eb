"""Statistics of features that merge, and the Frechet distance between them (Heusel et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class Statistics:
    """Count, mean and scatter (the sum of outer products about the mean) of features, in float64."""

    count: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Statistics:
        """Statistics of a batch of features."""
        features = features.double()
        mean = features.mean(dim=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of both sets together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        correction = torch.outer(shift, shift) * (self.count * other.count / count)
        return Statistics(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + correction)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance."""
        return self.scatter / (self.count - 1)

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a file."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Statistics:
        """What `tensors` wrote."""
        return cls(int(tensors["count"]), tensors["mean"], tensors["scatter"])


def factor(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """L with L L' = covariance, for any symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clip(min=0).sqrt()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """The squared Frechet distance between Gaussians with these means and covariances.

    tr((S_a S_b)^(1/2)) is the sum of the singular values of L_a' L_b: as exact for singular covariances as for others,
    where a matrix square root loses half the digits.
    """
    shift = a.mean - b.mean
    overlap = torch.linalg.svdvals(factor(a.covariance).T @ factor(b.covariance)).sum()
    distance = shift @ shift + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return max(float(distance), 0.0)
