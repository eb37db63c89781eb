"""Values of options as people type them, and what is refused."""

from pathlib import Path

import pytest

from experiments.cli.parsing import parse_budget, parse_command, parse_keep, parse_store, parse_tags, parse_tracking_uri
from experiments.errors import UserError


@pytest.mark.parametrize(
    ("text", "seconds"), [("40h", 144000), ("90m", 5400), ("2d", 172800), ("1.5h", 5400), (" .5H ", 1800)]
)
def test_budgets_are_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    ("text", "message"), [("40", "give 40h"), ("0h", "above 0"), ("-3h", "40h, 90m or 2d"), ("soon", "--budget soon")]
)
def test_other_budgets_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_budget(text)


def test_tags_are_given_as_key_and_value() -> None:
    assert parse_tags(["paper=iclr", "note=a = b", "team/lead=x"]) == {
        "paper": "iclr",
        "note": "a = b",
        "team/lead": "x",
    }


@pytest.mark.parametrize("text", ["paper", "=x", "mlflow.runName=x", "edm.kind=x", "a:b=c", "-x=1"])
def test_what_mlflow_would_not_take_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(UserError, match="expected KEY=VALUE"):
        parse_tags([text])


def test_a_tag_is_given_once() -> None:
    with pytest.raises(UserError, match="paper is given twice"):
        parse_tags(["paper=a", "paper=b"])


@pytest.mark.parametrize("text", ["no-such-program --now", "", "'unclosed"])
def test_what_is_no_command_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(UserError, match="--on-failure"):
        parse_command("--on-failure", text)


def test_a_policy_that_is_none_is_refused() -> None:
    assert parse_keep("[1000, 5000]") == (1000, 5000)
    with pytest.raises(UserError, match="--keep newest: not a policy; give last, best, all, or a list of kimg"):
        parse_keep("newest")


@pytest.mark.parametrize(
    "uri", ["http://mlflow:5000", "https://me@host/x", "sqlite:////a/b.db", "mysql+pymysql://db/mlflow", "databricks"]
)
def test_servers_and_databases_of_mlflow_are_taken_as_they_are(uri: str) -> None:
    assert parse_tracking_uri(uri) == uri


@pytest.mark.parametrize("uri", ["mlflow:5000", "nonsense", "htp://mlflow:5000", "./mlruns", "file:///mlruns"])
def test_what_is_no_server_of_mlflow_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="is not the address of an MLflow server; give one such as http://mlflow:5000"):
        parse_tracking_uri(uri)


def test_a_store_is_a_folder_or_one_to_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [parse_store(path) for path in (tmp_path, tmp_path / "new")] == [tmp_path, tmp_path / "new"]
    with pytest.raises(UserError, match=r"file: is not a folder; give the folder that holds the results"):
        parse_store(tmp_path / "file")
