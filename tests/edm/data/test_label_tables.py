"""Labels in a table beside the images: labels.csv, labels.tsv, metadata.csv and metadata.jsonl."""

import json
import re
from pathlib import Path

import pytest

from edm.data.catalogue import facts
from edm.data.errors import DataError
from edm.data.folder import open_folder
from edm.data.parquet_columns import Choice
from tests.datafiles import image_tree
from tests.edm.data.opened import load
from tests.edm.data.test_folder import config, signature, touched
from tests.edm.data.test_labels import packed

NAMES = [f"{i:02d}.png" for i in range(20)]
KINDS = ["owl" if i % 3 else "cat" for i in range(20)]
LABEL = Choice(label="label")


def csv_of(pairs: list[tuple[str, str]], head: str = "file_name,label", mark: str = ",") -> str:
    return "\n".join([head, *(mark.join(pair) for pair in pairs), ""])


def pairs(names: list[str] = NAMES, labels: list[str] = KINDS) -> list[tuple[str, str]]:
    return list(zip(names, labels, strict=True))


def flat(root: Path, text: str, file: str = "labels.csv", names: list[str] = NAMES) -> Path:
    """A folder of empty images with a table beside them."""
    touched(root, *names, file)
    (root / file).write_text(text)
    return root


def refused(root: Path, choice: Choice = LABEL) -> str:
    with pytest.raises(DataError) as error:
        open_folder(str(root), choice=choice)
    return str(error.value)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("labels.csv", csv_of(pairs()[::-1])),
        ("labels.csv", "\ufeff" + csv_of(pairs(), 'file_name , "label"').replace("\n", "\r\n") + ",\r\n"),
        ("metadata.csv", csv_of(pairs(labels=[f" {kind}" for kind in KINDS]), "file_name, label")),
        (
            "metadata.csv",
            csv_of([(f"{i}", f"./{name},{kind}") for i, (name, kind) in enumerate(pairs())], "n,file_name,label"),
        ),
        ("labels.csv", csv_of([(name, f"1,{kind}") for name, kind in pairs()], "picture,year,label")),
        ("labels.tsv", csv_of(pairs(), "file\tlabel", "\t")),
        ("labels.tsv", csv_of(pairs())),
        ("labels.csv", "\n" + csv_of(pairs(), "file_name;label", ";")),
        ("labels.csv", csv_of(pairs(), "file_name\tlabel", "\t")),
        ("labels.csv", csv_of([(f"{name} ", f"{kind} ") for name, kind in pairs()])),
        ("metadata.jsonl", "\n\n".join(json.dumps({"label": k, "more": [1], "file_name": n}) for n, k in pairs())),
    ],
)
def test_a_named_column_gives_classes_and_their_names(file: str, text: str, tmp_path: Path) -> None:
    folder = open_folder(str(flat(tmp_path, text, file)), choice=LABEL)
    assert folder.classes == ("cat", "owl") and [folder.classes[i] for i in folder.labels] == KINDS
    assert not folder.left_out and not folder.remarks


def test_labels_are_those_of_pictures_and_enter_the_signature(tmp_path: Path) -> None:
    without = signature(image_tree(tmp_path / "without", *NAMES))
    root = image_tree(tmp_path / "with", *NAMES)
    (root / "labels.csv").write_text(csv_of(pairs()))
    (root / "labels.tsv").write_text(csv_of(pairs(labels=["x", *KINDS[1:]]), "name\tkind", "\t"))
    pictures = load("folder", tmp_path, path=str(root), resolution=8, label_column="label")
    assert pictures.labels.tolist() == [kind == "owl" for kind in KINDS]
    pictures.close()
    signatures = [signature(root, label_column=column) for column in (None, "none", "label", "kind")]
    assert signatures[:2] == [without] * 2 and len(set(signatures)) == 3


def test_without_a_column_the_remark_says_how_to_get_labels(tmp_path: Path) -> None:
    flat(tmp_path, "not read", names=[f"{part}/{name}" for part in ("a", "b") for name in NAMES[:10]])
    (remark,) = facts(config(tmp_path)).remarks
    assert remark.startswith(f"{tmp_path}: labels.csv is not read; if it has the labels, name their column, as in ")
    assert "data: {label_column: label}" in remark and facts(config(tmp_path)).num_classes == 2
    alone = facts(config(tmp_path, label_column="none"))
    assert not alone.remarks and alone.num_classes == 0


