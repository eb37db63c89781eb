"""docs/datasets.md: the example that unpacks Hugging Face's parquet files does so."""

import json
import re
from pathlib import Path

import pyarrow
import pytest
from pyarrow.parquet import write_table

from edm.config import DataConfig
from edm.data.catalogue import facts
from edm.data.errors import DataError
from edm.data.folder import open_folder
from tests import ROOT
from tests.datafiles import encoded, picture

(EXAMPLE,) = re.findall(r"^```python\n(.+?)^```", (ROOT / "docs" / "datasets.md").read_text(), re.MULTILINE | re.DOTALL)
NAMES = ["finch", "owl"]


def write_shard(path: Path, number: int) -> None:
    """A file as the package datasets writes it: images as bytes and paths, and class numbers with their names."""
    features = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}
    rows = [{"bytes": encoded(picture(i, (12, 12)), "JPEG"), "path": f"{i}.jpg"} for i in range(number)]
    table = pyarrow.table({"image": rows, "label": [i % 2 for i in range(number)]})
    path.parent.mkdir(exist_ok=True)
    write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


def test_parquet_files_are_unpacked_into_classes_and_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split, shards in {"train": 2, "validation": 1, "test": 1}.items():
        for shard in range(shards):
            write_shard(tmp_path / "birds" / f"{split}-{shard:05d}-of-{shards:05d}.parquet", 4)
    with pytest.raises(DataError, match=r"but 4 \.parquet .* unpack the parquet files as docs/datasets.md shows"):
        open_folder("birds")
    exec(EXAMPLE, {})
    known = facts(DataConfig("folder", path="images", resolution=8))
    assert open_folder("images").classes == ("finch", "owl")
    assert known.splits == {"train": 8, "val": 4, "test": 4} and not known.remarks
