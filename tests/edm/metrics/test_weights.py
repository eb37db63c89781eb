"""Published weights: found, verified, fetched whole or not at all from a real server, and refused in one sentence."""

import hashlib
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest

from edm import download as module
from edm.metrics.weights import (
    SUFFIXES,
    MissingWeightsError,
    OtherWeightsError,
    Weights,
    WeightsError,
    find_weights,
    present_weights,
    require_weights,
)
from tests import ROOT

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "published-1.pth"
PART = f".{FILE}.part"


class Server(ThreadingHTTPServer):
    """Serves CONTENT, or what goes wrong with it; counts what it is asked for, and can hold answers back."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.ready: threading.Barrier | None = None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        self.server.asked.append(kind)
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "redirected":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
            return
        content = {"wrong": CONTENT[::-1], "page": b"<html>", "long": CONTENT + b"more"}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        if self.server.ready is not None:
            self.server.ready.wait(timeout=20)
        if kind == "stalled":
            time.sleep(20)
        if kind != "cut":
            self.wfile.write(content[half:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """No weights but a test's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "torch" / "hub" / "checkpoints"


def published(url: str) -> Weights:
    return Weights("features: inception", FILE, url, len(CONTENT), SHA256)


NOWHERE = published("http://127.0.0.1:9/")  # the port that discards: nobody listens


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# finding ------------------------------------------------------------------------------------------


def test_weights_are_looked_for_in_torchs_cache_by_default(cache):
    path = write(cache / FILE)
    assert find_weights(NOWHERE) == path


@pytest.mark.parametrize("name", [FILE, "renamed.pth", "renamed"])
def test_the_file_may_be_given_whatever_it_is_called(tmp_path, name):
    path = write(tmp_path / name)
    assert find_weights(NOWHERE, path) == path == present_weights(NOWHERE, path)


def test_a_folder_that_is_given_comes_before_the_cache(tmp_path, cache):
    given, cached = (write(folder / FILE) for folder in (tmp_path / "given", cache))
    assert find_weights(NOWHERE, given.parent) == given
    given.unlink()
    assert find_weights(NOWHERE, given.parent) == cached == present_weights(NOWHERE, given.parent)


@pytest.mark.parametrize("where", ["beside", "cache"])
def test_given_another_extractors_file_the_own_is_still_found(tmp_path, cache, where):
    other = write(tmp_path / "other.pth", b"another network")
    path = write((tmp_path if where == "beside" else cache) / FILE)
    assert find_weights(NOWHERE, other) == path


@pytest.mark.parametrize("content", [b"another network", None], ids=["another", "nothing"])
def test_given_another_file_alone_nothing_is_fetched(tmp_path, cache, server, content):
    place = tmp_path / f"other{SUFFIXES[0]}"
    if content is not None:
        write(place, content)
    with pytest.raises(OtherWeightsError) as refusal:
        find_weights(published(server.url("whole")), place)
    for part in (str(place), FILE, SHA256, "features: inception", str(cache), "give that file, or a folder for it"):
        assert part in str(refusal.value)
    assert (refusal.value.given, refusal.value.cache) == (place, cache)
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("content", "expected"), [(b"an error page" * 1000, "not the published file"), (CONTENT[:100], "cut short")]
)
def test_wrong_weights_are_named_with_both_checksums_and_left_alone(tmp_path, server, content, expected):
    path = write(tmp_path / FILE, content)
    with pytest.raises(WeightsError, match=expected) as refusal:
        find_weights(published(server.url("whole")), tmp_path)
    for part in (str(path), hashlib.sha256(content).hexdigest(), SHA256, f"{len(content):,} bytes", "delete it"):
        assert part in str(refusal.value)
    assert path.read_bytes() == content and server.asked == []


def test_a_renamed_file_of_the_right_size_with_other_content_is_refused(tmp_path):
    path = write(tmp_path / "mine.pth", CONTENT[::-1])
    with pytest.raises(WeightsError, match="not the published file") as refusal:
        find_weights(NOWHERE, path)
    assert str(path) in str(refusal.value)


# fetching -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["whole", "redirected"])
def test_absent_weights_are_fetched_once_into_the_first_place(tmp_path, server, kind):
    wanted, given = published(server.url(kind)), tmp_path / "new" / "folder"
    path = find_weights(wanted, given)
    assert path == tmp_path / "new" / "folder" / FILE and path.read_bytes() == CONTENT
    asked = len(server.asked)
    assert find_weights(wanted, given) == path and len(server.asked) == asked
    assert files(tmp_path) == [FILE]


def test_the_file_that_is_to_be_fetched_may_be_given(tmp_path, server):
    assert find_weights(published(server.url("whole")), tmp_path / "new" / FILE).read_bytes() == CONTENT
    assert (tmp_path / "new" / FILE).is_file()


