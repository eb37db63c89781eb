"""How the learning rate changes over a training."""

from __future__ import annotations

import math


def inverse_sqrt(kimg: float, decay_kimg: float) -> float:
    """Return a factor that is 1 until `decay_kimg`, and falls with the square root of time after (EDM2, eq. 67)."""
    return 1 / math.sqrt(max(kimg / decay_kimg, 1.0))
