"""Downloads go on where they stopped, from a server that can send parts of files, and end with the published file."""

import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edm import download as module
from edm.download import CutShort, Published, WrongContent, download, partial_path
from tests import ROOT

CONTENT = bytes(range(256)) * 64


class Server(ThreadingHTTPServer):
    """Serves CONTENT from any byte on; `most`: how many bytes of it an answer has before the connection ends."""

    daemon_threads, block_on_close = True, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.most, self.sends_parts, self.pause_s = CONTENT, len(CONTENT), True, 0.0
        self.starts: list[int] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked is not None and self.server.sends_parts else 0
        self.server.starts.append(start)
        content, whole = self.server.content, len(self.server.content)
        if start >= whole:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.most])
        self.wfile.flush()
        time.sleep(self.server.pause_s)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def published(server: Server, algorithm="sha256") -> Published:
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    return Published(f"http://127.0.0.1:{server.server_port}/file", len(CONTENT), digest, algorithm)


def test_a_connection_that_keeps_breaking_is_opened_again_where_it_broke(tmp_path: Path, server: Server) -> None:
    server.most = 6000
    heard: list[int] = []
    download(published(server, "md5"), tmp_path / "file", lambda done, _: heard.append(done))
    assert server.starts == [0, 6000, 12000]
    assert (tmp_path / "file").read_bytes() == CONTENT and heard == sorted(heard) and heard[-1] == len(CONTENT)


def test_without_parts_a_connection_that_breaks_is_tried_once_more(tmp_path: Path, server: Server) -> None:
    server.most, server.sends_parts = 6000, False
    with pytest.raises(CutShort, match="ended after 6,000 of 16,384 bytes"):
        download(published(server), tmp_path / "file")
    assert server.starts == [0, 0] and not (tmp_path / "file").exists()


def test_an_interrupted_download_goes_on_in_the_next_call(tmp_path: Path, server: Server) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done >= 5000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(published(server), tmp_path / "file", interrupt)
    assert partial_path(tmp_path / "file").stat().st_size == 5000
    download(published(server), tmp_path / "file")
    assert server.starts == [0, 5000] and (tmp_path / "file").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("left", [b"of another file" * 100, CONTENT + b"more", CONTENT[:-1] + b"x"])
def test_what_was_left_of_another_file_is_fetched_anew(tmp_path: Path, server: Server, left: bytes) -> None:
    partial_path(tmp_path / "file").write_bytes(left)
    download(published(server), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT and server.starts[-1] == 0


def test_a_whole_part_is_verified_and_not_fetched_again(tmp_path: Path, server: Server) -> None:
    partial_path(tmp_path / "file").write_bytes(CONTENT)
    download(published(server), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT and server.starts == []


def test_a_wrong_file_is_refused_once_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WrongContent, match=hashlib.sha256(server.content).hexdigest()):
        download(published(server), tmp_path / "file")
    assert server.starts == [0] and not list(tmp_path.iterdir())


def test_a_killed_download_goes_on_in_another_process(tmp_path: Path, server: Server) -> None:
    server.most, server.pause_s, file = 4000, 20.0, published(server)
    code = f"from edm.download import *; from pathlib import Path; download({file!r}, Path({str(tmp_path / 'file')!r}))"
    part = partial_path(tmp_path / "file")
    with subprocess.Popen(
        [sys.executable, "-c", f"import edm.download as d; d.BLOCK_BYTES = 1000\n{code}"], cwd=ROOT
    ) as it:
        while not part.exists() or part.stat().st_size < 3000:
            assert it.poll() is None
            time.sleep(0.01)
        it.kill()
    kept = part.stat().st_size
    server.most, server.pause_s = len(CONTENT), 0.0
    download(file, tmp_path / "file")
    assert server.starts == [0, kept] and (tmp_path / "file").read_bytes() == CONTENT


def test_a_link_in_the_place_of_the_part_is_not_followed(tmp_path: Path, server: Server) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    partial_path(tmp_path / "file").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        download(published(server), tmp_path / "file")
    assert victim.read_bytes() == b"mine"
