"""What YAML reads otherwise than people do, what they write by mistake, and files that would take all memory."""

import tracemalloc
from pathlib import Path

import pytest

from experiments.errors import UserError
from tests.commandline import invoke
from tests.planning import load_sweep

BASE = "name: trial\nmodel: {preset: nano}\nevaluation: {images: 1000, features: classifier}\n"


def load(tmp_path: Path, text: str | bytes):
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_sweep(path)


def error_of(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert message.startswith("x.yaml:") and message.isprintable() and not message.rstrip().endswith(";")
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training: {lr: 0,002}", "4: training.lr: 0,002 has a comma, which ends a value in braces; write 'lr: 0.002'"),
        ("training:\n  lr: 0,002", "5: training.lr: expected a number, not '0,002'; write 0.002"),
        ("training: {lr:2e-3}", "4: training.lr:2e-3: unknown field; write 'lr: 2e-3'"),
        ("training:\n  lr:2e-3", "4: training: 'lr:2e-3' is not a mapping; write 'lr: 2e-3'"),
        ("training:\n  lr:2e-3\n  kimg: 5", "write a space after the colon: 'lr: 2e-3'"),
        ("training:\n  kimg: 5\n  lr:2e-3\n", "write a space after the colon: 'lr: 2e-3'"),
        ("training: {kimg=50}", "4: training.kimg=50: unknown field; write 'kimg: 50'"),
        ("training: {zzz: 50}", "4: training.zzz: unknown field; choose from kimg, batch_size, lr, "),
        ("grid: {training: {lr: [1e-3]}}", "each axis as section.field, such as 'training.lr: [...]'"),
        ("grid: {training.lr: 1e-3,1e-4}", "4: training.lr: 0.001 is not a list of values; write [1e-3, 1e-4]"),
        ("grid:\n  training.lr: 1e-3,1e-4", "'1e-3,1e-4' is not a list of values; write [1e-3, 1e-4]"),
        ("grid:\n  training.lr: 1e-3 1e-4", "'1e-3 1e-4' is not a list of values; write [1e-3, 1e-4]"),
        ("grid: {sampling.sampler: heun}", "'heun' is not a list of values; write [heun]"),
        ("sampling: {steps: 18.0}", "sampling.steps: expected a whole number, not 18.0; write 18"),
        ("training: {lr: '1e-3'}", "expected a number, not '1e-3'; write 1e-3 without quotes"),
        ("training: {kimg: 50 000}", "expected a number, not '50 000'; write 50000"),
        ("training: {label_dropout: 10%}", "expected a number, not '10%'; write 0.1"),
        ("sampling: {s_churn: inf}", "expected a number, not 'inf'; write .inf"),
        ("resources: {compile: 'true'}", "expected true or false, not 'true'; write true without quotes"),
        ("training: {power_ema: 0.1}", "expected a list, not 0.1; write [0.1]"),
        ("report: {metrics: fid_test, rows: []}", "expected a list, not 'fid_test'; write [fid_test]"),
        ("data: {path: 2024}", "data.path: expected text, not 2024; put it in quotes"),
        ("seeds: 3", "seeds: 3 is not a list of seeds; write [3] for the seed 3 alone, or [0, 1, 2] for 3 seeds"),
        ("seeds: 42", "seeds: 42 is not a list of seeds; write [42]"),
        ("seed: 3", "4: seed: unknown field; the seeds of trainings are written 'seeds: [3]' at the top level, that"),
        ("training: {seed: 3}", "4: training.seed: unknown field; the seeds of trainings are written 'seeds: [3]'"),
        ("grid: {training.seed: [3]}", "4: training.seed: unknown field; the seeds of trainings are written 'seeds: ["),
        (
            "training: {steps: 200}",
            "unknown field; did you mean 'kimg', thousands of images: steps x batch_size / 1000?",
        ),
        ("training: {epochs: 200}", "did you mean 'kimg', thousands of images: epochs x training images / 1000?"),
        ("training: {learning_rate: 1e-3}", "4: training.learning_rate: unknown field; did you mean 'lr'?"),
        ("seeds: 0,1", "seeds: '0,1' is not a list of seeds; write [0, 1]"),
        ("seeds: ['1']", "seeds: '1' is not a whole number; write 1 without quotes"),
        ("seeds: [010, 7]", "seeds: 010 begins with 0, as octal numbers do in YAML; write 10, or '010' if it is text"),
        ("seeds: [08]", "seeds: 08 begins with 0, as octal numbers do in YAML; write 8"),
        ("evaluation: {images: 2:00}", "evaluation.images: 2:00 has a colon, as base 60 has in YAML; write a number"),
        ("training: {kimg: 1:30.5}", "training.kimg: 1:30.5 has a colon, as base 60 has in YAML"),
        (
            "training.lr: 1e-3",
            "4: training.lr: unknown field; write it in its section, 'training: {lr: 1e-3}', or as an",
        ),
        ("kimg: 5", "4: kimg: unknown field; write it in its section, 'training: {kimg: 5}', or as an axis"),
        ("training:\n\tkimg: 5", "indent with spaces instead of tabs"),
        ("data: {path: *.png}", "put text that begins with a special character in quotes"),
        ("---\nname: b", "keep one document and remove the line '---' between them"),
        ("training: {<<: 3}", "expected a mapping or list of mappings for merging"),
        ("? [a, b]\n: 3", "4: a key is a list or a mapping; put text with brackets in quotes"),
        ("training: !!omap [kimg: 5]", "training: [{kimg: 5}] is not a mapping"),
        ("training: {kimg: 0x" + "f" * 5000 + "}", "training.kimg: is a number with 5,002 characters; write a shorter"),
        ("model: {preset: " + "x" * 5000 + "}", "x...' is not one of nano, micro"),
        ("model: {" + "x" * 900 + ": 1}", "x...: unknown field; choose from preset"),
        ('training: {"\\e[31mred": 1}', "training: contains the control character '\\x1b'; remove it"),
        ('data: {path: "a\\0b"}', "data.path: contains the control character '\\x00'; remove it"),
        ('data: {path: "\\ud800"}', "data.path: contains the control character '\\ud800'; remove it"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(tmp_path: Path, text: str, expected: str) -> None:
    lines = [line for line in BASE.splitlines(keepends=True) if not text.startswith(line.partition(":")[0] + ":")]
    lines += ["# a comment\n"] * (3 - len(lines))  # so that the line is always the fourth
    assert expected in error_of(tmp_path, "".join(lines) + text + "\n")


def test_quotes_are_the_remedy_for_true_as_text(tmp_path: Path) -> None:
    message = error_of(tmp_path, "model: {preset: nano, attention: 'true'}\n")
    assert message.endswith("'true' is not one of true, false, none, bridge, levels; write true without quotes")
    message = error_of(tmp_path, "model: {preset: nano, attention: truee}\n")
    assert message.endswith("did you mean true?")


@pytest.mark.parametrize(
    ("section", "axis"),
    [
        ("sampling: {sampler: [heun, euler]}", "sampling.sampler: [heun, euler]"),
        ("sampling: {guidance: [1, 2]}", "sampling.guidance: [1, 2]"),
        ("training: {flip: [no, yes]}", "training.flip: [false, true]"),
        ("training: {optimizer: [adam]}", "training.optimizer: [adam]"),
        ("data: {path: [a b, c]}", "data.path: ['a b', c]"),
        ("sampling: {guide: [{kimg: 2}, {kimg: 4}]}", "sampling.guide: [{kimg: 2}, {kimg: 4}]"),
        ("sampling: {guidance_interval: [[0, 1], [0, 2]]}", "sampling.guidance_interval: [[0, 1], [0, 2]]"),
    ],
)
def test_several_values_in_a_section_are_said_to_be_an_axis(tmp_path: Path, section: str, axis: str) -> None:
    field, _, values = axis.partition(": ")
    message = error_of(tmp_path, BASE + section + "\n")
    advice = f"is a list of values; write one of them, or compare them by '{axis}' under 'grid:'"
    assert message == f"x.yaml:4: {field}: {values} {advice}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training: {keep: [first, 2]}", "4: training.keep: expected a number, not 'first'"),
        ("sampling: {guidance_interval: [1, 2, 3]}", "[1, 2, 3] is not a range; write [low, high]"),
        ("grid: {sampling.sampler: [[heun, euler]]}", "['heun', 'euler'] is not one of euler, heun, dpm2"),
        ("resources: {gpus: [1, 2]}", "4: resources.gpus: expected a number, not [1, 2]"),
    ],
)
def test_a_list_that_cannot_be_an_axis_is_not_said_to_be_one(tmp_path: Path, text: str, expected: str) -> None:
    message = error_of(tmp_path, BASE + text + "\n")
    assert expected in message and "grid:'" not in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2024", "name: 2024 is not text in YAML; put it in quotes: '2024'"),
        ("1.50", "name: 1.50 is not text in YAML; put it in quotes: '1.50'"),
        ("yes", "name: yes is not text in YAML; put it in quotes: 'yes'"),
        ("", "name: is empty; write the name of the sweep, or remove the line"),
        ("[a]", "name: ['a'] is not text; write the name of the sweep, or remove the line"),
        ("0123", "name: 0123 begins with 0, as octal numbers do in YAML; write 123, or '0123' if it is text"),
        ("a" * 300, "a...' cannot be the name of a sweep; use at most 100 letters"),
    ],
)
def test_a_name_that_is_no_text_is_shown_as_written(tmp_path: Path, name: str, expected: str) -> None:
    message = error_of(tmp_path, f"name: {name}\nmodel: {{preset: nano}}\n")
    assert message.startswith("x.yaml:1: ") and expected in message


