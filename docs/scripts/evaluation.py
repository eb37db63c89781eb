"""Draw the figure of docs/evaluation.md and print its numbers: `uv run python docs/scripts/evaluation.py [STORE]`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from edm.config import SPLITS, Split
from edm.metrics.fid import Reference, Statistics, frechet, frechet_distance
from edm.metrics.uncertainty import standard_error
from experiments.inspection.lookup import plan_of_file
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.context import EvaluationContext

HERE = Path(__file__).parent
SWEEP = HERE / "evaluation.yaml"
SIZES = (100, 150, 200, 300, 450, 600, 900, 1197)
SUBSETS = 40  # of every size
SEED = 0

METRICS = ("fid_train", "fid_val", "fid_test", "kid_test", "class_accuracy")


def main() -> None:
    """Run whatever the sweep still needs, then measure and draw; about a minute on two cores if the network is trained."""
    store = Store(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
    subprocess.run(["edm-sweep", "run", str(SWEEP), "--store", str(store.root)], check=True, stdout=subprocess.DEVNULL)
    plan = plan_of_file(str(SWEEP), store)
    torch.set_num_threads(1)
    spread(plan, store)
    reference_size(plan, store)


def spread(plan: Plan, store: Store) -> None:
    """Print how far the scores of fresh draws spread, beside the standard error that one draw gives."""
    frame = results_frame(plan, scores_in_store(plan, store))
    print(f"{len(frame)} draws of {plan.cells[0].cell.evaluation.images} images\n")
    print("| metric | mean | spread over draws | standard error, mean over draws |\n| --- | ---: | ---: | ---: |")
    for name in METRICS:
        print(f"| {name} | {frame[name].mean():.4f} | {frame[name].std():.4f} | {frame[f'{name}_se'].mean():.4f} |")
    scorer = EvaluationContext(store, plan.cells[0].evaluation, TrialContext("docs")).scorer(1000)
    for split in SPLITS:
        found = frechet(scorer.statistics, scorer.real.reference(split, scorer.sizes[split]))
        error = standard_error(torch.cat([found.influences(features) for features in scorer.measured]))
        print(f"the first draw's fid_{split} has {error:.4f} where the labels count as drawn by chance")


def reference_size(plan: Plan, store: Store) -> None:
    """Print and plot the FID of the same images against more and more train images, and against val and test."""
    contexts = [EvaluationContext(store, evaluation, TrialContext("docs")) for evaluation in plan.evaluations.values()]
    drawn = [context.scorer(1000).statistics for context in contexts]
    real = contexts[0].references
    features: dict[Split, torch.Tensor] = {
        split: torch.cat(list(real.features(split, 0, real.count(split)))) for split in SPLITS
    }
    score = _scorer(drawn)
    against: dict[Split, float] = {split: score(features[split]) for split in features}
    rng = np.random.default_rng(SEED)
    curve = {n: [score(features["train"][_some(rng, n)]) for _ in range(SUBSETS if n < 1197 else 1)] for n in SIZES}
    equal, every = float(np.mean(curve[300])), against["train"]
    print("\n| compared with | FID |\n| --- | ---: |")
    for split, value in against.items():
        print(f"| all {len(features[split]):,} {split} images | {value:.3f} |")
    print(f"| 300 train images, mean of {SUBSETS} subsets | {equal:.3f} ± {np.std(curve[300], ddof=1):.3f} |")
    others = (against["val"] + against["test"]) / 2
    print(
        f"\nfrom {every:.3f} to {others:.3f} (val and test): {(equal - every) / (others - every):.0%} by number alone"
    )
    _draw(curve, against)


def _some(rng: np.random.Generator, num: int) -> torch.Tensor:
    return torch.from_numpy(rng.permutation(1197)[:num])


def _scorer(drawn: list[Statistics]) -> Callable[[torch.Tensor], float]:
    def score(features: torch.Tensor) -> float:
        reference = Reference.of(Statistics.of(features))
        return float(np.mean([frechet_distance(statistics, reference) for statistics in drawn]))

    return score


def _draw(curve: dict[int, list[float]], against: dict[Split, float]) -> None:
    figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=110)
    sizes = np.array(list(curve))
    means, spreads = (np.array([f(values) for values in curve.values()]) for f in (np.mean, np.std))
    axes.errorbar(1 / sizes, means, yerr=spreads, fmt="o-", color="#175cd3", capsize=3, label="n train images")
    colours: dict[Split, str] = {"val": "#067647", "test": "#b54708"}
    for split, colour in colours.items():
        axes.plot([1 / 300], [against[split]], "D", color=colour, markersize=9, label=f"all 300 {split} images")
    axes.axvline(1 / 300, color="#98a2b3", linestyle=":", zorder=0)
    labelled = [n for n in SIZES if n != 900]  # too close to the last
    axes.set_xticks([1 / n for n in labelled], [f"1/{n}" for n in labelled], rotation=45, fontsize=8)
    axes.set_xlabel("1 / number of real images compared with")
    axes.set_ylabel("FID of the same 1,000 drawn images")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(HERE.parent / "images" / "reference_size.png")


if __name__ == "__main__":
    main()