def test_whole_numbers_are_those_of_the_classes(tmp_path: Path) -> None:
    numbers = [str(i % 11) for i in range(20)]
    folder = open_folder(str(flat(tmp_path, csv_of(pairs(labels=numbers)))), choice=LABEL)
    assert list(map(str, folder.labels)) == numbers and folder.classes == tuple(map(str, range(11)))
    texts = open_folder(
        str(flat(tmp_path / "07", csv_of(pairs(labels=[f"{i % 2:02d}" for i in range(20)])))), choice=LABEL
    )
    assert texts.classes == ("00", "01")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["0.0", "2.00"], "0 1 2"), (["1", "1.0"], "0 1"), (["1.0", "1.5"], "1.0 1.5"), (["1.0", "owl"], "1.0 owl")],
)
def test_whole_numbers_with_decimals_are_whole_numbers_if_all_are(
    labels: list[str], classes: str, tmp_path: Path
) -> None:
    of_csv = flat(tmp_path / "csv", csv_of(pairs(labels=labels * 10)))
    assert open_folder(str(of_csv), choice=LABEL).classes == tuple(classes.split())


@pytest.mark.parametrize(
    ("values", "classes"), [([0.0, 1.0], "0 1"), ([False, True], "false true"), ([1, "x"], "1 x"), ([0.5, 1], "0.5 1")]
)
def test_labels_in_json_may_be_of_any_type_but_lists_and_objects(values: list, classes: str, tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": name, "label": values[i % 2]}) for i, name in enumerate(NAMES)]
    root = flat(tmp_path, "\n".join(lines), "metadata.jsonl")
    assert open_folder(str(root), choice=LABEL).classes == tuple(classes.split())


def test_classes_that_cannot_be_learned_are_remarked_on(tmp_path: Path) -> None:
    same = flat(tmp_path / "same", csv_of(pairs(labels=["owl"] * 20)))
    (remark,) = facts(config(same, label_column="label")).remarks
    assert (
        remark
        == f"{same}: label_column: all images have the same label in the column label, so that there are no classes"
    )
    from_one = flat(tmp_path / "one", csv_of(pairs(labels=[str(1 + i % 2) for i in range(20)])))
    (remark,) = facts(config(from_one, label_column="label")).remarks
    assert "1 of 3 classes (0)" in remark and remark.endswith("or number classes from 0 without gaps")


def test_labels_that_repeat_the_class_folders_change_nothing(tmp_path: Path) -> None:
    names = [f"{kind}/{name}" for name, kind in pairs()]
    image_tree(tmp_path, *names)
    (tmp_path / "labels.csv").write_text(csv_of(pairs(names)) + "\n\n")
    (tmp_path / "labels.tsv").write_text(csv_of(pairs(names, [kind.upper() for kind in KINDS]), "n\tLABEL", "\t"))
    signatures = [signature(tmp_path, label_column=column) for column in (None, "label", "LABEL")]
    assert signatures[0] == signatures[1] != signatures[2]


def test_every_split_may_have_its_own_table(tmp_path: Path) -> None:
    parts = {"train": NAMES, "val": NAMES[:4], "test": NAMES[:4]}
    for split, names in parts.items():
        flat(tmp_path / split, csv_of(pairs(names, KINDS[: len(names)])), "metadata.csv", names)
    known = facts(config(tmp_path, label_column="label"))
    assert known.num_classes == 2 and known.splits == {"train": 20, "val": 4, "test": 4}


def test_images_without_a_line_in_any_of_the_tables_are_named(tmp_path: Path) -> None:
    for split, names in {"train": NAMES, "val": NAMES[:4], "test": NAMES[:4]}.items():
        flat(tmp_path / split, csv_of(pairs(names, KINDS[: len(names)])), "metadata.csv", names)
    (tmp_path / "val" / "metadata.csv").unlink()
    assert "test/metadata.csv and train/metadata.csv have no line for 4 of 28 images (val/00.png" in refused(tmp_path)


def test_one_table_may_have_all_splits(tmp_path: Path) -> None:
    names = [f"{split}/{name}" for split, count in (("train", 20), ("val", 4), ("test", 4)) for name in NAMES[:count]]
    every = csv_of([(name, "cat" if name < "train/10" else "owl") for name in names])
    assert sum(open_folder(str(flat(tmp_path / "one", every, names=names)), choice=LABEL).labels) == 14
    flat(tmp_path / "two", every, names=names)
    (tmp_path / "two" / "val" / "metadata.csv").write_text(csv_of(pairs()[:1]))
    told = "labels.csv line 22 (val/00.png) and val/metadata.csv line 2 (val/00.png): the same image several times"
    assert told in refused(tmp_path / "two")


def test_an_archive_is_read_as_the_folder_that_was_packed(tmp_path: Path) -> None:
    names = [f"images/{name}" for name in NAMES]
    image_tree(tmp_path / "birds", *names)
    (tmp_path / "birds" / "labels.csv").write_text(csv_of(pairs(names)))
    archive = packed(tmp_path / "birds", tmp_path / "birds.zip", "birds/")
    asked = {"label_column": "label"}
    assert signature(archive, **asked) == signature(tmp_path / "birds", **asked)
    assert facts(config(archive)).num_classes == 0 and facts(config(archive, **asked)).num_classes == 2


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (pairs()[1:], "labels.csv has no line for 1 of 20 images (00.png); add the lines or remove the images"),
        ([*pairs(), ("x.png", "owl")], "labels.csv line 22 (x.png): no such image; add it or remove the line"),
        (
            [*pairs(), (NAMES[3], "owl")],
            "labels.csv line 5 (03.png) and labels.csv line 22 (03.png): the same image several times; keep one line",
        ),
        (
            pairs(labels=["", "", *KINDS[2:]]),
            "labels.csv line 2 (00.png) and labels.csv line 3 (01.png): no label in the column label; add it",
        ),
        ([("", "owl"), *pairs()], "labels.csv line 2: no name of an image"),
        (pairs(labels=["-1", *"1" * 19]), "labels.csv line 2 (00.png): a label that is not from 0 to 99,999"),
        (pairs(labels=["123456", *"1" * 19]), "labels.csv line 2 (00.png): a label that is not from 0 to 99,999"),
    ],
)
def test_images_and_lines_that_do_not_agree_are_named(lines: list, told: str, tmp_path: Path) -> None:
    assert refused(flat(tmp_path, csv_of(lines))).startswith(f"{tmp_path}: {told}")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (
            "labels.csv",
            csv_of(pairs(), "file_name,kind"),
            "label_column: there is no column label; its first line has file_name and kind",
        ),
        ("labels.csv", "", "labels.csv: is empty; its first line should name columns"),
        ("labels.csv", csv_of(pairs(), "label,label"), "labels.csv: has several columns called label"),
        (
            "labels.csv",
            csv_of([*pairs(), ("x.png", '"owl')]),
            "labels.csv line 22: cannot be read (unexpected end of data)",
        ),
        (
            "metadata.jsonl",
            '{"file_name": "00.png", "label": 1}\n{"file',
            "metadata.jsonl line 2: cannot be read as JSON",
        ),
        ("metadata.jsonl", '{"label": 1}\n[1]', "metadata.jsonl line 2: is JSON, but no object; each line should be"),
        ("metadata.jsonl", '[\n{"label": 1}]', "; each line should be an object such as"),
        ("metadata.jsonl", '{"file_name": "00.png", "label": NaN}', "metadata.jsonl line 1 (00.png): no label"),
        (
            "metadata.jsonl",
            '{"file_name": "00.png", "label": [1]}',
            "(00.png): a list or an object in the column label",
        ),
        (
            "labels.csv",
            csv_of([(name.removesuffix(".png"), kind) for name, kind in pairs()]),
            "no line names an image that is there: labels.csv line 2 (00) does not, and images are called 00.png",
        ),
        ("Labels.CSV", csv_of(pairs()), "holds image files and no table of labels (labels.csv, labels.tsv, metadata"),
        ("labels.xlsx", "", "at the top or in a split; save labels.xlsx as one of these, or remove"),
        ("labels.csv", "PK\x03\x04", "labels.csv: is a spreadsheet or a zip archive by its content; save the spread"),
    ],
)
def test_tables_that_cannot_be_read_are_one_sentence(file: str, text: str, told: str, tmp_path: Path) -> None:
    assert re.search(re.escape(told), refused(flat(tmp_path, text, file)))


def test_what_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    flat(tmp_path / "latin", "")
    (tmp_path / "latin" / "labels.csv").write_bytes("file_name,label\n00.png,größe\n".encode("latin-1"))
    assert "labels.csv: is not text in UTF-8" in refused(tmp_path / "latin")
    touched(tmp_path / "folder", *NAMES, "labels.csv/x.txt")
    assert "holds image files and no table of labels" in refused(tmp_path / "folder")


def test_columns_of_images_may_be_named(tmp_path: Path) -> None:
    flat(tmp_path / "one", csv_of([(kind, name) for name, kind in pairs()], "label,picture"))
    assert "labels.csv line 2 (cat)" in refused(tmp_path / "one")
    assert open_folder(str(tmp_path / "one"), choice=Choice("picture", "label")).classes == ("cat", "owl")
    assert "image_column: there is no column x; its first line has label and" in refused(
        tmp_path / "one", Choice("x", "label")
    )


def test_two_tables_with_the_column_are_refused(tmp_path: Path) -> None:
    flat(flat(tmp_path, csv_of(pairs())), csv_of(pairs()), "metadata.csv")
    assert refused(tmp_path) == f"{tmp_path}: labels.csv and metadata.csv have a column label; keep one of them there"
