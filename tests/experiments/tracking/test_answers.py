"""Why MLflow does not answer: what the system says of real connections that fail, and the proxy in between."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from experiments.tracking import mlflow_environment  # noqa: F401
from experiments.tracking.answers import why_unanswered
from tests.waiting import free_port


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def why(uri: str) -> str:
    with pytest.raises(MlflowException) as raised:
        MlflowClient(tracking_uri=uri).search_experiments()
    return why_unanswered(raised.value, uri)


def test_the_reason_is_what_the_system_says() -> None:
    assert why(f"http://127.0.0.1:{free_port()}") == "Connection refused"
    assert why(f"http://no-such-host.invalid:{free_port()}") in (
        "Name or service not known",
        "Temporary failure in name resolution",
    )


def test_a_server_that_says_nothing_timed_out(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    assert why(silent) == "timed out"


def test_a_proxy_in_between_is_named_with_the_way_round_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    sentence = "http_proxy sends requests to 127.0.0.1 through a proxy, which NO_PROXY=127.0.0.1 prevents"
    uri = f"http://127.0.0.1:{free_port()}"
    assert why(uri) == f"Connection refused; {sentence}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert why(uri) == "Connection refused"


def test_other_errors_keep_their_first_line(tmp_path: Path) -> None:
    assert why_unanswered(MlflowException("Run 7 not found\nand more"), None) == "Run 7 not found"
    with pytest.raises(FileNotFoundError) as raised:
        (tmp_path / "none").read_text()
    assert why_unanswered(raised.value, None).endswith("none'")
