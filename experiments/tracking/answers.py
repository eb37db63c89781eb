"""Why an MLflow server does not answer, in a few words."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

from experiments.errors import one_line
from experiments.wording import on_one_line, printable


def why_unanswered(error: Exception, uri: str | None) -> str:
    """Return why something that was asked of MLflow at `uri` failed, and which proxy is in between.

    Libraries wrap an error of the network several times, into more than fits in a line: what the system said is enough.
    """
    return "; ".join(filter(None, (_of_the_network(error) or one_line(error), _proxy_between(uri))))


def _of_the_network(error: Exception) -> str | None:
    """Return what the system said, such as "Connection refused"; None where the cause is another."""
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if not isinstance(cause, OSError) or cause.filename is not None:  # of a file
        return None
    return printable(on_one_line(cause.strerror or str(cause) or type(cause).__name__))


def _proxy_between(uri: str | None) -> str:
    """Return which proxy the environment puts before a server, and how to prevent it; "" for none."""
    address = urlsplit(uri or "")
    host = address.hostname
    if host is None or address.scheme not in urllib.request.getproxies() or urllib.request.proxy_bypass(host):
        return ""
    return f"{address.scheme}_proxy sends requests to {host} through a proxy, which NO_PROXY={host} prevents"
