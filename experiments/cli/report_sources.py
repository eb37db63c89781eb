"""What a report is made from: sweeps, files and bundles, with the store or the server that has their results."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from experiments.cli.sweeps import plan_of
from experiments.errors import UserError
from experiments.names import is_part
from experiments.redaction import redact, without_paths
from experiments.store.layout import DENOISING, PAIRS, SAMPLES
from experiments.store.sweep_names import variant_name

if TYPE_CHECKING:
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from experiments.sweep.spec import ReportConfig
    from experiments.tracking.costs import TrainingCosts
    from experiments.tracking.frames import EvaluationScores
    from reports.layout import Layout
    from reports.report import Report
    from reports.significance import PairedErrors

PICTURES = (SAMPLES, PAIRS, DENOISING)  # of an evaluation
STATES = {"waiting": "planned", "done": "planned"}  # what a report calls them; done: without a score asked for since


@dataclass(frozen=True)
class Source:
    """A sweep with the store that has its results. tracking_uri: of MLflow, if scores come from there.

    origin: what the report calls the store, if not by its name. name: of the report's folder.
    downloads: a folder for what comes from a tracking server. run_links: if scores come from the store and are recorded
    elsewhere, the addresses of tasks there, by signature.
    """

    plan: Plan
    store: Store
    name: str
    tracking_uri: str | None = None
    origin: str = ""
    downloads: Path | None = None
    run_links: Mapping[str, str] | None = None

    @property
    def place(self) -> str:
        """Where the results are: a bundle, a tracking server, or the store's folder."""
        return self.origin or redact(self.tracking_uri or "") or str(self.store.root)

    @property
    def has_own_record(self) -> bool:
        """Whether MLflow's record is in the store, where `edm-sweep ui` serves it."""
        return not self.tracking_uri and not self.origin and self.run_links is None


@dataclass(frozen=True)
class ReportOptions:
    """How a report is made. allowed: fields in which cells of one table may differ.

    with_provenance: with host names and absolute paths.
    """

    allowed: tuple[str, ...] = ()
    with_provenance: bool = False


@contextmanager
def opened_sources(
    sweeps: Sequence[str], store: Path, overrides: tuple[str, ...] = (), tracking_uri: str | None = None
) -> Iterator[list[Source]]:
    """Yield the source of every sweep, file or bundle; bundles are unpacked for as long as the block lasts."""
    from experiments.store.store import Store
    from experiments.tracking.bundle import bundle_digest, is_bundle, opened

    with ExitStack() as stack:
        sources: list[Source] = []
        for text in sweeps:
            if not is_bundle(Path(text)):
                downloads = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edm-sweep-report-")))
                plan = _plan_of(text, store, overrides, tracking_uri, downloads)
                sources.append(Source(plan, Store(store), plan.sweep.name, tracking_uri, downloads=downloads))
                continue
            if overrides or tracking_uri:
                rule = "a bundle holds all that its report needs; leave --set and --tracking-uri out"
                raise UserError(f"{text}: {rule}")
            plan, bundled = stack.enter_context(opened(Path(text)))
            name = variant_name(plan.sweep.name, [f"bundle={bundle_digest(Path(text))}"])
            sources.append(Source(plan, bundled, name, origin=text))
        yield sources


def _plan_of(text: str, store: Path, overrides: tuple[str, ...], tracking_uri: str | None, downloads: Path) -> Plan:
    """Return the plan of a file, of a sweep that the store knows, or else of one that the tracking server knows."""
    from experiments.store.store import Store
    from experiments.store.sweep_records import means_sweep

    place = Store(store)
    if tracking_uri is None or overrides or means_sweep(text, place) or not is_part(text) or Path(text).exists():
        return plan_of(text, store, overrides)
    from experiments.tracking.remote import recall_plan_from  # heavy

    return recall_plan_from(tracking_uri, text, downloads, place)


def report_of(sources: Sequence[Source], options: ReportOptions | None = None) -> Report:
    """Return the report of one sweep, or one report of several."""
    options = options or ReportOptions()
    made = replace(_united(sources, options), allowed=options.allowed)
    return made if options.with_provenance else replace(made, shown=without_paths)


def _united(sources: Sequence[Source], options: ReportOptions) -> Report:
    from experiments.cli.unlike import unlike_fields
    from reports.combine import cell_name, combine_reports, unique_names

    if len(sources) == 1:
        return _report_of(sources[0], options)
    names = unique_names([source.plan.sweep.name for source in sources])
    found = [(name, source, _influences(source)) for name, source in zip(names, sources, strict=True)]
    files = {cell_name(name, cell): path for name, _, known in found for cell, path in known.items()}
    axes = tuple(dict.fromkeys(axis for source in sources for axis in source.plan.sweep.axes))
    made = {name: _report_of(source, options, axes) for name, source, _ in found}
    return combine_reports(made, _paired(files), unlike_fields({name: source.plan for name, source, _ in found}))


