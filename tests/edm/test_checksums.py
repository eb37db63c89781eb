"""The SHA-256 of a file."""

from pathlib import Path

from edm.checksums import sha256_of


def test_the_sha256_of_a_file_is_the_published_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
