"""doctor: what it finds on this machine, and each problem that a test can make."""

import importlib.util
import io
import json
import resource
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from experiments import hardware, loopback
from experiments.cli.doctor import examined
from experiments.cli.main import app
from experiments.inspection import doctor
from experiments.inspection.datasets import listed
from experiments.inspection.doctor import Check, Finding, checks
from experiments.store import leases
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.planning import load_sweep, plan_sweep
from tests.waiting import free_port


def found(store: Store, plan: Plan | None = None, uri: str | None = None) -> dict[str, Finding]:
    return {finding.what: finding for check in checks(store, plan, uri) for finding in check.run()}


def test_this_machine_has_no_problem(tiny_plan: Plan, tmp_path: Path) -> None:
    findings = found(Store(tmp_path / "store"), tiny_plan)
    assert [name for name, finding in findings.items() if finding.verdict == "wrong"] == []
    for name in ("Python", "torch", "GPUs", "Ray", "MLflow", "store", "store's renames", "store's leases", "disk"):
        assert name in findings
    assert "needs about" in findings["disk"].text and not (tmp_path / "store").exists()
    assert findings["data set digits"].verdict == "ok"
    assert not any(name.startswith("weights") for name in findings)  # the sweep needs none


def test_without_a_sweep_all_data_sets_and_weights_are_checked(tmp_path: Path) -> None:
    findings = found(Store(tmp_path))
    assert {"data set cifar10", "data set celeba", "weights of inception", "weights of dinov2"} <= findings.keys()
    assert "cifar-10-python.tar.gz (170 MB)" in findings["data set cifar10"].text


def test_with_a_sweep_what_it_needs_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {name: cifar10}\nevaluation: {features: inception}\n")
    findings = found(Store(tmp_path / "store"), plan_sweep(load_sweep(path)))
    assert "edm-sweep data prepare cifar10 --from DIR" in findings["data set cifar10"].remedy
    assert findings["weights of inception"].remedy or findings["weights of inception"].verdict == "ok"


def test_missing_files_are_those_that_data_list_names(tmp_path: Path) -> None:
    findings = found(Store(tmp_path))
    for row in listed(Store(tmp_path)):
        text = findings[f"data set {row['name']}"].text
        names = ", ".join(Path(file["path"]).name for file in row["files"])
        assert not names or text.startswith(f"missing in {Path(row['files'][0]['path']).parent}: {names} (")


def test_a_folder_of_images_is_named(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(20):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(pictures / f"{i}.png")
    path = tmp_path / "f.yaml"
    path.write_text(f"data: {{name: folder, path: {pictures}, resolution: 8}}\nmodel: {{preset: nano}}\n")
    finding = found(Store(tmp_path / "store"), plan_sweep(load_sweep(path)))["data set folder"]
    assert finding.text == f"its images are in {pictures}; a run prepares it"


def test_a_store_that_is_not_writable_is_a_problem() -> None:
    finding = found(Store(Path("/proc/store")))["store"]
    assert finding.verdict == "wrong" and "choose another folder with --store" in finding.remedy


def test_a_file_system_whose_leases_do_not_hold_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "acquire", lambda folder: leases.Lease(folder, 1))
    assert found(Store(tmp_path))["store's leases"].verdict == "wrong"


def test_too_small_a_disk_is_a_problem(tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "free_bytes", lambda _self: 1000)
    finding = found(Store(tmp_path), tiny_plan)["disk"]
    assert finding.verdict == "wrong" and "edm-sweep gc" in finding.remedy
    assert found(Store(tmp_path))["disk"].verdict == "wrong"


def test_rays_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", f"/tmp/{'long' * 10}")
    finding = found(Store(tmp_path))["Ray's folder"]
    assert finding.verdict == "note" and "GiB free" in finding.text
    assert "TMPDIR has more than 22 characters" in finding.remedy
    monkeypatch.setattr(doctor, "MIN_FREE_GIB", 1e9)
    assert found(Store(tmp_path))["Ray's folder"].verdict == "wrong"
    monkeypatch.setattr(doctor, "places", lambda: iter(()))
    finding = found(Store(tmp_path))["Ray's folder"]
    assert finding.verdict == "wrong" and "set RAY_TMPDIR" in finding.remedy


def test_too_few_open_files_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(Store(tmp_path))["open files"].verdict == "ok"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    finding = found(Store(tmp_path))["open files"]
    assert finding.verdict == "wrong" and finding.text == "256 per process, which may be raised to 4,096"
    assert "ulimit -n 1024" in finding.remedy


