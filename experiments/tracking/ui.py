"""MLflow's own server on the record, whose processes end with us, however we end."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from experiments.environment import inherited
from experiments.errors import UserError
from experiments.loopback import require_loopback
from experiments.store.layout import MLFLOW_DATABASE
from experiments.store.store import Store
from experiments.tracking import shepherd
from experiments.tracking.artifacts import artifacts_folder, following_store, opened_to_read
from experiments.tracking.views import PREFIX, SCORES, view_link

LOG = "mlflow-server.log"
LEAVES_S = 2 * shepherd.GRACE_S  # for the server's processes to end
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def serve(store: Store, tracking_uri: str | None, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Raises UserError where there is no record, the port is taken, or the server ends by itself.
    say: is given each line for people.
    """
    with _served_uri(store, tracking_uri, say) as uri:
        _require_free_port(host, port)
        require_loopback("MLflow's server")
        _serve(uri, store, host, port, say)


def _serve(uri: str, store: Store, host: str, port: int, say: Callable[[str], None]) -> None:
    with _opened_log(store) as output:
        log = output.name
        server = _start(uri, artifacts_folder(store.root), host, port, output)
    say(f"Starting MLflow's UI; its log is {log}")
    try:
        if _answers(server, host, port):
            address = f"http://{host}:{port}/"
            for name, link in _scores(uri):
                say(f"Scores of {name}: {address}{link}")
            say(f"All sweeps: {address} (MLflow opens its pages for language models: choose 'Model training' there)")
            say("Open an address in a browser. Ctrl-C ends the server.")
        code = server.wait()
        raise UserError(f"MLflow's server ended by itself with exit code {code}; the reason is in {log}")
    except KeyboardInterrupt:
        return
    finally:
        _end(server)


@contextlib.contextmanager
def _served_uri(store: Store, tracking_uri: str | None, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the address of the database to serve; raises UserError where there is none."""
    if tracking_uri and tracking_uri.startswith("http"):
        raise UserError(f"--tracking-uri {tracking_uri}: is a server with a UI of its own; open it in a browser")
    database = store.root / MLFLOW_DATABASE
    if tracking_uri is None and not database.exists():
        raise UserError(
            f"{database}: nothing is recorded there yet; run a sweep first: edm-sweep run sweeps/digits.yaml"
        )
    if tracking_uri is not None:
        yield tracking_uri
        return
    with following_store(database) as served:
        if served != database:
            say(f"{database}: is of a store elsewhere and may only be read; a copy is served, as it is now")
        yield f"sqlite:///{served}"


def _scores(uri: str) -> list[tuple[str, str]]:
    """Return the sweeps of a database in a file, each with the link of the view of its scores."""
    scheme, _, path = uri.partition(":///")
    if scheme != "sqlite":
        return []
    query = (
        "SELECT e.name, e.experiment_id FROM experiments e JOIN experiment_tags t ON t.experiment_id = e.experiment_id "
        "WHERE t.key = ? AND e.lifecycle_stage = 'active' ORDER BY e.last_update_time DESC"
    )
    try:
        with contextlib.closing(opened_to_read(Path(path))) as database:
            found = database.execute(query, (f"{PREFIX}{SCORES}",)).fetchall()
    except sqlite3.Error:  # of a version of MLflow with other tables
        return []
    return [(name, view_link(str(experiment))) for name, experiment in found]


def _opened_log(store: Store) -> IO[str]:
    """Return a new file for what the server prints: in the store, elsewhere if that may only be read."""
    try:
        return (store.root / LOG).open("w")
    except OSError:
        return tempfile.NamedTemporaryFile("w", prefix="edm-sweep-", suffix=f"-{LOG}", delete=False)


def _start(uri: str, artifacts: Path, host: str, port: int, output: IO[str]) -> subprocess.Popen[bytes]:
    """Start the server under a shepherd: it starts a dozen processes, which have to end with it, and it with us."""
    command = [sys.executable, shepherd.__file__]
    command += [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--default-artifact-root"]
    command += [str(artifacts), "--host", host, "--port", str(port), "--workers", "1"]
    return subprocess.Popen(
        command,
        env=inherited(**ENVIRONMENT),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for us
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """Let the shepherd end the server and all that it started."""
    assert server.stdin is not None
    server.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(timeout=LEAVES_S)


def _answers(server: subprocess.Popen[bytes], host: str, port: int) -> bool:
    """Wait until the server takes connections; False where it ended instead."""
    while server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        time.sleep(0.2)
    return False


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: cannot be served on {host} ({error.strerror}); give another, such as --port {port + 1}"
            ) from None