def test_progress_tells_of_bytes_done_and_of_their_total(tmp_path, monkeypatch, server):
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    heard: list[tuple[int, int]] = []
    find_weights(published(server.url("whole")), tmp_path, lambda done, total: heard.append((done, total)))
    done = [one for one, _ in heard]
    assert done == sorted(set(done)) and done[-1] == len(CONTENT) and len(done) >= len(CONTENT) // 1000
    assert {total for _, total in heard} == {len(CONTENT)}
    heard.clear()
    find_weights(published(server.url("whole")), tmp_path, lambda done, total: heard.append((done, total)))
    assert heard == []


@pytest.mark.parametrize(
    ("kind", "reason", "kept"),
    [
        ("cut", f"the connection ended after {len(CONTENT) // 2:,} of {len(CONTENT):,} bytes", True),
        ("wrong", f"its sha256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}", False),
        ("page", f"the connection ended after 6 of {len(CONTENT):,} bytes", True),
        ("long", f"more than {len(CONTENT):,} bytes", False),
        ("missing", "404", False),
        ("stalled", "timed out", True),
    ],
)
def test_a_failed_fetch_says_why_and_what_to_do(tmp_path, server, kind, reason, kept):
    wanted = published(server.url(kind))
    with pytest.raises(MissingWeightsError) as refusal:
        find_weights(wanted, tmp_path / "new", timeout_s=0.3)
    message = str(refusal.value)
    for part in (reason, FILE, f"{len(CONTENT):,} bytes", SHA256, wanted.url, str(tmp_path / "new" / FILE)):
        assert part in message
    assert str(pickle.loads(pickle.dumps(refusal.value))) == message
    assert files(tmp_path) == ([PART] if kept else [])
    assert find_weights(published(server.url("whole")), tmp_path / "new").read_bytes() == CONTENT


def test_no_connection_is_answered_with_every_place_looked_in(tmp_path, cache):
    with pytest.raises(MissingWeightsError, match="refused") as refusal:
        find_weights(NOWHERE, tmp_path / "mine")
    assert refusal.value.places == (tmp_path / "mine" / FILE, cache / FILE)
    assert f"not in {tmp_path / 'mine'} nor in {cache}" in str(refusal.value)
    assert f"put it at {tmp_path / 'mine' / FILE}" in str(refusal.value)
    assert isinstance(refusal.value.__cause__, URLError)


def test_a_folder_that_cannot_be_written_to_is_answered(tmp_path, server):
    write(tmp_path / "file", b"in the way")
    with pytest.raises(WeightsError, match=r"could not be fetched \(.*(Not a directory|File exists)"):
        find_weights(published(server.url("whole")), tmp_path / "file" / "folder")
    assert files(tmp_path) == ["file"]


def test_an_interrupted_fetch_leaves_a_part_alone(tmp_path, server):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_weights(published(server.url("whole")), tmp_path, interrupt)
    assert files(tmp_path) == [PART]


def test_a_killed_fetch_leaves_nothing_that_is_taken_for_the_file(tmp_path, server):
    code = (
        "from pathlib import Path; from edm.metrics.weights import *; "
        f"find_weights(Weights('x', {FILE!r}, {server.url('stalled')!r}, {len(CONTENT)}, {SHA256!r}), "
        f"Path({str(tmp_path)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
        while not files(tmp_path):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert FILE not in files(tmp_path)
    assert find_weights(published(server.url("whole")), tmp_path).read_bytes() == CONTENT


def test_what_several_need_at_once_is_fetched_once(tmp_path, server):
    waited: set[int] = set()
    server.ready = threading.Barrier(3)  # the first is half way until both others wait

    def on_wait() -> None:
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            server.ready.wait(timeout=20)

    def find(_: int) -> Path:
        return find_weights(published(server.url("whole")), tmp_path, on_wait=on_wait)

    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(find, range(3)))
    assert set(paths) == {tmp_path / FILE} and server.asked == ["whole"]
    assert paths[0].read_bytes() == CONTENT and files(tmp_path) == [FILE]


def test_whether_weights_can_be_had_is_known_without_fetching_them(tmp_path, server):
    require_weights(published(server.url("whole")), tmp_path)
    assert files(tmp_path) == []
    with pytest.raises(MissingWeightsError, match="404"):
        require_weights(published(server.url("missing")), tmp_path)
    path = write(tmp_path / FILE)
    require_weights(NOWHERE, tmp_path)
    path.write_bytes(b"another network")
    with pytest.raises(WeightsError, match="cut short"):
        require_weights(NOWHERE, tmp_path)


def test_importing_fetches_nothing_and_needs_no_torch():
    code = "import sys, edm.metrics.weights; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"
