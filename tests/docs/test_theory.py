"""docs/theory.md: its figures show what is true, its lines of code exist, and its numbers are those of the figures."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edm.samplers import sample
from tests.docs.scripts import DOCS, ROOT, script

theory = script("theory")

from theory_figures import curves, drawings_plane, mixture, pictures, plane, record, style  # noqa: E402 - the script puts them on the path

PAGE = (DOCS / "theory.md").read_text()
IMAGES = DOCS / "images" / "theory"
MOST_BYTES, MOST_PNG_BYTES = 500_000, 600_000


@pytest.fixture(scope="module")
def field() -> plane.Arrays:
    return plane.field()


@pytest.fixture(scope="module")
def guidance() -> plane.Arrays:
    return plane.guidance()


@pytest.fixture(scope="module")
def solvers() -> plane.Arrays:
    return curves.solvers()


# the page --------------------------------------------------------------------------------------------


BLOCKS = re.findall(r"^    # (edm/\S+\.py): (\S+)\n((?:    .+\n)+)", PAGE, re.MULTILINE)
QUOTED = [(file, name, line.strip()) for file, name, lines in BLOCKS for line in lines.splitlines()]


def test_every_block_of_code_says_where_it_is_from() -> None:
    assert len(BLOCKS) == len(re.findall(r"\n\n    ", PAGE)) > 12


@pytest.mark.parametrize(("file", "name", "line"), QUOTED)
def test_every_line_of_code_is_in_its_function(file: str, name: str, line: str) -> None:
    assert line in [each.strip() for each in source(file, name).splitlines()], f"{name} in {file} has no such line"


def source(file: str, name: str) -> str:
    """The lines of a function or class, or of one in a class."""
    text = (ROOT / file).read_text()
    node: ast.AST = ast.parse(text)
    for part in name.split("."):
        found = [each for each in ast.iter_child_nodes(node) if getattr(each, "name", None) == part]
        assert found, f"{file} has no {name}"
        node = found[0]
    return ast.get_source_segment(text, node) or ""


def test_every_figure_is_on_the_page_for_light_and_for_dark() -> None:
    shown = set(re.findall(r"images/theory/(\w+-\w+\.svg)#only-(?:light|dark)\)", PAGE))
    assert shown == {path.name for path in IMAGES.glob("*.svg")}
    for name in shown:
        assert f"{name}#only-{name.removesuffix('.svg').rpartition('-')[2]})" in PAGE
        assert (IMAGES / name).stat().st_size < MOST_BYTES


@pytest.mark.parametrize("theme", style.THEMES, ids=lambda theme: theme.name)
def test_every_figure_has_a_copy_as_png_on_its_page(theme: style.Theme) -> None:
    figures = sorted(IMAGES.glob(f"*-{theme.name}.svg"))
    assert len(figures) == 12
    for figure in figures:
        with Image.open(figure.with_suffix(".png")) as picture:
            assert picture.width == round(drawings_plane.WIDTH * style.PNG_DPI)
            corner = picture.convert("RGB").getpixel((0, picture.height - 1))
            assert corner == tuple(int(theme.panel[i : i + 2], 16) for i in (1, 3, 5))
        assert figure.with_suffix(".png").stat().st_size < MOST_PNG_BYTES


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", style.THEMES, ids=lambda theme: theme.name)
def test_text_and_curves_can_be_seen_on_both_pages(theme: style.Theme) -> None:
    """WCAG asks for a contrast of 4.5 for text and of 3 for what a figure shows."""
    for least, colours in ((4.5, [theme.text]), (3.0, [theme.grey, *theme.series])):
        for colour in colours:
            darker, lighter = sorted((luminance(colour), luminance(theme.panel)))
            assert (lighter + 0.05) / (darker + 0.05) >= least, colour


def test_the_orders_on_the_page_are_the_fitted_ones(solvers: plane.Arrays) -> None:
    orders = [f"{float(solvers[f'{name}_order'][0]):.2f}" for name in ("euler", "heun")]
    assert f"The fitted orders are {orders[0]} and {orders[1]}" in PAGE.replace("\n", " ")


def test_the_effects_of_guidance_on_the_page_are_the_measured_ones(guidance: plane.Arrays) -> None:
    summary, text = plane.guided_summary(guidance), PAGE.replace("\n", " ").replace("−", "-")
    plain, _, strong, interval, auto = zip(summary["spread"], summary["log_density"], strict=True)
    assert f"falls from {plain[0]:.2f} to {strong[0]:.2f}" in text
    assert f"the log density rises from {plain[1]:.2f} to {auto[1]:.2f}" in text
    assert strong[1] < plain[1] < interval[1] and strong[0] < interval[0] < plain[0]


# what the figures show -------------------------------------------------------------------------------


def test_the_data_of_the_figures_are_those_of_the_record(field, guidance, solvers) -> None:
    made = {"field": field, "guidance": guidance, "solvers": solvers, "slope": curves.slope()}
    made["schedules"] = curves.schedules()
    records = {name: record.record_of(data, None, 1e-4) for name, data in made.items()}
    assert record.differences(records, record.read(IMAGES)) == []


def test_a_change_of_the_data_is_noticed(solvers: plane.Arrays) -> None:
    expected = {"solvers": record.record_of(solvers, None, 1e-4)}
    changed = {**solvers, "heun_errors": solvers["heun_errors"] * 2, "steps": solvers["steps"][:-1]}
    found = record.differences({"solvers": record.record_of(changed, None, 1e-4)}, expected)
    assert found == [
        "solvers: steps has another shape than in the record",
        "solvers: heun_errors differs from its record",
    ]
    assert record.differences({"new": expected["solvers"]}, expected) != []


def test_euler_is_of_first_and_heun_of_second_order(solvers: plane.Arrays) -> None:
    assert float(solvers["euler_order"][0]) == pytest.approx(1, abs=0.03)
    assert float(solvers["heun_order"][0]) == pytest.approx(2, abs=0.03)


def test_the_score_is_the_gradient_of_the_log_density() -> None:
    points, step = plane.square(7), 1e-5
    for sigma in plane.LEVELS[:3]:
        numeric = [
            (
                mixture.both().log_density(points + step * e, sigma)
                - mixture.both().log_density(points - step * e, sigma)
            )
            / (2 * step)
            for e in torch.eye(2, dtype=torch.float64)
        ]
        torch.testing.assert_close(
            torch.stack(numeric, dim=1), mixture.both().score(points, sigma), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("config", [plane.DETERMINISTIC, plane.CHURNED], ids=["no churn", "churn"])
def test_paths_end_in_draws_of_the_mixture(config) -> None:
    noise = torch.randn(4000, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    fresh = torch.Generator().manual_seed(1)
    drawn = sample(mixture.both(), noise, config, lambda _: torch.randn(noise.shape, generator=fresh)).flatten(1)
    means = mixture.both().means
    truth = means.T @ means / len(means) + mixture.SPREAD**2 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), truth, rtol=0.1, atol=0.05)
    assert float(mixture.both().log_density(drawn, 0.0).mean()) > -2.0  # near a Gaussian of the mixture


def test_tangents_of_the_paths_end_at_the_denoisers_output() -> None:
    data = curves.slope()
    sigmas, paths = data["sigmas"], data["paths"]
    slopes = np.gradient(paths, sigmas, axis=0)
    pointed = paths - sigmas[:, None] * slopes
    np.testing.assert_allclose(pointed[5:-5], data["denoised"][5:-5], atol=5e-3)


def digits_like() -> torch.Tensor:
    """Images of two grey levels, whose spread is known."""
    images = torch.full((200, 1, 8, 8), 64, dtype=torch.uint8)
    images[::2] = 191
    return images


def test_inputs_and_targets_of_the_network_have_unit_variance() -> None:
    images = digits_like()
    sigma_data = float((images.double() / 127.5 - 1).std())
    data = curves.preconditioning(images, sigma_data)
    np.testing.assert_allclose(data["input_variance"], 1, atol=0.05)
    np.testing.assert_allclose(data["target_variance"], 1, atol=0.05)


def test_the_coefficients_behave_as_drawn() -> None:
    data = curves.preconditioning(digits_like(), 0.5)
    assert data["c_skip"][0] > 0.999 and data["c_out"][0] < 0.01  # D returns x
    assert data["c_skip"][-1] < 0.001 and data["c_out"][-1] == pytest.approx(0.5, rel=1e-3)  # the network paints alone
    np.testing.assert_allclose(data["c_out"] ** 2, data["sigma"] ** 2 * data["c_skip"])
    np.testing.assert_allclose(data["weight"] * data["c_out"] ** 2, 1)
    assert (np.diff(data["c_skip"]) < 0).all() and (np.diff(data["c_out"]) > 0).all()


def test_the_target_is_the_noise_at_low_levels_and_the_image_at_high_ones() -> None:
    images = digits_like()
    data = curves.targets(images, 0.5)
    noise = (data["inputs"][0] * np.hypot(0.01, 0.5) - data["image"]) / 0.01
    np.testing.assert_allclose(data["targets"][0], -noise, atol=0.05)
    np.testing.assert_allclose(data["targets"][-1], data["image"] / 0.5, atol=0.05)


def test_a_reshape_mixes_pixels_of_several_images() -> None:
    rows = torch.arange(12.0).reshape(4, 3)  # four images of three pixels
    scrambled = pictures.scrambled_rows(rows)
    assert scrambled.shape == rows.shape and not torch.equal(scrambled, rows)
    assert scrambled[0].tolist() == [0.0, 4.0, 8.0]  # of the images 0, 1 and 2


def test_check_compares_and_writes_nothing(monkeypatch, tmp_path: Path) -> None:
    shown = theory.Shown("schedules", curves.schedules(), lambda data, theme: None)
    monkeypatch.setattr(theory, "figures", lambda store: iter([shown]))
    monkeypatch.setattr("sys.argv", ["theory.py", str(tmp_path), "--check"])
    with pytest.raises(SystemExit) as end:
        theory.main()
    assert end.value.code is None
    shown.data["vp"] = shown.data["vp"] * 1.01
    monkeypatch.setattr(theory, "figures", lambda store: iter([shown]))
    with pytest.raises(SystemExit, match="schedules: vp differs from its record"):
        theory.main()
