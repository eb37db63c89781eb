"""The check that nothing gets slower: what it counts, and when a case is worse than it may be."""

import json
import sys

import pytest
import torch

from benchmarks import check
from benchmarks.check import BASELINE, Case, calls, in_turns
from benchmarks.tensor_work import TensorWork


def test_tensor_work_counts_operations_and_what_they_read_and_write() -> None:
    x = torch.zeros(10, 10)
    with TensorWork() as work:
        x + 1
    assert (work.operations, work.bytes) == (1, 800)
    with TensorWork() as work:
        x.T.reshape(100)  # a view, and a copy of it
    assert work.operations > 1 and work.bytes == 800


def test_a_count_may_rise_a_little_and_a_ratio_may_fall_to_half() -> None:
    assert not Case("calls", 104).is_worse(100)
    assert Case("calls", 106).is_worse(100)
    assert not Case("faster", 5.1, is_ratio=True).is_worse(10)
    assert Case("faster", 4.9, is_ratio=True).is_worse(10)


def test_a_ratio_is_of_processor_time() -> None:
    assert in_turns(lambda: sum(range(3_000_000)), lambda: sum(range(300_000))) > 3


def test_calls_of_a_command_are_counted_and_come_out_alike(tmp_path) -> None:
    first, second = (calls(["--help"], str(tmp_path)) for _ in range(2))
    assert first == pytest.approx(second, rel=0.001) and first > 10_000


@pytest.mark.parametrize(("value", "code"), [(100.0, None), (200.0, 1)])
def test_the_check_fails_where_a_case_is_worse(tmp_path, monkeypatch, value: float, code: int | None) -> None:
    (tmp_path / "baseline.json").write_text(json.dumps({"case": 100.0}))
    monkeypatch.setattr(check, "BASELINE", tmp_path / "baseline.json")
    for group in ("commands", "tensors", "distances"):
        monkeypatch.setattr(check, group, lambda: iter(()))
    monkeypatch.setattr(check, "commands", lambda: iter([Case("case", value)]))
    monkeypatch.setattr(sys, "argv", ["check.py"])
    if code is None:
        check.main()
    else:
        with pytest.raises(SystemExit, match="worse"):
            check.main()


def test_the_baseline_has_every_kind_of_case() -> None:
    names = json.loads(BASELINE.read_text())
    for part in ("--help: calls", "plan of 1,000 cells", "training step: tensor operations", "times as fast"):
        assert any(part in name for name in names)
