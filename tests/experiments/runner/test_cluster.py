"""Ray clusters, for real: nodes that are killed, that lack this code or the store, and a driver outside."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from experiments.errors import UserError
from experiments.runner import cluster, ray_environment
from experiments.runner import nodes as nodes_module
from experiments.store.layout import StoreKind
from experiments.store.store import Store
from tests import ROOT
from tests.commandline import counting, invoke, run, start
from tests.conftest import TINY
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep
from tests.table import reproducible
from tests.waiting import free_port, until

# Ray leaves files open, which Python mentions when it collects them
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

NO_SUCH_GPUS = "97,98"  # Ray hands out logical ones by these names, and torch sees none
QUIET = {**ray_environment.SETTINGS, "CUDA_VISIBLE_DEVICES": NO_SUCH_GPUS, "RAY_ADDRESS": ""}
RAY = Path(sys.executable).parent / "ray"
SMALL = ("--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0", "--include-dashboard=false")
THREADS = ("--cpus-per-trial", "1")  # more would round differently than the undisturbed run, and wait for each other
MEDIUM = (  # tasks of some seconds, which a test can meet amid their work
    TINY.replace("kimg: 0.64", "kimg: 2")
    .replace("steps: 3", "steps: 10")
    .replace("images: 120", "images: 400")
    .replace("sampling_batch: 40", "sampling_batch: 40, checkpoint_s: 0.3")
)
BOTH = "model.attention: [false, true]"
SINGLE = "model.attention: [false]"  # one training, where a second one would show nothing else
slow = pytest.mark.slow
unshared = pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="needs leave to make a mount namespace: a node that sees other disks",
)


@pytest.fixture(scope="module")
def head() -> Iterator[Any]:
    """A cluster without anything to run on but what a test adds to it; it also answers Ray's client."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="edm-ray-")  # Ray's sockets want a short path
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (QUIET | {"RAY_TMPDIR": folder}).items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": free_port()},
        )
        try:
            yield cluster
        finally:
            cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def nodes(cluster: Any, *sizes: tuple[int, int]) -> Iterator[list[Any]]:
    """Nodes with so many cores and logical GPUs, for as long as the block lasts."""
    added = []
    try:
        for cpus, gpus in sizes:
            added.append(cluster.add_node(num_cpus=cpus, num_gpus=gpus))
        yield added
    finally:
        for node in added:
            if node in cluster.worker_nodes:
                cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def other_machine(cluster: Any, mount: str, log: Path, **variables: str) -> Iterator[None]:
    """A node to which something else is mounted than to the driver, for as long as the block lasts."""
    before = set(cluster.global_state._live_node_ids())  # by name: one that has been killed may be counted a while

    def joined() -> set[str]:
        return set(cluster.global_state._live_node_ids()) - before

    command = f'{mount} && exec "$@"'
    started = [str(RAY), "start", "--block", f"--address={cluster.address}", "--num-cpus=1", "--num-gpus=1", *SMALL[:3]]
    with log.open("w") as output:
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", command, "sh", *started],
            env={**os.environ, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: process.poll() is not None or joined(), seconds=90)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        family = [*psutil.Process(process.pid).children(recursive=True), process]
        for member in family:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                member.kill()
        process.wait()
        until(lambda: not joined(), seconds=60)


