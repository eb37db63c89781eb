"""A sweep's record in one file: all that its report and its MLflow runs are made from, on any machine.

    manifest.json    what this is, and of every other file its SHA-256, its size and its time
    sweep.json       the sweep (sweep/serialisation.py)
    trainings/<signature>/..., evaluations/<signature>/..., classifiers/<signature>/..., diffs/..., code/...
                     as in a store, without weights and features
    extensions/<code>/...    the files of the extensions that made the results; kept, and never run by a report

The last 64 bytes of the file, which other programs take for its comment, are the SHA-256 of all bytes before them.
Nothing is unpacked before that checksum and every name have been checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.errors import UserError
from experiments.store.code_files import SEVERAL, code_path
from experiments.store.files import replacing
from experiments.store.folders import listed
from experiments.store.json_text import parse_json
from experiments.store.layout import (
    ACCEPTED,
    CONFIG,
    DENOISING,
    FAILURE,
    GRIDS,
    INFLUENCES,
    JOURNAL,
    LOG,
    PAIRS,
    PRUNED,
    RESULT,
    SAMPLES,
    VALIDATION,
)
from experiments.store.provenance import diff_path
from experiments.store.results import ClassifierRecord, DatasetRecord, EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.tracking.anonymous import anonymous_file, anonymous_json
from experiments.wording import printable, shortened, size

FORMAT = "edm-sweep bundle 1"
MANIFEST, SWEEP = "manifest.json", "sweep.json"
OF_TRAININGS = (CONFIG, RESULT, ACCEPTED, JOURNAL, VALIDATION, PRUNED, FAILURE, LOG)
OF_CLASSIFIERS = (CONFIG, RESULT, ACCEPTED, LOG)
OF_EVALUATIONS = (CONFIG, RESULT, ACCEPTED, INFLUENCES, SAMPLES, DENOISING, PAIRS, FAILURE, LOG)
NAME = re.compile(
    r"data/[0-9a-f]{20}/result\.json"
    r"|(trainings|evaluations|classifiers|diffs|code|extensions)/[0-9a-f]{20}(\.patch|\.json|(/[\w.-]+){1,2})"
)
LARGEST = 2**30  # bytes of one file: a record holds no weights
LARGEST_MANIFEST = 2**26
RATIO, ALWAYS = 50, 2**27  # how many times its own size, and how many bytes in any case, a bundle may take unpacked
BLOCK = 2**20
MOST_NAME = 200  # characters of a store's name
MOST_FILES = 100_000
SEAL = 64  # hex digits at the file's end
WHEN = (1980, 1, 1, 0, 0, 0)  # of all entries, so that the same record makes the same file; true times are listed

UNREADABLE = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    NotImplementedError,
    RecursionError,
)
OnFiles = Callable[[int, int], None]


def is_bundle(path: Path) -> bool:
    """Return whether a path is meant as a bundle."""
    return path.suffix == ".zip"


# packing ------------------------------------------------------------------------------------------


def export(
    plan: Plan,
    store: Store,
    out: Path,
    on_progress: OnFiles = lambda done, total: None,
    with_provenance: bool = False,
) -> dict[str, Any]:
    """Write what a report of a sweep needs into one file, whole or not at all; returns its manifest.

    with_provenance: with host names, absolute paths, commands, logs and uncommitted changes of the code as well.
    Raises UserError where no task of the sweep is done, a file of it cannot be read, or the bundle cannot be written.
    """
    files = list(_files(plan, store, with_provenance))
    if not any(name.endswith(RESULT) for name, _ in files):
        raise UserError(f"{plan.sweep.name}: no task of it is done in {store.root}; run it first")
    sweep = _sweep(plan, with_provenance)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "sweep": plan.sweep.name,
        "store": store.name if with_provenance else Path(store.name).name,
        "files": {SWEEP: _entry(sweep, 0)},
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, SWEEP, sweep)
            for number, (name, path) in enumerate(files, 1):
                content, modified_ns = _read(path)
                content = content if with_provenance else anonymous_file(name, content)
                manifest["files"][name] = _entry(content, modified_ns)
                _add(archive, name, content)
                on_progress(number, len(files))
            _add(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
            archive.comment = b"0" * SEAL
            archive.close()
            _seal(temporary)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another place") from None
    return manifest


def _read(path: Path) -> tuple[bytes, int]:
    """Return the content of a file in a store, and its time; raises UserError."""
    try:
        return path.read_bytes(), path.stat().st_mtime_ns
    except FileNotFoundError:
        raise UserError(f"{path}: was deleted meanwhile, as by 'gc' or another run; export again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give this account access to it") from None


def _sweep(plan: Plan, with_provenance: bool) -> bytes:
    """Return a plan as JSON; raises UserError where it would be another plan without the paths in it."""
    content = plan_to_json(plan)
    if not with_provenance:
        content = anonymous_json(content)
        again = plan_from_json(json.loads(json.dumps(content)), Path(SWEEP))
        if again.evaluations.keys() != plan.evaluations.keys():
            raise UserError(
                f"{plan.sweep.name}: folders or files that it names have the same name in different places; give "
                "--with-provenance to export their paths"
            )
    return (json.dumps(content) + "\n").encode()


def _files(plan: Plan, store: Store, with_provenance: bool) -> Iterator[tuple[str, Path]]:
    """Yield the files of a plan in a store, each with its name in a bundle."""
    diffs: set[str] = set()
    code: set[str] = set()
    classifiers = {space.classifier for task in plan.evaluations.values() for space, _ in task.spaces}
    of_type: dict[type[TrainingResult | EvaluationResult | ClassifierRecord], tuple[Iterable[str], tuple[str, ...]]] = {
        TrainingResult: (plan.trainings, OF_TRAININGS),
        EvaluationResult: (plan.evaluations, OF_EVALUATIONS),
        ClassifierRecord: (sorted(filter(None, classifiers)), OF_CLASSIFIERS),
    }
    for result_type, (tasks, names) in of_type.items():
        kept = [name for name in names if with_provenance or name != LOG]
        for signature in tasks:
            result = store.result(result_type, signature)  # one that is damaged is set aside, and not packed
            if result is not None:
                diffs |= {result.provenance.git_diff or ""} if with_provenance else set()
                code |= {digest for digests in result.code.values() for digest in digests.split(SEVERAL)}
            folder = store.folder(result_type.kind, signature)
            paths = [folder / name for name in kept] + listed(folder / GRIDS, "[!.]*.png")
            yield from _named(paths, store)
    yield from _named((_record(source, store) for source in plan.sources if _is_told_of(source, store)), store)
    yield from _named(sorted(diff_path(store, digest) for digest in diffs if digest), store)
    yield from _named(sorted(code_path(store, digest) for digest in code), store)
    for extension in plan.extensions:
        yield from _named(sorted(store.folder("extensions", extension).glob("[!.]*")), store)


def _record(source: str, store: Store) -> Path:
    return store.folder("data", source) / RESULT


def _is_told_of(source: str, store: Store) -> bool:
    """Return whether the record of a data set has what a report shows: names of classes, or what was noticed."""
    record = store.result(DatasetRecord, source)
    return record is not None and any((record.source or {}).get(key) for key in ("classes", "noticed"))


def _named(paths: Iterable[Path], store: Store) -> Iterator[tuple[str, Path]]:
    """Yield those of some paths in a store that are files, each with its name in a bundle."""
    return ((path.relative_to(store.root).as_posix(), path) for path in paths if path.is_file())


def _entry(content: bytes, modified_ns: int) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "modified_ns": modified_ns}


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, WHEN), content, zipfile.ZIP_DEFLATED)


def _seal(path: Path) -> None:
    with path.open("r+b") as file:
        digest = _digest(path)
        file.seek(-SEAL, os.SEEK_END)
        file.write(digest)


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file without its seal."""
    left, found = path.stat().st_size - SEAL, hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            found.update(block)
    return found.hexdigest().encode()