@pytest.mark.parametrize("text", ["2024-01-31", "'2024'", "'010'", "'2:00'"])
def test_dates_and_numbers_in_quotes_are_text(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, f"model: {{preset: nano}}\nx-own: {text}\n").cells
    if ":" not in text:
        assert load(tmp_path, f"name: {text}\nmodel: {{preset: nano}}\n").name == text.strip("'")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5e-3", 5e-4), (".5e-3", 5e-4), ("1e-3", 1e-3), ("1E-3", 1e-3), ("1.e-3", 1e-3), ("0.001", 1e-3), ("5.", 5.0)],
)
def test_every_way_to_write_a_number_is_read_as_one(tmp_path: Path, text: str, value: float) -> None:
    assert load(tmp_path, f"model: {{preset: nano}}\ntraining: {{lr: {text}}}\n").cells[0].training.lr == value


@pytest.mark.parametrize(("text", "seed"), [("0", 0), ("+3", 3), ("0x10", 16), ("1_000", 1000), ("0b11", 3)])
def test_whole_numbers_that_mean_one_thing_are_read(tmp_path: Path, text: str, seed: int) -> None:
    assert load(tmp_path, f"model: {{preset: nano}}\nseeds: [{text}]\n").cells[0].seed == seed


def test_own_keys_may_hold_anchors_and_anything_else(tmp_path: Path) -> None:
    text = "x-short: &short {kimg: 20, batch_size: 8}\nx-note: [1, {a: b}]\ntraining: {<<: *short, lr: 1e-3}\n"
    training = load(tmp_path, f"{text}model: {{preset: nano}}\n").cells[0].training
    assert (training.kimg, training.batch_size, training.lr) == (20, 8, 1e-3)
    assert "x_note: unknown field" in error_of(tmp_path, "x_note: 3\n")


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path, start: str, end: str) -> None:
    text = start + "name: a\nmodel: {preset: nano}\nseeds:\n  - 1\n  - 2\n".replace("\n", end)
    assert [cell.seed for cell in load(tmp_path, text.encode()).cells] == [1, 2]