def test_a_gpu_that_is_asked_for_and_not_there_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.yaml"
    path.write_text("data: {name: digits}\nmodel: {preset: nano}\nresources: {gpus: 1}\n")
    plan = plan_sweep(load_sweep(path))
    assert found(Store(tmp_path), plan)["GPUs"].verdict == "wrong"
    monkeypatch.setattr(doctor.hardware, "gpu_names", lambda: ("NVIDIA H100", "NVIDIA H100"))
    findings = found(Store(tmp_path), plan)
    assert findings["GPUs"].text.startswith("2 x NVIDIA H100")
    assert findings["CUDA"].verdict == "wrong" and "torch sees none of the GPUs" in findings["CUDA"].text


@pytest.mark.parametrize(
    ("silent", "gpus", "sentence"),
    [
        (True, (), "nvidia-smi lists none"),
        (False, (hardware.Gpu("NVIDIA H100", "GPU-1"),) * 2, "CUDA_VISIBLE_DEVICES= hides 2 GPUs"),
        (False, (), "no GPU was found"),
    ],
)
def test_why_there_is_no_gpu(
    silent: bool, gpus: tuple[hardware.Gpu, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hardware.VISIBLE, "")
    monkeypatch.setattr(hardware, "gpu_names", lambda: ())
    monkeypatch.setattr(hardware, "all_gpus", lambda: gpus)
    monkeypatch.setattr(hardware, "is_driver_silent", lambda: silent)
    finding = found(Store(tmp_path))["GPUs"]
    assert finding.text == f"{sentence}, so trials run on the CPU"
    assert finding.verdict == "note" and bool(finding.remedy) == silent  # nobody asked for a GPU


def test_little_shared_memory_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(2**26, 0, 2**26))
    assert "--shm-size" in found(Store(tmp_path))["shared memory"].remedy


@pytest.mark.parametrize(("version", "verdict"), [("3.99.0", "ok"), ("2.1.0", "wrong")])
def test_a_tracking_server_tells_its_version(tmp_path: Path, version: str, verdict: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(version.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        finding = found(Store(tmp_path), uri=f"http://127.0.0.1:{server.server_port}")["MLflow tracking"]
        thread.join()
    assert finding.verdict == verdict and version in finding.text


def test_a_tracking_server_that_does_not_answer_is_a_problem(tmp_path: Path) -> None:
    finding = found(Store(tmp_path), uri=f"http://127.0.0.1:{free_port()}")["MLflow tracking"]
    assert finding.verdict == "wrong" and "does not answer" in finding.text and "'sync' catches up" in finding.remedy


def test_the_command_ends_with_1_if_there_is_a_problem(tmp_path: Path) -> None:
    good = CliRunner().invoke(app, ["doctor", "--store", str(tmp_path), "--json"])
    assert good.exit_code == 0 and all({"what", "verdict", "text", "remedy"} == set(f) for f in json.loads(good.stdout))
    bad = CliRunner().invoke(app, ["doctor", "--store", "/proc/store"])
    assert bad.exit_code == 1 and "problem  store: /proc/store is not writable" in bad.output
    assert "what to do: choose another folder with --store" in bad.output and " problems found." in bad.output


@pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
def test_a_terminal_shows_which_check_is_under_way(terminal: bool, shown: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, _environ={"TERM": "xterm"})
    findings = examined(iter([Check("GPUs", lambda: [Finding("GPUs", "ok", "none")])]), console)
    assert [finding.what for finding in findings] == ["GPUs"]
    assert ("checking GPUs" in output.getvalue()) == shown


def test_a_machine_that_cannot_connect_to_itself_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(Store(tmp_path))["loopback"].verdict == "ok"
    monkeypatch.setattr(loopback, "LOOPBACK", "192.0.2.1")  # reserved for examples: no machine has it
    finding = found(Store(tmp_path))["loopback"]
    assert finding.verdict == "wrong" and "cannot connect to itself" in finding.text and "lo up" in finding.remedy


@pytest.mark.parametrize(
    ("writes", "compiled", "found"), [(False, False, ["note"]), (False, True, []), (True, False, [])]
)
def test_libraries_that_every_process_compiles_are_noted(
    writes: bool, compiled: bool, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "__cache__" / "torch.pyc"
    if compiled:
        cached.parent.mkdir()
        cached.touch()
    monkeypatch.setattr(importlib.util, "cache_from_source", lambda _: str(cached))
    monkeypatch.setattr(sys, "dont_write_bytecode", not writes)
    (python,) = (check for check in checks(Store(tmp_path), None, None) if check.title == "Python")
    notes = [finding for finding in python.run() if finding.what == "bytecode"]
    assert [note.verdict for note in notes] == found
    assert all("unset PYTHONDONTWRITEBYTECODE" in note.remedy for note in notes)
