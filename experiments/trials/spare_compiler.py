"""Keeps torch's optimizers from loading torch's compiler, which takes a second of every worker's start."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Adam, AdamW, Optimizer

MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
MARK = "__dynamo_disable"  # under which torch keeps a method in the form that its compiler passes over


def spare_compiler() -> None:
    """Let Adam do without the compiler, which it loads, on its first call, to have it pass over its methods.

    Only a training step that is compiled as a whole would notice, and no step is: networks alone are. A version of
    torch that has these methods in another form is left as it is.
    """
    for name in MARKED:
        method = getattr(getattr(Optimizer, name, None), "__wrapped__", None)
        if method is not None and not hasattr(method, MARK):
            setattr(method, MARK, method)
    for optimizer in (Adam, AdamW):
        step: Any = vars(optimizer).get("step")
        if getattr(step, "__name__", "") == "step" and hasattr(step, "__wrapped__") and not hasattr(step, "hooked"):
            optimizer.step = torch.no_grad()(step.__wrapped__)