def test_utf_16_is_answered_with_how_to_save_it(tmp_path: Path) -> None:
    assert "byte 1 is not UTF-8); save it as a YAML file in UTF-8" in error_of(tmp_path, BASE.encode("utf-16"))


BOMB = "x-0: &a0 [1, 1]\n" + "".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MERGE_BOMB = "x-0: &a0 {a: 1}\n" + "".join(
    f"x-{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], b{n}: 1}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: " + "[" * 10_000, "levels deep; write fewer levels"),
        ("a: " + "{a: " * 10_000 + "}" * 10_000, "levels deep; write fewer levels"),
        ("- " * 10_000 + "1", "levels deep; write fewer levels"),
        ("".join(" " * n + "a:\n" for n in range(300)), "levels deep; write fewer levels"),
        ("".join(" " * n + "a:\n" for n in range(60)), "levels deep; write fewer levels"),
        (BOMB, "has more than 50,000 entries, aliases included; remove some"),
        (MERGE_BOMB, "has more than 50,000 entries, aliases included; remove some"),
        ("a: 1\n" * 30_000, "is larger than 128.0 KiB, which no sweep file is"),
    ],
    ids=["lists", "mappings", "dashes", "indented", "a little too deep", "bomb", "merge bomb", "long"],
)
def test_files_that_would_take_all_memory_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    tracemalloc.start()
    try:
        assert expected in error_of(tmp_path, text)
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


def test_a_hundred_megabytes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").touch()
    with (tmp_path / "x.yaml").open("r+b") as file:
        file.truncate(100 * 2**20)
    assert invoke("plan", tmp_path / "no.yaml").returncode == 2  # loads what the command imports
    tracemalloc.start()
    try:
        answer = invoke("plan", tmp_path / "x.yaml", "--store", tmp_path / "store")
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()
    assert answer.returncode == 2 and "is larger than 128.0 KiB" in answer.stderr


@pytest.mark.parametrize("command", ["plan", "report", "status", "why", "logs"])
@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".yaml", "a\x1b[31mb", "a\nb", "../" * 2000])
def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path: Path, command: str, name: str) -> None:
    answer = invoke(command, name, "--store", tmp_path / "store")
    assert answer.returncode == 2
    assert answer.stderr.strip().isprintable() and len(answer.stderr.splitlines()) == 1
