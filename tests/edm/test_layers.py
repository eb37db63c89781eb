"""edm knows nothing of what is built on it: no command, option, variable or key of a sweep file in its texts."""

import dataclasses
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from edm.config import DataConfig, EvaluationConfig, ModelConfig, SamplingConfig, TrainingConfig
from tests import ROOT

SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
    "evaluation": EvaluationConfig,
}
KEYS = [f"{name}.{field.name}" for name, kind in SECTIONS.items() for field in dataclasses.fields(kind)]
ABOVE = re.compile(
    rf"edm-sweep|EDM_SWEEP\w*|YAML|\bmlflow\b|\bray\b|\s--[a-z][\w-]*|\b(?:{'|'.join(map(re.escape, KEYS))})\b"
    r"|\b(?:resources|report|sweep)\.\w+"
)
ALLOWED = {("edm/__init__.py", "EDM_SWEEP_STORE")}  # edm.load("85cc") looks where the command line does
TEXTS = (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Strings, docstrings and comments of a file, by line."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in TEXTS:
            yield token.start[0], re.sub(r"\{[^{}]*\}", "", token.string)  # code inside f-strings is no text


def test_no_text_of_edm_names_what_is_above_it() -> None:
    for path in (ROOT / "edm").rglob("*.py"):
        place = str(path.relative_to(ROOT))
        for line, text in texts(path):
            for found in ABOVE.findall(text):
                assert (place, found) in ALLOWED, f"{place}:{line} names {found.strip()!r}, which edm does not know"


def test_names_of_the_layer_above_would_be_found() -> None:
    for text in ("use 'edm-sweep plan'", "with --from", "sampling.guide is set", "EDM_SWEEP_DATA", "sweep.name"):
        assert ABOVE.search(text), text