# unpacking ----------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[tuple[Plan, Store]]:
    """Yield the plan of a bundle, and a store that holds its record for as long as the block lasts.

    Raises UserError where the file is not a bundle, a name in it leads elsewhere, or a byte of it was changed.
    """
    with tempfile.TemporaryDirectory(prefix="edm-sweep-bundle-") as folder:
        root = Path(folder)
        try:
            _require_sealed(path)
            with zipfile.ZipFile(path) as archive:
                manifest = _manifest(archive, path)
                for name, entry in manifest["files"].items():
                    _unpack(archive, name, entry, root, path)
            store = Store(root, shortened(printable(str(manifest["store"])), MOST_NAME))
            plan = plan_from_json(parse_json((root / SWEEP).read_bytes()), path, store)
        except FileNotFoundError:
            remedy = f"to make one: edm-sweep export SWEEP {shlex.quote(str(path))}"
            raise UserError(f"{path}: no such file; {remedy}") from None
        except UNREADABLE as error:
            raise _refused(path, f"{type(error).__name__}: {shortened(str(error))}") from None
        try:
            yield plan, store
        except UNREADABLE as error:  # what a bundle says may have any type; its own files are checked to the byte
            reason = f"{type(error).__name__}: {shortened(str(error))}"
            raise UserError(f"{path}: holds a record that cannot be used ({reason}); export it again") from error


