"""Optimizers work without torch's compiler, and as they would with it."""

import subprocess
import sys

from tests import ROOT

STEPS = """
import sys
import torch
parameter = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.AdamW([parameter], lr=0.1)
optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
for _ in range(2):
    optimizer.zero_grad()
    parameter.square().sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
print(parameter.tolist(), "torch._dynamo" in sys.modules)
"""
SPARED = "from experiments.trials.spare_compiler import spare_compiler; spare_compiler()"


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_optimizer_steps_to_the_same_values_without_the_compiler() -> None:
    values, loaded = printed(STEPS).rsplit(" ", 1)
    assert loaded == "True\n", "torch no longer loads its compiler here: remove spare_compiler"
    assert printed(SPARED + STEPS) == f"{values} False\n"
