"""Tables and pages from frames of results."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from experiments.scores import METRICS as SCORED
from reports.entries import Entry
from reports.figures import score_figure, truncation_figure
from reports.metrics import METRICS
from reports.notes import reading_note, remarks, state_line
from reports.page import Report, write_report
from reports.render import to_latex, to_markdown, to_rich
from reports.significance import Paired
from reports.tables import Layout, comparisons, show_value

LAYOUT = Layout("trial", rows=("model.preset", "model.attention"))


def frame(seeds: int = 1, **changes) -> pd.DataFrame:
    rows = [
        {
            "cell": f"{preset}/{attention}/{seed}",
            "model.preset": preset,
            "model.attention": attention,
            "model.depths": None,
            "training.kimg": 50.0,
            "data.name": "digits",
            "evaluation.images": 1000,
            "sampling.resolution": None,
            "seed": seed,
            "data": "abc",
            "features": "FID, classifier features, 64-d",
            "reference": "300 real images of each split",
            "status": "done",
            "fid_test": 10.0 * (1 + p) + attention + seed,
            "class_accuracy": 0.9 + 0.01 * p,
            "noise_fid_test": 99.0,
            "real_fid_test": 0.5,
        }
        for p, preset in enumerate(("nano", "micro"))
        for attention in (False, True)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(**changes)


def with_errors(made: pd.DataFrame, error: float = 0.2) -> pd.DataFrame:
    return made.assign(fid_test_se=error, class_accuracy_se=0.005)


def full(made: pd.DataFrame) -> pd.DataFrame:
    """With everything that can be asked for."""
    scores = {"kid": 0.0123, "precision": 0.9, "recall": 0.8, "density": 1.25, "coverage": 0.95, "fid_infinity": 9.0}
    return made.assign(
        **{f"{name}_test": value for name, value in scores.items()},
        fid_infinity_test_se=0.1,
        noise_kid_test=0.5,
        real_kid_test=0.001,
        nn_ratio_pixels=0.98,
        nn_ratio_features=0.95,
        real_nn_ratio_pixels=1.01,
        real_nn_ratio_features=0.99,
        real_images=897,
    )


def report(made: pd.DataFrame, tmp_path: Path, layout: Layout = LAYOUT) -> Report:
    pictures = {}
    for cell in made["cell"]:
        pictures[cell] = tmp_path / f"{cell.replace('/', '_')}.png"
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures[cell])
    curves = pd.DataFrame(
        {"training": ["a"] * 4, "kimg": [1, 2, 3, 3], "loss": [1, 0.5, 0.4, None], "val_loss": [None, None, None, 0.5]}
    )
    return Report(layout, made, curves, pictures, {"git_commit": "0123"})


def page_of(made: Report, tmp_path: Path) -> str:
    return write_report(made, tmp_path / "out").read_text()


def texts(table) -> list[list[str]]:
    return [[entry.text for entry in entries] for _, entries in table.rows]


def emphasis(table) -> list[list[str]]:
    return [["best" if e.best else "close" if e.close else "" for e in entries] for _, entries in table.rows]


# tables -------------------------------------------------------------------------------------------


def test_rows_columns_and_numbers() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert table.row_heads == ("preset", "attention") and table.number_heads == ("FID test", "class accuracy")
    assert [names for names, _ in table.rows] == [("nano", "no"), ("nano", "yes"), ("micro", "no"), ("micro", "yes")]
    assert texts(table) == [["10.00", "90.0 %"], ["11.00", "90.0 %"], ["20.00", "91.0 %"], ["21.00", "91.0 %"]]
    assert table.complete and table.main


def test_without_errors_nothing_is_marked() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert emphasis(table) == [["", ""]] * 4
    assert any("error is not known" in note for note in reading_note([table]))


def test_the_best_is_bold_where_it_is_told_apart_and_else_marked_with_its_equals() -> None:
    (table,) = comparisons(with_errors(frame()), LAYOUT)
    assert texts(table)[0] == ["10.00 ± 0.39", "90.00 ± 0.98 %"]
    assert emphasis(table) == [["best", "close"], ["", "close"], ["", "close"], ["", "close"]]


def test_errors_that_hang_together_tell_apart_what_they_would_not_alone() -> None:
    made = with_errors(frame(), error=0.6)
    (alone,) = comparisons(made, LAYOUT)
    cells = tuple(made["cell"])
    paired = {"fid_test": Paired(cells, 0.36 * (0.95 + 0.05 * np.eye(4)))}
    (together,) = comparisons(made, LAYOUT, paired)
    assert [line[0] for line in emphasis(alone)] == ["close", "close", "", ""]
    assert [line[0] for line in emphasis(together)] == ["best", "", "", ""]
    assert texts(alone) == texts(together)


def test_an_axis_can_make_columns_each_with_its_own_best() -> None:
    layout = Layout("trial", rows=("model.preset",), columns=("model.attention",), metrics=("fid_test",))
    (table,) = comparisons(with_errors(frame()), layout)
    assert table.number_heads == ("attention=no FID test", "attention=yes FID test")
    assert texts(table) == [["10.00 ± 0.39", "11.00 ± 0.39"], ["20.00 ± 0.39", "21.00 ± 0.39"]]
    assert emphasis(table) == [["best", "best"], ["", ""]]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [(1, "10.00 ± 0.39"), (2, "10.50 (s 0.71)"), (3, "11.0 ± 2.5 (s 1.0)"), (4, "11.5 ± 2.1 (s 1.3)")],
)
def test_the_interval_is_of_one_seeds_images_or_of_three_and_more_seeds(seeds: int, text: str) -> None:
    (table,) = comparisons(with_errors(frame(seeds=seeds)), LAYOUT)
    assert texts(table)[0][0] == text  # 10, 11, 12: s 1, the t interval 4.303 * 1 / sqrt(3)


def test_seeds_in_common_are_compared_by_pairs() -> None:
    (table,) = comparisons(frame(seeds=3).assign(fid_test=[1, 5, 9, 2.0, 6.1, 9.9, 3, 7.1, 11.2, 4, 8.1, 12.2]), LAYOUT)
    assert [line[0] for line in emphasis(table)] == ["best", "", "", ""]


def test_missing_numbers_are_dashes_or_say_how_many_seeds() -> None:
    made = frame(seeds=3)
    made.loc[0, "fid_test"] = np.nan
    made.loc[3:5, "fid_test"] = np.nan
    (table,) = comparisons(made, LAYOUT)
    assert [line[0] for line in texts(table)[:2]] == ["11.5 (s 0.7, 2 of 3 seeds)", "—"]
    assert not table.complete


def test_a_cell_stopped_early_says_so_once_and_keeps_none_from_being_best() -> None:
    made = with_errors(frame())
    made.loc[3, ["fid_test", "fid_test_se", "class_accuracy", "class_accuracy_se"]] = np.nan
    made = made.assign(stopped_at=[None, None, None, 5000], status=["done", "done", "done", "stopped"])
    (table,) = comparisons(made, LAYOUT)
    assert texts(table)[3] == ["worse, stopped at 5,000", "—"] and table.complete
    assert emphasis(table)[0][0] == "best"
    assert state_line(made) == "4 cells, 1 stopped early as clearly worse"
    assert any(note.startswith("Stopped") for note in reading_note([table]))


def test_a_pruned_cell_says_so_once_and_is_neither_bad_nor_missing() -> None:
    made = with_errors(frame())
    made.loc[3, ["fid_test", "fid_test_se", "class_accuracy", "class_accuracy_se"]] = np.nan
    made = made.assign(pruned_at=[None, None, None, 12.0], status=["done", "done", "done", "pruned"])
    (table,) = comparisons(made, LAYOUT)
    assert texts(table)[3] == ["pruned at 12 kimg", "—"] and table.complete
    assert emphasis(table) == [["best", "close"], ["", "close"], ["", "close"], ["", ""]]
    assert state_line(made) == "4 cells, 1 pruned"
    (note,) = (note for note in reading_note([table]) if note.startswith("Pruned"))
    assert "nothing is said of its score" in note and not any("Stopped" in note for note in reading_note([table]))


def test_a_mean_over_the_seeds_that_were_not_pruned_is_not_shown(tmp_path: Path) -> None:
    made = frame(seeds=3)
    made.loc[[0, 1], "fid_test"] = np.nan
    made = made.assign(
        pruned_at=[12.5, *[np.nan] * 11],
        stopped_at=[np.nan, 2000.0, *[np.nan] * 10],
        status=["pruned", "stopped", *["done"] * 10],
    )
    (table,) = comparisons(made, LAYOUT)
    assert texts(table)[0] == ["worse, stopped at 2,000 (1 of 3 seeds), pruned at 12.5 kimg (1 of 3 seeds)", "—"]
    assert "pruned at 12.5 kimg" in page_of(report(made, tmp_path), tmp_path)
    assert r"pruned at 12.5 kimg" in to_latex(table) and "pruned at 12.5 kimg" in to_markdown(table)


def test_a_mean_over_the_seeds_that_were_not_stopped_is_not_shown() -> None:
    made = frame(seeds=2)
    made.loc[0, "fid_test"] = np.nan
    (table,) = comparisons(made.assign(stopped_at=[2000.0, *[np.nan] * 7]), LAYOUT)
    assert texts(table)[0] == ["worse, stopped at 2,000 (1 of 2 seeds)", "—"]


@pytest.mark.parametrize(
    ("values", "errors", "shown"),
    [
        ([0.8034, 0.91], [0.021, 0.021], ["0.803 ± 0.041", "0.910 ± 0.041"]),
        ([803.4, 910.0], [21.0, 21.0], ["803 ± 41", "910 ± 41"]),
        ([0.8034, 0.91], [0.5, 0.5], ["0.80 ± 0.98", "0.91 ± 0.98"]),
        ([0.8034, 0.91], [0.0508, 0.0508], ["0.80 ± 0.10", "0.91 ± 0.10"]),  # 0.0996 is 0.10 in two digits
        ([80.34, 91.0], [np.nan, np.nan], ["80.34", "91.00"]),
        ([8.034, 9.1], [np.nan, np.nan], ["8.034", "9.100"]),
        ([8.034, 0.00042], [np.nan, np.nan], ["8.0340", "0.0004"]),
        ([1.0, 0.0], [0.0, 0.1], ["1.00", "0.00 ± 0.20"]),  # no variance seen is no certainty
    ],
)
def test_a_column_has_as_many_decimals_as_its_errors_allow(values: list, errors: list, shown: list[str]) -> None:
    made = frame()[:2].assign(fid_test=values, fid_test_se=errors)
    (table,) = comparisons(made, LAYOUT)
    assert [line[0] for line in texts(table)] == shown


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("features", ["FID, Inception features, 2048-d", "FID, classifier features, 64-d"]),
        ("evaluation.images", [1000, 2000]),
        ("reference", ["300 real images of each split", "all real images of each split"]),
        ("reference", [None, "all real images of each split"]),
        ("sampling.resolution", [None, 16]),
        ("data", ["abc", "abd"]),
    ],
)
def test_numbers_that_cannot_be_compared_never_share_a_table(column: str, values: list, tmp_path: Path) -> None:
    made = frame(**{column: [values[0], values[0], values[1], values[1]]})
    tables = comparisons(made, LAYOUT)
    assert [len(table.rows) for table in tables] == [2, 2] and all(table.main for table in tables)
    if column != "data":  # told by its name alone
        assert tables[0].label != tables[1].label
        write_report(report(made, tmp_path), tmp_path)
        assert "Numbers that cannot be compared are kept apart" in (tmp_path / "report.md").read_text()


def test_the_label_says_what_the_numbers_are() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert table.label == "FID, classifier features, 64-d; 1,000 images drawn; 300 real images of each split; digits"
    (table,) = comparisons(frame(**{"sampling.resolution": 16}).drop(columns="reference"), LAYOUT)
    assert table.label == "FID, classifier features, 64-d; 1,000 images drawn at 16x16; digits"


def test_fidelity_and_memorisation_have_tables_of_their_own() -> None:
    main, fidelity, memorisation = comparisons(full(frame()), LAYOUT)
    assert [table.main for table in (main, fidelity, memorisation)] == [True, False, False]
    assert main.number_heads == ("FID test", "class accuracy")
    assert fidelity.number_heads == ("KID x10^3", "precision", "recall", "density", "coverage", "FID inf")
    assert fidelity.heading == "trial: kernel distance, fidelity and diversity, test split"
    assert texts(fidelity)[0] == ["12.30", "0.900", "0.800", "1.250", "0.950", "9.00 ± 0.20"]
    assert texts(memorisation)[0] == ["0.980", "0.950"] and memorisation.heading == "trial: memorisation"


def test_fidelity_is_of_one_split_the_test_split_first() -> None:
    made = full(frame()).assign(recall_val=0.5, coverage_val=0.6, recall_train=0.7)
    assert comparisons(made, LAYOUT)[1].name.endswith("test split")
    without = made.drop(columns=[name for name in METRICS if name.endswith("_test") and name in made])
    fidelity = comparisons(without, LAYOUT)[1]
    assert fidelity.name.endswith("val split") and [head.metric for head in fidelity.heads] == [
        "recall_val",
        "coverage_val",
    ]


def test_axes_that_make_columns_make_rows_where_there_are_many_metrics() -> None:
    layout = Layout("trial", rows=("model.preset",), columns=("model.attention",))
    main, fidelity, _ = comparisons(full(frame()), layout)
    assert main.row_heads == ("preset",) and len(main.heads) == 4
    assert fidelity.row_heads == ("preset", "attention") and len(fidelity.heads) == 6


def test_named_metrics_are_the_only_ones_and_share_one_table() -> None:
    layout = replace(LAYOUT, metrics=("recall_test", "fid_test", "kid_train"))
    (table,) = comparisons(full(frame()), layout)
    assert table.number_heads == ("recall test", "FID test")  # nothing is known of KID train


def test_the_kernel_distance_takes_the_place_of_a_withheld_fid() -> None:
    made = full(frame()).assign(fid_test=np.nan, fid_val=5.0)
    main, fidelity, _ = comparisons(made, LAYOUT)
    assert main.number_heads == ("FID val", "KID x10^3 test", "class accuracy")
    assert "KID x10^3" not in fidelity.number_heads
    only_kid = comparisons(full(frame()).assign(kid_val=0.1).drop(columns=["fid_test", "class_accuracy"]), LAYOUT)[0]
    assert only_kid.number_heads == ("KID x10^3 val", "KID x10^3 test") and only_kid.main


def test_where_all_is_missing_the_distances_asked_for_are_dashes() -> None:
    (table,) = comparisons(full(frame()).assign(**dict.fromkeys(METRICS, np.nan), status="missing"), LAYOUT)
    assert set(table.number_heads) >= {"FID train", "FID test"} and table.main
    assert {entry.text for entry in table.entries} == {"—"}


def test_distance_ratios_are_never_marked() -> None:
    made = full(frame()).assign(nn_ratio_pixels_se=0.001, nn_ratio_pixels=[0.5, 0.9, 1.0, 1.2])
    memorisation = comparisons(made, LAYOUT)[2]
    assert emphasis(memorisation) == [["", ""]] * 4


def test_every_metric_that_an_evaluation_can_have_has_a_title() -> None:
    assert set(METRICS) == set(SCORED)


def test_shares_of_copies_are_shown_in_percent_and_infinite_ratios_as_they_are() -> None:
    made = full(frame()).assign(nn_copied_pixels=[-0.01, 0.0, 0.25, 0.5], nn_ratio_features=np.inf)
    memorisation = comparisons(made, LAYOUT)[2]
    assert [line[2] for line in texts(memorisation)] == ["-1.0 %", "0.0 %", "25.0 %", "50.0 %"]
    assert texts(memorisation)[0][:2] == ["0.980", "inf"]


def test_context_rows_say_how_to_read_the_numbers() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert [(row.title, row.entries[0].text, row.entries[1].mean) for row in table.context] == [
        ("pure noise", "99.00", None),
        ("real train split", "0.50", None),
    ]
    main, fidelity, memorisation = comparisons(full(frame()), LAYOUT)
    assert [row.title for row in main.context] == ["pure noise", "897 real train images"]
    assert [row.entries[0].text for row in fidelity.context] == ["500.00", "1.00"]  # KID, in its column's unit
    assert [(row.title, row.entries[1].text) for row in memorisation.context] == [("held-out real images", "0.990")]


def test_an_unset_axis_value_is_one_row_of_its_own() -> None:
    made = frame().assign(**{"model.depths": [None, None, "1,1", "1,1"]})
    layout = Layout("trial", rows=("model.depths", "model.attention"))
    (table,) = comparisons(made, layout)
    assert [names for names, _ in table.rows] == [("null", "no"), ("null", "yes"), ("1,1", "no"), ("1,1", "yes")]
    assert [line[0] for line in texts(table)] == ["10.00", "11.00", "20.00", "21.00"]


def test_a_sweep_without_axes_is_one_row() -> None:
    (table,) = comparisons(frame()[:1], Layout("trial", rows=()))
    assert [names for names, _ in table.rows] == [("all",)] and texts(table) == [["10.00", "90.0 %"]]


# rendering ----------------------------------------------------------------------------------------


def test_markdown() -> None:
    (table,) = comparisons(with_errors(frame()).assign(class_accuracy=0.9), LAYOUT)
    markdown = to_markdown(table)
    assert markdown.startswith(f"**trial** ({table.label})\n\n| preset | attention | FID test | class accuracy |\n")
    assert "| nano | no | **10.00 ± 0.39** | 90.00 ± 0.98 % ≈ |" in markdown
    assert "| micro | no | 20.00 ± 0.39 | 90.00 ± 0.98 % ≈ |" in markdown
    assert "| *pure noise* |  | *99.00* |  |" in markdown


def test_a_bar_in_a_value_does_not_break_a_markdown_table() -> None:
    (table,) = comparisons(frame(**{"model.preset": "a|b"})[:2], LAYOUT)
    rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5} and "a&#124;b" in rows[2]


def test_latex() -> None:
    (table,) = comparisons(with_errors(frame()).assign(class_accuracy=0.9), LAYOUT)
    latex = to_latex(table)
    assert r"nano & no & \textbf{10.00 $\pm$ 0.39} & 90.00 $\pm$ 0.98 \%\rlap{\,$\approx$} \\" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    fidelity = to_latex(comparisons(full(frame(**{"model.preset": "a_b&c"})), LAYOUT)[1])
    assert r"KID $\times 10^3$" in fidelity and r"FID$_\infty$" in fidelity and r"a\_b\&c" in fidelity


def test_a_terminal_shows_every_number_with_its_digits_aligned() -> None:
    made = with_errors(frame(), error=1.0).assign(fid_test=[10.0, 10.5, 20.0, 21.0])
    (table,) = comparisons(made, LAYOUT)
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(to_rich(table))
    lines = [line for line in capture.get().splitlines() if "±" in line]
    assert [line.index("±") for line in lines] == [lines[0].index("±")] * 4
    assert [("≈" in line.split("%")[0]) for line in lines] == [True, True, False, False]


def test_a_narrow_terminal_shows_whole_numbers_without_errors() -> None:
    (table,) = comparisons(with_errors(frame()), LAYOUT)

    def printed(width: int) -> str:
        console = Console(width=width, force_terminal=False)
        with console.capture() as capture:
            console.print(to_rich(table, width))
        return capture.get()

    assert printed(100).count("±") == 8
    assert "10.00  " in printed(50) and "±" not in printed(50).partition("too narrow")[0] and "…" not in printed(50)


# notes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "there", "absent"),
    [
        (frame(), "One seed: no spread is known.", "±:"),
        (with_errors(frame()), "not how far another training would", "over seeds"),
        (frame(seeds=2), "standard deviation over seeds", "t interval"),
        (frame(seeds=3), "95% t interval", "±:"),
        (full(frame()), "below 1 is memorising", "Truncation"),
        (frame(truncation_rms=1.0), "Truncation error", "memorising"),
        (frame(), "The row of real images is the floor", "KID"),
    ],
)
def test_the_reading_note_tells_what_is_shown_and_no_more(made: pd.DataFrame, there: str, absent: str) -> None:
    text = " ".join(reading_note(comparisons(made, LAYOUT)))
    assert there in text and absent not in text


def test_remarks_name_the_cells_that_they_are_of(tmp_path: Path) -> None:
    note = "the covariance is singular"
    made = frame().assign(notes=[note, f"{note}; FID withheld", "", None])
    assert remarks(made) == [f"{note} (cells nano/False/0, nano/True/0)", "FID withheld (cell nano/True/0)"]
    assert remarks(frame().assign(notes=note)) == [f"{note} (all cells)"] and remarks(frame()) == []
    many = remarks(frame(seeds=4).assign(notes=[note] * 15 + [""]))
    assert many[0].endswith("and 9 more)")
    write_report(report(made, tmp_path), tmp_path)
    assert f"- {note} (cells nano" in (tmp_path / "report.md").read_text()


def test_the_state_line_counts_what_is_not_there() -> None:
    assert state_line(frame()) == "4 cells, all done"
    made = frame().assign(status=["missing", "missing", "stopped", "done"])
    assert state_line(made) == "4 cells, 2 of them missing and 1 stopped early as clearly worse"
    made = frame().assign(status=["missing", "pruned", "stopped", "done"])
    assert state_line(made) == "4 cells, 1 of them missing, 1 stopped early as clearly worse and 1 pruned"


# figures ------------------------------------------------------------------------------------------


def samplers() -> pd.DataFrame:
    rows = []
    for (sampler, order), steps, seed in itertools.product({"euler": 1, "heun": 2}.items(), (8, 16, 32), (0, 1)):
        error = steps**-order * (1 + seed)
        base = frame().iloc[0].to_dict()
        rows.append({**base, "cell": f"{sampler}{steps}/{seed}", "seed": seed, "sampling.sampler": sampler,
                     "sampling.steps": steps, "nfe": steps * order, "truncation_rms": error})  # fmt: skip
    return pd.DataFrame(rows)


def test_truncation_error_has_a_line_for_each_sampler_over_evaluations() -> None:
    figure = truncation_figure(samplers(), Layout("s", ("sampling.sampler", "sampling.steps")))
    assert figure is not None
    lines = figure.to_dict()["data"]
    assert [line["name"] for line in lines] == ["euler", "heun"]
    assert [line["x"] for line in lines] == [[8, 16, 32], [16, 32, 64]]
    assert lines[1]["y"] == pytest.approx([1.5 * steps**-2 for steps in (8, 16, 32)])  # the mean of both seeds
    layout = figure.to_dict()["layout"]
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "log"


def test_without_truncation_errors_there_is_no_such_figure() -> None:
    layout = Layout("s", ("sampling.sampler", "sampling.steps"))
    assert truncation_figure(frame(), LAYOUT) is None
    assert truncation_figure(samplers().assign(truncation_rms=np.nan), layout) is None


def test_scores_are_shown_with_their_intervals_in_the_tables_order() -> None:
    (table,) = comparisons(with_errors(frame()), LAYOUT)
    figure = score_figure(table)
    assert figure is not None
    close, apart = figure.to_dict()["data"]
    assert close["y"] == ["nano, no"] and apart["y"] == ["nano, yes", "micro, no", "micro, yes"]
    assert apart["x"] == [11.0, 20.0, 21.0] and apart["error_x"]["array"] == pytest.approx([0.392] * 3, rel=1e-3)
    layout = figure.to_dict()["layout"]
    assert layout["yaxis"]["categoryarray"] == ["nano, no", "nano, yes", "micro, no", "micro, yes"]
    (floor,) = layout["shapes"]
    assert floor["x0"] == floor["x1"] == 0.5 and layout["xaxis"]["range"][0] < 0.5


def test_a_floor_far_from_all_scores_does_not_shrink_them_to_a_blot() -> None:
    (table,) = comparisons(with_errors(frame(fid_test=[100.0, 100.1, 100.2, 100.3])), LAYOUT)
    figure = score_figure(table)
    assert figure is not None and figure.to_dict()["layout"]["xaxis"]["range"][0] > 99
    assert "left of what is shown" in figure.to_dict()["layout"]["shapes"][0]["name"]


@pytest.mark.parametrize("made", [frame(), with_errors(frame())[:1], frame().drop(columns="fid_test")])
def test_without_two_intervals_there_is_no_figure_of_scores(made: pd.DataFrame) -> None:
    (table,) = comparisons(made, LAYOUT)
    assert score_figure(table) is None


def test_more_scores_than_can_be_read_make_no_figure() -> None:
    made = pd.concat([with_errors(frame()).assign(**{"model.preset": f"p{i}"}) for i in range(31)])
    (table,) = comparisons(made, LAYOUT)
    assert len(table.rows) == 62 and score_figure(table) is None


# page ---------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_html_needs_nothing_beside_it(tmp_path: Path) -> None:
    page = page_of(report(with_errors(frame()), tmp_path), tmp_path)
    links = Links()
    links.feed(page)
    assert len(links.found) == 4 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert 'class="number best">10.00 ± 0.39' in page and ">≈</span>" in page


def test_html_carries_plotlys_script_once_for_all_figures(tmp_path: Path) -> None:
    made = samplers().assign(fid_test_se=0.1, fid_test=1.0)
    layout = Layout("s", ("sampling.sampler", "sampling.steps"))
    page = page_of(report(made[made["seed"] == 0], tmp_path, layout), tmp_path)
    assert re.findall(r'id="figure-([\w-]+)"', page) == ["scores-0", "truncation", "loss"]
    assert page.count("plotly.js v") == 1
    assert write_report(report(made[made["seed"] == 0], tmp_path, layout), tmp_path / "again").read_text() == page


def test_html_shows_the_closest_training_images(tmp_path: Path) -> None:
    made = report(full(frame()), tmp_path)
    assert "Closest training images" not in page_of(made, tmp_path)
    pairs = {"nano/False/0": made.pictures["nano/False/0"], "micro/True/0": tmp_path / "none.png"}
    page = page_of(replace(made, pairs=pairs), tmp_path)
    section = page.split("Closest training images</h2>")[1].split("<h2>")[0]
    assert section.count("<figure>") == 1 and "distance ratio 0.980 in pixels, 0.950 in features" in section


def test_html_of_a_sweep_that_scores_no_test_split(tmp_path: Path) -> None:
    made = frame().rename(columns={"fid_test": "fid_val"})
    page = page_of(report(made, tmp_path), tmp_path)
    assert "FID 10.000 (val)" in page and "(test)" not in page


def test_html_of_a_sweep_without_fid_tells_the_kernel_distance(tmp_path: Path) -> None:
    page = page_of(report(full(frame().drop(columns="fid_test")), tmp_path), tmp_path)
    assert "KID x10^3 12.300 (test)" in page


def test_html_escapes_what_a_sweep_file_says(tmp_path: Path) -> None:
    made = with_errors(frame(**{"model.preset": ["<script>alert(1)</script>"] * 2 + ["micro"] * 2}))
    page = page_of(report(made.assign(notes="<script>alert(2)"), tmp_path), tmp_path)
    assert "<script>alert(" not in page and "&lt;script&gt;alert(1)" in page


def test_a_report_of_an_empty_table_says_so(tmp_path: Path) -> None:
    made = frame(status="missing", fid_test=np.nan).drop(columns=["class_accuracy", "noise_fid_test", "real_fid_test"])
    empty = Report(LAYOUT, made, pd.DataFrame(columns=["training", "kimg", "loss", "val_loss"]), {}, {})
    page = write_report(empty, tmp_path).read_text()
    assert "4 cells, 4 of them missing" in page and "Samples" not in page and "Loss against" not in page


def test_results_csv_has_every_column_and_reads_back(tmp_path: Path) -> None:
    made = full(frame())
    write_report(report(made, tmp_path), tmp_path / "out")
    again = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(again) == list(made) and again["fid_test"].tolist() == made["fid_test"].tolist()
    assert not list((tmp_path / "out").glob(".*"))
    for name in ("report.md", "report.tex", "report.html"):
        assert "emorisation" in (tmp_path / "out" / name).read_text()


def test_parameters_that_all_cells_share_are_listed_once(tmp_path: Path) -> None:
    page = page_of(report(frame(), tmp_path), tmp_path)
    shared = re.findall(r"<dt>(.*?)</dt>", page)
    assert "training.kimg" in shared and "model.preset" not in shared


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (False, "no"), (1.0, "1"), (2.5, "2.5"), ("heun", "heun"), (None, "null")]
)
def test_values_are_shown_as_people_write_them(value, text: str) -> None:
    assert show_value(value) == text


def test_an_entry_without_a_number_is_a_dash() -> None:
    assert Entry(None).text == "—"
