"""Files of a record for others to have: without host names, absolute paths and the command that was typed."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from experiments.redaction import without_paths
from experiments.store.json_text import parse_json
from experiments.store.layout import ACCEPTED, CONFIG, FAILURE, RESULT
from experiments.store.result_files import without_origins


def anonymous_file(name: str, content: bytes) -> bytes:
    """Return a file of a task with nothing in it that says where it was made; pictures and numbers stay as they are."""
    file = PurePosixPath(name).name
    if file == CONFIG:
        return without_paths(content.decode()).encode()
    if file not in (RESULT, FAILURE, ACCEPTED):
        return content
    parsed = anonymous_json(parse_json(content))
    if file == ACCEPTED:
        parsed["accepted"] = [{**one, "by": ""} for one in parsed["accepted"]]
    if file == RESULT:
        parsed = without_origins(parsed)
    return (json.dumps(parsed, indent=1) + "\n").encode()


def anonymous_json(content: Any) -> Any:
    """Return JSON with every absolute path in it, keys included, cut to its last part."""
    if isinstance(content, dict):
        return {without_paths(key): anonymous_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [anonymous_json(value) for value in content]
    return without_paths(content) if isinstance(content, str) else content