def _report_of(source: Source, options: ReportOptions, axes: tuple[str, ...] = ()) -> Report:
    """Return the report of a sweep. axes: of all sweeps that it is part of a report of."""
    from experiments.tracking.costs import with_costs
    from experiments.tracking.frames import results_frame
    from experiments.tracking.provenance import classifier_notes, image_notes, provenance_of
    from reports.labels import data_titles
    from reports.report import Report

    plan, store, uri = source.plan, source.store, source.tracking_uri
    found = _found_in_mlflow(source, uri) if uri else _found_in_store(plan, store, source.run_links)
    origin = f"MLflow at {redact(uri)}" if uri else source.origin or f"the store {store.name}"
    provenance = {"scores": origin, **provenance_of(plan, store)}
    if not options.with_provenance:
        provenance.pop("host", None)
        provenance["scores"] = "MLflow" if uri else without_paths(source.origin) or "the store"
    frame = with_costs(results_frame(plan, found.scores, axes), plan, found.costs)
    images = (*classifier_notes(plan, store, data_titles(frame)), *image_notes(plan, store))
    return Report(
        tuple(_layout(plan.sweep.name, table) for table in plan.sweep.report),
        frame,
        found.curves,
        found.pictures,
        provenance,
        paired=_paired(_influences(source)),
        pairs=found.pairs,
        denoising=found.denoising,
        links={cell: link for cell, link in found.links.items() if options.with_provenance or _is_local(link)},
        has_own_record=source.has_own_record,
        notes=(*plan.idle_axes, *plan.equivalences, *images),
        levels=found.levels,
        states=found.states,
        classes=_classes(plan, store),
    )


def _classes(plan: Plan, store: Store) -> tuple[str, ...]:
    """Return the names of the classes that all cells draw in turn; none where they differ or are not asked for."""
    from experiments.trials.data_records import class_names, numbered_class

    evaluations = plan.evaluations.values()
    if any(each.training.config.label_dropout == 1 or each.sampling.guidance == 0 for each in evaluations):
        return ()
    found = {(each.training.network.num_classes, class_names(each.training.data, store)) for each in evaluations}
    num_classes, names = found.pop() if len(found) == 1 else (0, ())
    return tuple(numbered_class(i, names) for i in range(num_classes)) if names else ()


@dataclass(frozen=True)
class _Found:
    """What is known of a sweep's results, wherever it was read. curves, levels: data frames."""

    scores: dict[str, EvaluationScores]
    costs: dict[str, TrainingCosts]
    curves: Any
    levels: Any
    pictures: dict[str, Path]
    pairs: dict[str, Path]
    denoising: dict[str, Path]
    states: dict[str, str]
    links: dict[str, str] = field(default_factory=dict[str, str])


def _found_in_store(plan: Plan, store: Store, run_links: Mapping[str, str] | None = None) -> _Found:
    from experiments.tracking.costs import costs_in_store
    from experiments.tracking.frames import curves_frame, levels_frame, scores_in_store

    scores = scores_in_store(plan, store)
    folders = {plan.cell_name(p): store.folder_of(p.evaluation) for p in plan.cells}
    samples, pairs, denoising = (
        {cell: path for cell, folder in folders.items() if (path := folder / name).exists()} for name in PICTURES
    )
    return _Found(
        scores,
        costs_in_store(plan, store),
        curves_frame(plan, store),
        levels_frame(plan, store),
        samples,
        pairs,
        denoising,
        _states(plan, store) if len(scores) < len(plan.evaluations) else {},
        _links_of_cells(plan, run_links or {}),
    )


def _found_in_mlflow(source: Source, uri: str) -> _Found:
    """What MLflow has; of a store on this machine, its trainings' costs and curves say more."""
    from experiments.tracking.remote import ServerRecord

    record = ServerRecord(source.plan, uri)
    scores, local = record.scores(source.store), _found_in_store(source.plan, source.store)
    if local.scores:
        return replace(local, scores=scores, links=record.links())
    assert source.downloads is not None
    samples, pairs, denoising = (record.pictures(name, source.downloads) for name in PICTURES)
    losses = record.curves(), record.levels()
    return _Found(scores, record.costs(), *losses, samples, pairs, denoising, record.states(), record.links())


def _links_of_cells(plan: Plan, run_links: Mapping[str, str]) -> dict[str, str]:
    signatures = {plan.cell_name(planned): planned.evaluation.signature for planned in plan.cells}
    return {cell: run_links[signature] for cell, signature in signatures.items() if signature in run_links}


def _is_local(link: str) -> bool:
    """Whether an address names this machine, so that it says nothing about where a report was made."""
    return urlsplit(link).hostname in ("127.0.0.1", "localhost", "::1")


def _influences(source: Source) -> dict[str, Path]:
    from experiments.tracking.paired_errors import influence_files

    return influence_files(source.plan, source.store)


def _paired(files: dict[str, Path]) -> dict[str, PairedErrors]:
    from experiments.tracking.paired_errors import paired_deviations
    from reports.significance import PairedErrors

    return {metric: PairedErrors(*known) for metric, known in paired_deviations(files).items()}


def _states(plan: Plan, store: Store) -> dict[str, str]:
    """What happens to the cells that are not done, by name."""
    from experiments.inspection.status import StatusReader

    cells = StatusReader(plan, store).cells()
    return {cell.name: STATES.get(cell.status.state, cell.status.state) for cell in cells}


def _layout(sweep: str, table: ReportConfig) -> Layout:
    """A table of the sweep file as the report makes it."""
    from experiments.tracking.frames import plain_value
    from reports.layout import Layout

    baseline = {axis: plain_value(value) for axis, value in (table.baseline or {}).items()}
    texts, reference = (table.title or "", table.caption or ""), table.reference or ""
    shown = table.rows or (), table.columns, table.metrics
    return Layout(sweep, *shown, *texts, table.costs, baseline, reference, table.equal or "", table.changes)
