"""The files of the demo's open pages, without a browser."""

from pathlib import Path

import gradio as gr
import pytest
import torch

from experiments.demo.page import Handlers
from experiments.demo.studio import Studio
from experiments.store.store import Store


@pytest.mark.parametrize("key", ["{}/kept", "../kept", "..", ".", ""])
def test_the_name_that_a_page_gives_itself_is_no_path(key: str, tmp_path: Path) -> None:
    folder, kept = tmp_path / "pages", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    handlers = Handlers(Studio([], Store(tmp_path / "store"), torch.device("cpu")), folder)
    handlers.leave(gr.Request(session_hash=key.format(tmp_path)))
    assert folder.is_dir() and kept.is_dir()
