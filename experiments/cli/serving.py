"""Serves a report's page on this machine, as new as the results are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from experiments.errors import UserError
from experiments.loopback import LOOPBACK

REFRESH_S = 10  # between two looks at the results of a sweep that is not done
MakePage = Callable[[], str]


class LivePage:
    """A page that is made again when it is asked for, at most every few seconds."""

    def __init__(self, make: MakePage, refresh_s: float = REFRESH_S) -> None:
        self._make, self._refresh_s = make, refresh_s
        self._lock, self._content, self._made_at = threading.Lock(), b"", float("-inf")

    def content(self) -> bytes:
        """Return the page."""
        with self._lock:
            if time.monotonic() - self._made_at >= self._refresh_s / 2:
                self._content, self._made_at = self._make().encode(), time.monotonic()
            return self._content


def server_of(page: LivePage, port: int) -> ThreadingHTTPServer:
    """Return a server of one page; port 0 is any that is free. Raises UserError if the port is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/":
                self.send_error(404, "This server has one page: /")
                return
            content = page.content()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Write no line for every request."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)  # a report is nobody else's
    except OSError as error:
        raise UserError(f"--port {port}: cannot be served ({error.strerror or error}); choose another port") from None


def serve(page: LivePage, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve a page until Ctrl-C. on_ready: is called with the address."""
    with server_of(page, port) as server:
        on_ready(f"http://{LOOPBACK}:{server.server_address[1]}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # how a person ends it
            return
