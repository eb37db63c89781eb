"""What the machine can do at most: matrix rates, bandwidth, and how long a kernel's launch takes."""

import torch

from benchmarks.gpu.measure import copy_rate, matrix_rate, timed
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting


def run(setting: Setting, report: Report) -> None:
    """Measure matrix products in every precision that networks compute in, a copy, and a launch."""
    device = setting.torch_device
    if setting.is_gpu:
        free, total = torch.cuda.mem_get_info()
        note = f"{torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB"
        report.measure("free memory at the start", free / 2**30, "GiB", note=note)
    for name, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        with report.attempt(f"matrix product in {name}"):
            report.measure(f"matrix product in {name}", matrix_rate(device, kind, setting.tiny) / 1e12, "TFLOP/s")
    with report.attempt("matrix product in TF32"):
        torch.set_float32_matmul_precision("high")
        rate = matrix_rate(device, torch.float32, setting.tiny)
        torch.set_float32_matmul_precision("highest")
        report.measure("matrix product in TF32", rate / 1e12, "TFLOP/s", note="fp32 where a device has no TF32")
    report.measure("copy within memory", copy_rate(device, setting.tiny) / 1e9, "GB/s", note="read and written")
    small = torch.zeros(64, device=device)
    launches = 100

    def launch() -> None:
        for _ in range(launches):
            small.add_(1)

    launched = timed(launch, device, budget_s=0.2)
    report.measure("a small kernel after the other", launched.median / launches * 1e6, "us", spread=launched.spread)
