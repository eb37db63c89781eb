"""Passwords and tokens reach no file of a store, no bundle and no screen."""

import sys
import zipfile
from pathlib import Path

import pytest

from experiments.errors import UserError, one_line
from experiments.redaction import redact, redacted_command
from experiments.store.store import Store
from tests.commandline import invoke
from tests.inprocess import without_ray

SECRET = "hunter2secret"
SERVER = f"http://user:{SECRET}@127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SERVER, "http://***@127.0.0.1:1"),
        (f"postgresql://me:{SECRET}@db/mlflow does not answer", "postgresql://***@db/mlflow does not answer"),
        (f"https://host/x?token={SECRET}&page=2", "https://host/x?token=***&page=2"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"API_KEY={SECRET} curl", "API_KEY=*** curl"),
        (f"http://user:with@{SECRET}@host/x", "http://***@host/x"),
        (f"PASSWORD={SECRET}; ls", "PASSWORD=***; ls"),
        (f"export AWS_SECRET_ACCESS_KEY='{SECRET} x' y", "export AWS_SECRET_ACCESS_KEY='***' y"),
        (f"password: {SECRET}", "password: ***"),
        (f"db-password : '{SECRET} and more' user: me", "db-password : '***' user: me"),
        (f'{{"token": "{SECRET} x", "page": 2}}', '{"token": "***", "page": 2}'),
        (f'{{"secret": "a\\"{SECRET}", "page": 2}}', '{"secret": "***", "page": 2}'),
        (f"{{'api_key': '{SECRET}'}}", "{'api_key': '***'}"),
        (f'{{\\"password\\": \\"{SECRET}\\"}}', '{\\"password\\": \\"***"}'),
        (f"--password {SECRET} --page 2", "--password *** --page 2"),
        (f"--db-token={SECRET} x", "--db-token=*** x"),
        (f"curl -H 'X-Api-Key: {SECRET}' host", "curl -H 'X-Api-Key: ***' host"),
        (f"Authorization: Basic {SECRET} was refused", "Authorization: Basic *** was refused"),
        (f"authorization='Token {SECRET}'", "authorization='Token ***'"),
        (f"secret-key: {SECRET}, private_key={SECRET}", "secret-key: ***, private_key=***"),
        (f"passphrase:{SECRET}", "passphrase:***"),
        ("password: no-such", "password: ***"),
        (f"password: required-{SECRET}", "password: ***"),
        ("passwd: no such file", "passwd: no such file"),
        ("/etc/passwd: Permission denied", "/etc/passwd: Permission denied"),
        ("sh: token: command not found", "sh: token: command not found"),
        ("mlflow.token: is not set", "mlflow.token: is not set"),
        ("invalid token: unexpected end of input", "invalid token: unexpected end of input"),
        ("password: must be text", "password: must be text"),
        ("--token needs a value", "--token needs a value"),
        ("give --password or --token", "give --password or --token"),
        ("tokenizer: gpt2", "tokenizer: gpt2"),
        ("sqlite:///runs/mlflow.db", "sqlite:///runs/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1", "http://127.0.0.1:5000/#/experiments/1"),
        ("who@example.org trains a tokenizer", "who@example.org trains a tokenizer"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert str(UserError(text)) == shown and one_line(ValueError(text)) == shown


def test_a_quotation_mark_that_never_closes_is_read_quickly() -> None:
    assert redact('token: "' + "\\" * 5000) == 'token: "***'


def test_the_value_of_an_option_is_hidden_in_a_command() -> None:
    words = ["edm-sweep", "run", "--db-password", SECRET, "--tokenizer", "gpt2"]
    assert redacted_command(words) == "edm-sweep run --db-password '***' --tokenizer gpt2"


def test_a_long_error_is_cut_where_that_is_seen() -> None:
    assert one_line(ValueError("x" * 400)) == "x" * 300 + "..."


def test_a_persons_own_commands_are_hidden_whole() -> None:
    words = ["edm-sweep", "run", "a b", "--on-finish", f"mail {SECRET}", f"--on-failure=x {SECRET}", "--tag", "k=v"]
    assert redacted_command(words) == "edm-sweep run 'a b' --on-finish '***' '--on-failure=***' --tag k=v"


def test_a_planted_secret_is_nowhere_afterwards(
    tiny_file: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", str(tiny_file), "--store", str(store.root), "--tracking-uri", SERVER]
    heard = tmp_path / "heard.json"
    run += [
        "--on-finish",
        f'{sys.executable} -c \'import sys; open("{heard}", "w").write(sys.stdin.read()) #{SECRET}\'',
    ]
    monkeypatch.setattr(sys, "argv", ["edm-sweep", *run])
    with without_ray():
        done = invoke(*run)
    assert done.returncode == 0 and "MLflow is not up to date" in done.stdout
    bundle = tmp_path / "bundle.zip"
    assert invoke("export", tiny_file, bundle, "--store", store.root).returncode == 0
    shown = invoke("sync", tiny_file, "--store", store.root, "--tracking-uri", SERVER)
    assert shown.returncode == 2 and "http://***@127.0.0.1:1" in shown.stderr
    assert "http://***@" in next(store.root.glob("evaluations/*/result.json")).read_text()
    for output in (done, shown):
        assert SECRET not in output.stdout + output.stderr
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "unpacked")
    places = [path for path in tmp_path.rglob("*") if path.is_file()]  # the store is one of them
    assert store.root.is_relative_to(tmp_path) and heard in places
    assert not [path for path in places if SECRET.encode() in path.read_bytes() and path != bundle]
