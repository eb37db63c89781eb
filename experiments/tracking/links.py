"""Addresses of MLflow's pages on a tracking server."""

from __future__ import annotations

from urllib.parse import urlsplit

WORKFLOW = "workflowType=machine_learning"  # else a page opened by a link has the menu for language models


def server_page(uri: str) -> str:
    """Return the address of a tracking server's pages, without a password and without a slash at its end."""
    address = urlsplit(uri)
    place = address.netloc.rpartition("@")[2]
    return address._replace(netloc=place, query="", fragment="").geturl().rstrip("/")


def run_link(uri: str, experiment: str, run: str) -> str:
    """Return the address of a run's page on a tracking server."""
    return f"{server_page(uri)}/#/experiments/{experiment}/runs/{run}?{WORKFLOW}"