def sweep_file(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_digits.yaml"
    path.write_text(text)
    return path


def results(store: Path) -> str:
    return reproducible(store / "reports" / "tiny_digits" / "results.csv")


@pytest.fixture(scope="module")
def tables(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """results.csv of an undisturbed run of a sweep, in this process; each made once."""
    made: dict[str, bytes] = {}

    def table(text: str) -> bytes:
        if text not in made:
            folder = tmp_path_factory.mktemp("expected")
            file, store = sweep_file(folder, text), folder / "store"
            shutil.copytree(prepared, store)
            run_all(plan_sweep(load_sweep(file)), Store(store))
            done = invoke("report", file, "--store", store)
            assert done.returncode == 0, done.stdout + done.stderr
            made[text] = results(store)
        return made[text]

    return table


def completed(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a command's end, which must be this one; what it printed."""
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == code, output + errors
    assert "Traceback" not in errors, errors
    return output + errors


# nodes that are lost --------------------------------------------------------------------------------


def suspended_worker(store: Store, kind: StoreKind) -> tuple[psutil.Process, Path]:
    """A worker amid a task of a kind, suspended there so that it cannot end meanwhile, and the task's folder."""
    for folder in counting(store.root, kind):
        holder = store.holder(kind, folder.name)
        if holder is None:
            continue
        worker = psutil.Process(holder.pid)
        worker.suspend()
        if store.holder(kind, folder.name) == holder and not (folder / "result.json").exists():
            return worker, folder
        worker.resume()
    raise LookupError


def lose_node_amid(cluster: Any, store: Store, kind: StoreKind) -> Path:
    """Take a machine away, and all that runs on it, while it is at a task of a kind; the task's folder."""

    def caught() -> tuple[psutil.Process, Path] | None:
        with contextlib.suppress(LookupError, psutil.Error):
            return suspended_worker(store, kind)
        return None

    worker, folder = until(caught)
    raylets = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    node = raylets[worker.ppid()]
    others = psutil.Process(worker.ppid()).children(recursive=True)
    cluster.remove_node(node, allow_graceful=False)
    for process in others:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return folder


@slow
def test_a_sweep_outlives_two_of_three_nodes(
    head: Any, store: Store, tmp_path: Path, tables: Callable[[str], bytes]
) -> None:
    file = sweep_file(tmp_path, MEDIUM)
    with nodes(head, (1, 1), (1, 1), (1, 1)):
        command = start("run", file, "--store", store.root, "--address", head.address, *THREADS)
        training = lose_node_amid(head, store, "trainings")
        evaluation = lose_node_amid(head, store, "evaluations")
        output = completed(command)
    assert "the worker was lost" in output
    assert (training / "log.txt").read_text().count("from step") == 2
    assert (evaluation / "result.json").exists()
    assert results(store.root) == tables(MEDIUM)


@slow
def test_networks_are_trained_on_two_gpus_of_a_node(head: Any, store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, TINY.replace(BOTH, SINGLE))
    with nodes(head, (2, 2)):
        completed(start("run", file, "--store", store.root, "--address", head.address, "--gpus", "2", *THREADS))
    trained = [json.loads(path.read_text()) for path in store.root.glob("trainings/*/result.json")]
    assert [content["gpus"] for content in trained] == [2]
    assert all(" 1 of 2, " in path.read_text() for path in store.root.glob("trainings/*/log.txt"))
    assert len(list(store.root.glob("evaluations/*/result.json"))) == 2


# nodes that are not like this machine ---------------------------------------------------------------


def hidden(folder: Path, options: str = "rw") -> str:
    return f"mount -t tmpfs -o {options} tmpfs {folder}"


@slow
@unshared
def test_a_node_needs_neither_this_code_nor_the_drivers_disk(
    head: Any, store: Store, tmp_path: Path, tables: Callable[[str], bytes]
) -> None:
    text, scratch, home = TINY.replace(BOTH, SINGLE), tmp_path / "scratch", ROOT
    file = sweep_file(tmp_path, text)
    scratch.mkdir()
    mounts = [hidden(scratch, "ro"), *(hidden(home / package) for package in nodes_module.PACKAGES)]
    mounts.append(f"echo > {home / 'experiments' / '__init__.py'}")  # as of an older version
    with other_machine(head, " && ".join(mounts), tmp_path / "node.txt"):
        command = start("run", file, "--store", store.root, "--address", head.address, *THREADS, TMPDIR=str(scratch))
        completed(command)
    shipped = Path(head.head_node.get_session_dir_path(), "runtime_resources", "py_modules_files")
    assert len([path for path in shipped.iterdir() if path.is_dir()]) == len(cluster.PACKAGES)
    assert results(store.root) == tables(text)


@slow
@unshared
def test_a_node_that_does_not_see_the_store_is_named(head: Any, store: Store, tmp_path: Path) -> None:
    file = sweep_file(tmp_path, TINY)
    with other_machine(head, hidden(store.root), tmp_path / "node.txt"):
        done = run("run", file, "--store", store.root, "--address", head.address)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    sentence = done.stderr
    assert sentence.startswith(f"{store.root}: is not one folder for all nodes of {head.address}: node ")
    assert "does not see what was written there; give --store a path" in sentence
    assert not list(store.root.glob("trainings/*")) and not list(store.root.glob("nodes/*"))


@pytest.mark.parametrize(
    ("pythons", "told"),
    [
        (["/opt/my python/bin/python"] * 2, {"py_executable": "'/opt/my python/bin/python'"}),
        (["/opt/env/bin/python", "/usr/bin/python3"], None),
    ],
)
def test_workers_start_where_pythons_path_has_a_space(
    pythons: list[str], told: dict[str, str] | None, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hands the path to a shell as it is: such a worker would be waited for without an end."""
    connections: list[dict[str, str]] = []
    monkeypatch.setattr(nodes_module, "_on_all_nodes", lambda _: dict(zip("ab", pythons, strict=True)))
    monkeypatch.setattr(cluster, "nodes_with_other_code", list)
    monkeypatch.setattr(cluster, "require_shared_store", lambda *_: None)
    monkeypatch.setattr(cluster, "_disconnect", lambda: None)
    monkeypatch.setattr(cluster, "_connect", lambda _, environment: connections.append(environment))
    cluster._prepare_nodes(store, "auto")
    assert connections == ([] if told is None else [told])


def test_a_node_whose_python_would_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pythons = {"a": "/opt/env/bin/python", "b": "/opt/my env/bin/python"}
    monkeypatch.setattr(nodes_module, "_on_all_nodes", lambda _: pythons)
    with pytest.raises(UserError, match=r"a space.*: node b \(/opt/my env/bin/python\); give Python the same path"):
        nodes_module.quoted_python_of_nodes("auto")


def test_marks_of_all_nodes_are_written_and_read(tmp_path: Path) -> None:
    (tmp_path / "driver").write_text("token")
    assert nodes_module.mark_writer(str(tmp_path), "token")() == ""
    marks = [path.name for path in tmp_path.iterdir()]
    assert len(marks) == 2
    assert nodes_module.mark_reader(str(tmp_path), marks)() == ""
    assert nodes_module.mark_writer(str(tmp_path), "another")() == "sees another folder there"
    absent = nodes_module.mark_writer(str(tmp_path / "none"), "token", pause_s=0.0)
    assert absent() == "does not see what was written there"


def test_a_folder_that_a_node_sees_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arrive(_: float) -> None:
        (tmp_path / "late").mkdir(exist_ok=True)
        (tmp_path / "late" / "driver").write_text("token")

    monkeypatch.setattr("time.sleep", arrive)
    assert nodes_module.mark_writer(str(tmp_path / "late"), "token")() == ""
    assert len(list((tmp_path / "late").iterdir())) == 2


def test_a_mark_that_does_not_appear_is_told(tmp_path: Path) -> None:
    assert (
        nodes_module.mark_reader(str(tmp_path), ["elsewhere"], pause_s=0.0)()
        == "does not see what other nodes write there"
    )


def test_code_is_told_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = nodes_module.source_digest()()
    for package in nodes_module.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    digest = [sys.executable, "-c", "from experiments.runner import nodes; print(nodes.source_digest()())"]

    def there() -> str:
        done = subprocess.run(digest, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert there() == own
    (tmp_path / "reports" / "more.py").write_text("")
    (tmp_path / "reports" / "__init__.py").write_text("AN_OLDER_VERSION = True\n")
    assert there() != own


# a Ray of our own ------------------------------------------------------------------------------------

OWN = """
import gc, os, sys
from pathlib import Path
import pytest
from experiments.runner import cluster, ray_environment
import ray
from ray._private.worker import global_worker
from experiments.store.store import Store

class Core:
    \"\"\"Ray's core, beside which garbage is collected just when it has been taken down.\"\"\"
    def __init__(self, core):
        self.core = core
    def __getattr__(self, name):
        return getattr(self.core, name)
    def shutdown_driver(self):
        self.core.shutdown_driver()
        gc.collect()

store = Store(Path(sys.argv[1]))
with pytest.raises(KeyError), cluster.starting(store):
    raise KeyError
gc.disable()
with cluster.starting(store) as started:  # has to wait until the first, which nobody waited for, is gone
    started.wait()
    kept = ray_environment.KEPT_MEMORY
    assert ray.get(ray.remote(lambda: {name: os.environ[name] for name in kept}).remote()) == kept
    cycle = [ray.put(1)]
    cycle.append(cycle)
    del cycle
    global_worker.core_worker = Core(global_worker.core_worker)
print(ray.is_initialized(), gc.isenabled())
"""


def members(session: int) -> list[psutil.Process]:
    """The processes of a session, whoever their parents are by now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@slow
def test_ray_is_left_cleanly_whoever_collects_garbage_then(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OWN, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["False", "False"]


@slow
def test_what_fails_while_ray_starts_leaves_nothing_of_it(store: Store, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for label in ("a", "b"):
        (pictures / label).mkdir(parents=True)
        for number in range(60):
            (pictures / label / f"{number}.png").write_bytes(b"no picture")
    text = TINY.replace("name: tiny_digits", f"name: broken\ndata: {{name: folder, path: {pictures}, resolution: 8}}")
    command = start("run", sweep_file(tmp_path, text), "--store", store.root)
    errors = completed(command, code=2)
    assert "cannot be decoded" in errors
    until(lambda: not members(command.pid), seconds=30)


@pytest.mark.parametrize("failures", [cluster.START_TRIES - 1, cluster.START_TRIES])
def test_a_ray_that_starts_too_slowly_is_tried_again(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of it is ended before: also agents that have named themselves, which outlive a raylet."""
    left_behind: list[subprocess.Popen[bytes]] = []

    def init(_temp_dir: str, **_: Any) -> None:
        if len(left_behind) < 2 * failures:
            left_behind.append(subprocess.Popen([sys.executable, "-c", "input()", _temp_dir], stdin=subprocess.PIPE))
            left_behind.append(subprocess.Popen(["ray::DashboardAgent", "600"], executable=shutil.which("sleep")))
            raise Exception("The current node timed out during startup.\nMore of it.")

    monkeypatch.setattr(cluster.ray, "init", init)
    once = cluster.connected(Store(tmp_path))
    if failures < cluster.START_TRIES:
        with once:
            pass
    else:
        with (
            pytest.raises(UserError, match=r"^Ray did not start on this machine \(.*timed out.*edm-sweep doctor"),
            once,
        ):
            pass
    assert len(left_behind) == 2 * failures
    for process in left_behind:
        assert process.wait(timeout=30) == -signal.SIGKILL
        process.communicate()


def test_a_client_is_connected_again_where_its_server_died(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        calls.append(options)
        if len(calls) < cluster.CLIENT_TRIES:
            raise ConnectionAbortedError("Starting Ray client server failed")

    monkeypatch.setattr(cluster.ray, "init", init)
    cluster._init(pause_s=0.0, address="ray://somewhere")
    assert calls == [{"address": "ray://somewhere"}] * cluster.CLIENT_TRIES
    calls.clear()
    monkeypatch.setattr(cluster.ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionAbortedError("still")))
    with pytest.raises(ConnectionAbortedError, match="still"):
        cluster._init(tries=1, address="ray://somewhere")


def test_sigterm_is_left_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with cluster._own_signals():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) is before


# the address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "auto"])
def test_an_address_where_nothing_answers_is_refused_at_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # what auto finds; this machine may have a cluster
    with (
        pytest.raises(UserError, match=rf"^--address {re.escape(address)}: no Ray cluster answers there \(.*\); start"),
        cluster.connected(Store(tmp_path), address),
    ):
        pass


@slow
def test_the_command_says_so_in_one_sentence(store: Store, tmp_path: Path) -> None:
    done = invoke("run", sweep_file(tmp_path, TINY), "--store", store.root, "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "no Ray cluster answers there" in done.stderr


MODE = "import os; from experiments.runner import cluster; print(os.environ.get('RAY_AUTH_MODE'))"


@pytest.mark.parametrize(("variables", "mode"), [({}, "None"), ({"RAY_AUTH_TOKEN": "a" * 32}, "token")])
def test_a_token_is_shown_where_there_is_one(variables: dict[str, str], mode: str, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", MODE], env=own | {"HOME": str(tmp_path)} | variables, capture_output=True, text=True
    )
    assert done.stdout.strip() == mode, done.stderr


# Ray's client ---------------------------------------------------------------------------------------


@slow
def test_a_driver_outside_the_cluster_follows_and_may_be_interrupted(
    head: Any, store: Store, tmp_path: Path, tables: Callable[[str], bytes]
) -> None:
    text, address = MEDIUM.replace(BOTH, SINGLE), f"ray://127.0.0.1:{head.head_node._ray_params.ray_client_server_port}"
    arguments = ("run", sweep_file(tmp_path, text), "--store", store.root, "--address", address, *THREADS)
    with nodes(head, (2, 2)):
        command = start(*arguments)
        until(lambda: counting(store.root, "trainings"))
        command.send_signal(signal.SIGINT)
        stopped = completed(command, code=130)
        assert "Stopping: running tasks save their state" in stopped
        assert list(store.root.glob("trainings/*/checkpoints/*")) or list(store.root.glob("trainings/*/result.json"))
        assert not list(store.root.glob("sessions/*"))
        output = completed(start(*arguments))
    assert output.count("done evaluate ") == 2
    assert results(store.root) == tables(text)


@slow
def test_what_a_cluster_lacks_is_said_by_a_driver_outside(head: Any, store: Store, tmp_path: Path) -> None:
    address = f"ray://127.0.0.1:{head.head_node._ray_params.ray_client_server_port}"
    with nodes(head, (1, 0)):
        done = run("run", sweep_file(tmp_path, TINY), "--store", store.root, "--address", address, "--gpus", "2")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip() == "resources.gpus: 2 per trial, but no node has any; give --gpus 0 to use the CPU"
