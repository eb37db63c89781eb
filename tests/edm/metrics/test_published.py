"""Published reference statistics: both layouts are read, and everything else is answered in one sentence."""

import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from edm.metrics.fid import Reference, Statistics, frechet_distance
from edm.metrics.published import StatisticsError, load_statistics

D = 6


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(50, D)) @ np.diag([3, 2, 1, 1, 0.5, 0.1]) + 1


@pytest.fixture
def moments(features):
    return {"mu": features.mean(axis=0), "sigma": np.cov(features, rowvar=False)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reference.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["NVlabs", "pytorch-fid"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 0), (np.float32, 1e-6)])
def test_mean_and_covariance_are_read_in_float64(moments, path, save, dtype, tolerance):
    save(path, **{name: array.astype(dtype) for name, array in moments.items()})
    reference = load_statistics(path, D)
    assert isinstance(reference, Reference) and reference.count is None
    assert reference.mean.dtype == reference.covariance.dtype == torch.float64
    torch.testing.assert_close(reference.mean, torch.from_numpy(moments["mu"]), rtol=tolerance, atol=0)
    torch.testing.assert_close(reference.covariance, torch.from_numpy(moments["sigma"]), rtol=tolerance, atol=tolerance)


def test_what_else_is_in_the_file_does_not_matter(moments, path):
    np.savez(path, **moments, mu_s=np.zeros(3), arr_0=np.zeros((2, 2), dtype=np.uint8))
    assert torch.equal(load_statistics(path, D).mean, torch.from_numpy(moments["mu"]))


def test_a_file_of_the_same_images_is_at_distance_0(features, moments, path):
    np.savez(path, **moments)
    same = Statistics.of(torch.from_numpy(features))
    assert frechet_distance(same, load_statistics(path, D)) < 1e-10
    moved = Statistics.of(torch.from_numpy(features) + 2)
    assert frechet_distance(moved, load_statistics(path, D)) == pytest.approx(4 * D, rel=1e-9)


def test_a_covariance_that_float32_rounded_is_made_symmetric(moments, path):
    noise = np.random.default_rng(1).normal(size=(D, D)) * 1e-7
    singular = moments["sigma"] - np.linalg.eigvalsh(moments["sigma"])[0] * np.eye(D)
    np.savez(path, mu=moments["mu"], sigma=singular + noise)
    covariance = load_statistics(path, D).covariance
    assert torch.equal(covariance, covariance.T)
    torch.testing.assert_close(covariance, torch.from_numpy(singular), rtol=0, atol=1e-6)


def without(moments, name):
    return {key: array for key, array in moments.items() if key != name}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: without(m, "mu"), "has no mu, only sigma;"),
        (lambda m: {"mu": m["mu"], "images": np.zeros(2)}, "has no sigma, only mu, images;"),
        (lambda m: {}, "has no mu, only nothing;"),
        (lambda m: {**m, "mu": m["mu"][None]}, r"mu is \(1, 6\) and sigma \(6, 6\)"),
        (lambda m: {**m, "sigma": m["sigma"][:5]}, r"mu is \(6,\) and sigma \(5, 6\)"),
        (lambda m: {**m, "sigma": np.diag(m["sigma"])}, r"sigma \(6,\)"),
        (
            lambda m: {"mu": m["mu"][:4], "sigma": m["sigma"][:4, :4]},
            "has 4 features where 6 are compared: it is of an",
        ),
        (lambda m: {**m, "mu": m["mu"] * np.nan}, "mu has values that are not finite"),
        (lambda m: {**m, "sigma": m["sigma"] + np.diag([0, np.inf, 0, 0, 0, 0])}, "sigma has values that are not fin"),
        (lambda m: {**m, "sigma": m["sigma"] + np.triu(np.full((D, D), 1e-2))}, "sigma is not symmetric"),
        (lambda m: {**m, "sigma": m["sigma"] - 0.5 * np.eye(D)}, "sigma is of a negative eigenvalue"),
        (lambda m: {**m, "sigma": -m["sigma"]}, "sigma is of a negative eigenvalue"),
        (lambda m: {**m, "mu": m["mu"].astype(complex)}, "mu has complex128 values"),
        (lambda m: {**m, "mu": np.array(["a"] * D)}, "mu has <U1 values"),
        (lambda m: {**m, "mu": np.array([None] * D)}, r"is not an \.npz file of plain arrays"),
    ],
)
def test_arrays_that_are_no_statistics_are_answered(moments, path, change, expected):
    np.savez(path, **change(moments))
    with pytest.raises(StatisticsError, match=expected) as refusal:
        load_statistics(path, D)
    assert str(refusal.value).startswith(f"{path}: ") and "; g" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut short", b"\x80\x04N."], ids=repr)
def test_files_of_another_kind_are_answered(path, content):
    path.write_bytes(content)
    with pytest.raises(StatisticsError, match=r"is not an \.npz file of plain arrays"):
        load_statistics(path, D)


def test_a_damaged_archive_is_answered(moments, path):
    np.savez_compressed(path, **moments)
    content = bytearray(path.read_bytes())
    content[60:160] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(StatisticsError, match=r"is not an \.npz file of plain arrays"):
        load_statistics(path, D)


def test_a_single_array_is_answered(tmp_path):
    np.save(tmp_path / "mu.npy", np.zeros(D))
    with pytest.raises(StatisticsError, match=r"is not an \.npz file of plain arrays"):
        load_statistics(tmp_path / "mu.npy", D)


def test_a_pickle_is_never_opened(tmp_path):
    path = tmp_path / "reference.pkl"
    path.write_bytes(b"cos\nabort\n(tR.")  # would end this process
    with pytest.raises(StatisticsError, match="pickles are not opened"):
        load_statistics(path, D)
    with pytest.raises(StatisticsError, match=r"is not an \.npz file"):
        load_statistics(path.rename(tmp_path / "renamed.npz"), D)


@pytest.mark.parametrize("name", ["absent.npz", ""])
def test_a_file_that_is_not_there_is_answered(tmp_path, name):
    with pytest.raises(StatisticsError, match="no such file"):
        load_statistics(tmp_path / name, D)


def hostile_header(shape: str, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (hostile_header("(100000000000,)"), "mu claims 100,000,000,000 values, more than statistics have"),
        (hostile_header("(1000000,)"), "mu claims 1,000,000 values and has fewer"),
        (hostile_header("(4,)", "<U100000000"), "mu claims 4 values, more than statistics have"),
        (hostile_header("(-4,)"), r"is not an \.npz file of plain arrays|mu claims -4 values|mu is"),
        (hostile_header("(" * 60 + "4"), r"is not an \.npz file of plain arrays"),
        (hostile_header("'a'"), r"is not an \.npz file of plain arrays"),
        (b"", r"is not an \.npz file of plain arrays"),
    ],
)
def test_an_array_that_claims_more_than_it_has_is_answered(path, member, expected):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", member)
        archive.writestr("sigma.npy", member)
    tracemalloc.start()
    try:
        with pytest.raises(StatisticsError, match=expected):
            load_statistics(path, D)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


def test_names_of_arrays_are_not_printed_raw(path):
    np.savez(path, **{"\x1b[31mred\n" + "x" * 1000: np.zeros(1)})
    with pytest.raises(StatisticsError) as refusal:
        load_statistics(path, D)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 600