def bundle_digest(path: Path) -> str:
    """Return what tells a bundle from others of the same sweep: how the SHA-256 of its content begins."""
    return _digest(path)[:8].decode()


def _require_sealed(path: Path) -> None:
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if not is_archive:
        raise UserError(f"{path}: is not a bundle; 'edm-sweep export SWEEP' makes one")
    with path.open("rb") as file:
        file.seek(-SEAL, os.SEEK_END)
        seal = file.read()
    if seal != _digest(path):
        raise _refused(path, "it was changed after it was exported")


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """Return what a bundle says it holds, after checking that its names are those and lead nowhere else."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise UserError(f"{path}: is not a bundle, because it has no {MANIFEST}; 'edm-sweep export SWEEP' makes one")
    if len(names) > MOST_FILES:
        raise _refused(path, f"it has {len(names):,} files, which no record has")
    sizes = [member.file_size for member in archive.infolist()]
    if sum(sizes) > max(RATIO * path.stat().st_size, ALWAYS) or archive.getinfo(MANIFEST).file_size > LARGEST_MANIFEST:
        raise _refused(path, f"it would take {size(sum(sizes))} unpacked, which no record does")
    manifest = parse_json(archive.read(MANIFEST))
    if manifest.get("format") != FORMAT:
        raise UserError(f"{path}: was made by another version of edm-sweep ({manifest.get('format')}); export it again")
    for name in (*names, *manifest["files"]):
        if name not in (MANIFEST, SWEEP) and (NAME.fullmatch(name) is None or ".." in PurePosixPath(name).parts):
            raise _refused(path, f"it holds {shortened(name, MOST_NAME)!r}, which is not the name of a record")
    if len(set(names)) != len(names) or set(names) != {MANIFEST, *manifest["files"]}:
        raise _refused(path, "its files are not those that its manifest lists")
    return manifest


def _unpack(archive: zipfile.ZipFile, name: str, entry: dict[str, Any], root: Path, path: Path) -> None:
    if archive.getinfo(name).file_size != entry["bytes"] or entry["bytes"] > LARGEST:
        raise _refused(path, f"{name} does not have the size that its manifest lists")
    target, digest = root / name, hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as output:
        while block := source.read(BLOCK):
            digest.update(block)
            output.write(block)
    if digest.hexdigest() != entry["sha256"]:
        raise _refused(path, f"{name} does not have the checksum that its manifest lists")
    os.utime(target, ns=(entry["modified_ns"], entry["modified_ns"]))  # MLflow's times of a run follow from it


def _refused(path: Path, why: str) -> UserError:
    return UserError(f"{path}: is refused because {why}; get it again from where it was exported")
