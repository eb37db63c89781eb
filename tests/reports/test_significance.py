"""Which entry of a column is the best, as far as errors can say."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import reports
from edm.metrics.uncertainty import interval
from reports.metrics import NORMAL_95
from reports.significance import (
    DifferenceTest,
    PairedErrors,
    Sample,
    ScoreColumn,
    compare_samples,
    holm,
    marks,
    reach_95,
)
from tests.reports.frames import covariance_of, errors_of

REPETITIONS = 2000
MOST = 0.05 + 3 * (0.05 * 0.95 / REPETITIONS) ** 0.5  # what a rate of 5% may look like in as many repetitions


def single(cell: str, value: float, error: float = float("nan"), seed: int = 0) -> Sample:
    return Sample((seed,), (cell,), (value,), (error,))


def seeded(values: list[float], seeds: list[int] | None = None) -> Sample:
    seeds = list(range(len(values))) if seeds is None else seeds
    return Sample(tuple(seeds), tuple(f"c{seed}" for seed in seeds), tuple(values), (float("nan"),) * len(values))


def correlated(count: int, correlation: float, rng: np.random.Generator) -> PairedErrors:
    """Errors of unequal size with one correlation between all pairs of cells."""
    errors = rng.uniform(0.5, 2.0, count)
    matrix = correlation + (1 - correlation) * np.eye(count)
    return errors_of(tuple(f"c{i}" for i in range(count)), matrix * np.outer(errors, errors))


def column_of(values: np.ndarray, paired: PairedErrors, lower: bool = True) -> ScoreColumn:
    errors = np.sqrt(np.diag(covariance_of(paired)))
    cells = zip(paired.cells, values.tolist(), errors.tolist(), strict=True)
    return ScoreColumn(tuple(single(*cell) for cell in cells), lower, paired)


def test_all_intervals_reach_as_far() -> None:
    assert reach_95() == NORMAL_95 == pytest.approx(stats.norm.ppf(0.975), rel=1e-15)
    assert interval(0.0, 1.0) == pytest.approx((-NORMAL_95, NORMAL_95), rel=1e-15), "the ends in results.csv"
    assert [reach_95(freedom) for freedom in (1, 2, 7.5)] == pytest.approx(stats.t.ppf(0.975, [1, 2, 7.5]))
    sources = {path.stem: path.read_text() for path in Path(reports.__file__).parent.glob("*.py")}
    quantile = re.compile(r"\bstdtrit\(|\bndtri\(|inv_cdf|1\.96|1\.959|\.ppf\(")
    assert {name for name, text in sources.items() if quantile.search(text)} == {"metrics", "significance"}


def share_with_a_winner(draw, repetitions: int = REPETITIONS) -> float:
    """How often a table drawn by `draw` has a bold entry."""
    return np.mean([any("best" in column for column in marks(draw())) for _ in range(repetitions)])


@pytest.mark.parametrize("count", [2, 5, 12])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_equal_cells_seldom_have_a_winner(count: int, correlation: float) -> None:
    rng = np.random.default_rng(count)
    paired = correlated(count, correlation, rng)
    root = np.linalg.cholesky(covariance_of(paired))
    rate = share_with_a_winner(lambda: [column_of(3 + root @ rng.standard_normal(count), paired)])
    assert rate <= MOST
    assert count > 2 or rate >= 0.05 - (MOST - 0.05), "two cells: the test is exact"


@pytest.mark.parametrize("columns", [2, 5])
def test_a_table_of_several_columns_of_equal_cells_seldom_has_any_winner(columns: int) -> None:
    rng = np.random.default_rng(columns)
    paired = correlated(2, 0.5, rng)
    root = np.linalg.cholesky(covariance_of(paired))

    def table() -> list[ScoreColumn]:
        return [column_of(root @ rng.standard_normal(2), paired, lower=bool(i % 2)) for i in range(columns)]

    assert share_with_a_winner(table) <= MOST


@pytest.mark.parametrize("count", [2, 5, 12])
@pytest.mark.parametrize("shared", [True, False])
def test_equal_cells_of_several_seeds_seldom_have_a_winner(count: int, shared: bool) -> None:
    rng = np.random.default_rng(count)

    def table() -> list[ScoreColumn]:
        effects = rng.standard_normal(3)  # of a seed on all cells
        values = effects + rng.standard_normal((count, 3))
        seeds = [[0, 1, 2] if shared else [3 * i, 3 * i + 1, 3 * i + 2] for i in range(count)]
        return [ScoreColumn(tuple(seeded(line.tolist(), own) for line, own in zip(values, seeds, strict=True)))]

    assert share_with_a_winner(table, 1000) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_the_truly_best_entry_is_seldom_left_unmarked(margin: float) -> None:
    rng = np.random.default_rng(7)
    paired = correlated(8, 0.5, rng)
    root, truth = np.linalg.cholesky(covariance_of(paired)), margin * (np.arange(8) > 0)
    drawn = [marks([column_of(truth + root @ rng.standard_normal(8), paired)])[0][0] for _ in range(REPETITIONS)]
    assert drawn.count("") / REPETITIONS <= MOST


@pytest.mark.parametrize("lower", [True, False])
def test_a_clearly_best_cell_is_bold_and_alone(lower: bool) -> None:
    paired = correlated(12, 0.9, np.random.default_rng(0))
    values = np.full(12, 5.0)
    values[4] += -30.0 if lower else 30.0
    assert marks([column_of(values, paired, lower)]) == [["best" if i == 4 else "" for i in range(12)]]


def test_without_a_winner_the_best_and_its_equals_are_tied() -> None:
    paired = errors_of(("c0", "c1", "c2"), np.eye(3) * 0.01)
    assert marks([column_of(np.array([1.0, 1.05, 9.0]), paired)]) == [["tied", "tied", ""]]


def test_pairing_finds_differences_that_two_intervals_do_not() -> None:
    values, errors = np.array([1.0, 1.1]), np.array([0.1, 0.1])
    tied = errors_of(("c0", "c1"), 0.01 * (0.98 + 0.02 * np.eye(2)))
    independent = errors_of(("c0", "c1"), np.diag(errors**2))
    assert marks([column_of(values, tied)]) == [["best", ""]]
    assert marks([column_of(values, independent)]) == [["tied", "tied"]]


def test_more_comparisons_ask_for_more_evidence() -> None:
    paired = errors_of(("c0", "c1"), np.eye(2) * 0.5)
    alone, equal = column_of(np.array([0.0, 2.1]), paired), column_of(np.array([0.0, 0.0]), paired)
    assert marks([alone]) == [["best", ""]]
    assert marks([alone, equal])[0] == ["tied", "tied"]


@pytest.mark.parametrize("paired", [None, PairedErrors(("c0", "c1"), np.array([[1e-17, 0.0], [0.0, 2e-17]]))])
def test_errors_that_rounding_left_make_no_winner(paired: PairedErrors | None) -> None:
    samples = (single("c0", 0.1, 1.4e-17), single("c1", 0.2, 2.8e-17))
    assert [sample.margin for sample in samples] == [0.0, 0.0]
    assert marks([ScoreColumn(samples, paired=paired)]) == [["tied", "tied"]]


def test_the_interval_of_equal_seeds_has_no_width() -> None:
    same = seeded([0.1, 0.1, 0.1])
    assert same.std and same.margin == 0.0, "the mean of three tenths is not quite a tenth"


def test_seeds_of_which_one_is_infinite_have_no_spread() -> None:
    made = seeded([1.0, 2.0, float("inf")])
    assert made.mean == float("inf") and made.std is None and made.margin is None
    assert marks([ScoreColumn((made, seeded([1.0, 1.1, 1.2])))]) == [["tied", "tied"]]
    assert compare_samples(single("a", float("inf"), 0.1), single("b", float("inf"), 0.1)) is None


def test_holm_by_hand() -> None:
    # 0.005 <= 0.05 / 4, 0.01 <= 0.05 / 3, 0.03 > 0.05 / 2: there it ends, though 0.04 <= 0.05 / 1
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([]) == []


def test_holm_agrees_with_adjusted_p_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.uniform(0, 0.1, 6)
        ranks = p.argsort().argsort()
        adjusted = [max((6 - ranks[j]) * p[j] for j in range(6) if p[j] <= p[i]) for i in range(6)]
        assert holm(p.tolist()) == [value <= 0.05 for value in adjusted]


def agree(found: DifferenceTest | None, expected, value: float) -> None:
    assert found is not None
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10) and found.value == pytest.approx(value)


def test_seeds_in_common_are_compared_by_the_paired_t_test() -> None:
    a, b = [1.0, 1.2, 0.9, 1.4], [1.1, 1.5, 1.0, 1.3]
    agree(compare_samples(seeded(a), seeded(b)), stats.ttest_rel(a, b), np.mean(a) - np.mean(b))
    some = compare_samples(seeded(a, [0, 1, 2, 3]), seeded(b, [2, 1, 7, 8]))
    agree(some, stats.ttest_rel([1.2, 0.9], [1.5, 1.1]), (1.2 + 0.9 - 1.5 - 1.1) / 2)


def test_seeds_not_in_common_are_compared_by_welchs_t_test() -> None:
    a, b = [1.0, 1.2, 0.9], [1.1, 1.5, 2.0, 3.3]
    agree(
        compare_samples(seeded(a, [0, 1, 2]), seeded(b, [2, 3, 4, 5])),
        stats.ttest_ind(a, b, equal_var=False),
        np.mean(a) - np.mean(b),
    )


def test_single_seeds_are_compared_by_the_error_of_their_difference() -> None:
    paired = errors_of(("a", "b"), np.array([[0.04, 0.03], [0.03, 0.09]]))
    found = compare_samples(single("a", 1.0), single("b", 1.5), paired)
    assert found is not None
    assert found.p == pytest.approx(2 * stats.norm.sf(0.5 / np.sqrt(0.04 + 0.09 - 2 * 0.03)), rel=1e-10)


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.99])
def test_without_a_covariance_the_test_is_the_most_careful(correlation: float) -> None:
    a, b = single("a", 1.0, 0.2), single("b", 1.9, 0.3)
    paired = errors_of(("a", "b"), np.array([[0.04, correlation * 0.06], [correlation * 0.06, 0.09]]))
    careful, paired_test = compare_samples(a, b), compare_samples(a, b, paired)
    assert careful is not None and paired_test is not None and careful.p >= paired_test.p * (1 - 1e-9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (single("a", 1.0), single("b", 2.0)),
        (single("a", 1.0, 0.1), single("b", 2.0)),
        (single("a", 1.0, 0.1), seeded([2.0, 2.1])),
        (seeded([1.0, 1.1], [0, 1]), single("b", 2.0, 0.1, seed=1)),
        (seeded([1.0, 1.1]), seeded([2.0, 2.1])),
        (seeded([1.0, 1.0], [0, 1]), seeded([2.0, 2.0], [2, 3])),
    ],
    ids=["no errors", "one error", "one seed against two", "one in common", "equal differences", "no spread"],
)
def test_without_an_applicable_test_there_is_no_winner(a: Sample, b: Sample) -> None:
    assert compare_samples(a, b) is None
    assert "best" not in marks([ScoreColumn((a, b))])[0]


def test_cells_with_the_same_images_are_tied() -> None:
    paired = errors_of(("c0", "c1", "c2"), np.array([[0.01, 0.01, 0], [0.01, 0.01, 0], [0, 0, 0.01]]))
    assert marks([column_of(np.array([1.0, 1.0, 5.0]), paired)]) == [["tied", "tied", ""]]
    rounded = PairedErrors(paired.cells, paired.deviations + 1e-9 * np.eye(3))  # error: 1e-9
    assert marks([column_of(np.array([1.0, 1.0 + 1e-7, 5.0]), rounded)]) == [["tied", "tied", ""]]


def test_a_column_without_errors_or_with_one_number_is_not_marked() -> None:
    assert marks([ScoreColumn((single("a", 1.0), single("b", 2.0)))]) == [["", ""]]
    assert marks([ScoreColumn((single("a", 1.0, 0.1), Sample()))]) == [["", ""]]
    assert marks([ScoreColumn(())]) == [[]]


def test_missing_numbers_do_not_prevent_a_winner() -> None:
    assert marks([ScoreColumn((Sample(), single("a", 1.0, 0.1), single("b", 9.0, 0.1)))]) == [["", "best", ""]]


def test_common_seeds_that_contradict_the_best_prevent_a_winner() -> None:
    a = seeded([5.0, 5.1, -90.0], [0, 1, 2])  # the best by its mean, by one seed that b does not have
    b = seeded([1.0, 1.101], [0, 1])
    found = compare_samples(a, b)
    assert found is not None and found.p < 0.01
    assert marks([ScoreColumn((a, b))]) == [["tied", "tied"]]


def test_intervals() -> None:
    values = [1.0, 1.2, 0.9]
    assert seeded(values).margin == pytest.approx(stats.sem(values) * stats.t.ppf(0.975, 2))
    assert seeded(values).std == pytest.approx(np.std(values, ddof=1))
    assert seeded(values[:2]).margin is None and seeded(values[:2]).std is not None
    assert single("a", 1.0, 0.5).margin == pytest.approx(0.5 * stats.norm.ppf(0.975))
    assert single("a", 1.0).margin is None and single("a", 1.0).std is None
