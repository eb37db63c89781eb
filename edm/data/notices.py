"""What is noticed about images as they are decoded, and what a person should know of it once all are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edm.config import Split

Notice = Literal["small", "frames", "dark"]
DARK = 2**12  # 16-bit images whose values are all below it come out nearly black
ONE, SEVERAL = {"is": "is", "was": "was", "has": "has"}, {"is": "are", "was": "were", "has": "have"}
SENTENCES: dict[Notice, str] = {
    "small": "{is} smaller than {size} and {was} enlarged, which blurs",
    "frames": "{has} several frames or pages, of which the first was taken",
    "dark": "{has} 16 bits but no value above 4,095, which is nearly black; scale the values to 16 bits",
}


@dataclass(frozen=True)
class Noticed:
    """How many images there is a notice about, and the number of the first of them."""

    count: int
    first: int


NameOf = Callable[[int], str]  # an image by its number
Summary = Mapping[Notice, Noticed]


def repeated(digests: Sequence[bytes], splits: Mapping[Split, Sequence[int]], name_of: NameOf) -> Iterator[str]:
    """Yield a sentence if images of val or test are in train, too, as files of the same content."""
    trained = {digests[i]: i for i in reversed(splits["train"])}
    others = [i for split in ("val", "test") for i in splits[split]]
    found = [i for i in others if digests[i] in trained]
    if found:
        are, example = (
            "is" if len(found) == 1 else "are",
            f"{name_of(found[0])} is {name_of(trained[digests[found[0]]])}",
        )
        yield (
            f"{len(found):,} of {len(others):,} images in val and test {are} in train, too ({example}), "
            "so that networks are scored on images that they have seen; remove them from one side"
        )


def summed_up(notices: Sequence[tuple[Notice, ...]], start: int) -> Summary:
    """Return what was noticed about consecutive images, of which the first has number `start`."""
    numbers: dict[Notice, list[int]] = {}
    for number, about in enumerate(notices, start):
        for notice in about:
            numbers.setdefault(notice, []).append(number)
    return {notice: Noticed(len(found), found[0]) for notice, found in numbers.items()}


def merged(summaries: Iterable[Summary]) -> Summary:
    """Return what was noticed in several runs of images."""
    whole: dict[Notice, Noticed] = {}
    for summary in summaries:
        for notice, found in summary.items():
            before = whole.get(notice, Noticed(0, found.first))
            whole[notice] = Noticed(before.count + found.count, min(before.first, found.first))
    return whole


def to_text(summary: Summary) -> str:
    """Return a summary as JSON in one line."""
    return json.dumps({notice: [found.count, found.first] for notice, found in summary.items()})


def from_text(text: str) -> Summary:
    """Return the summary that `to_text` wrote."""
    return {notice: Noticed(count, first) for notice, (count, first) in json.loads(text or "{}").items()}


def sentences(summary: Summary, name_of: NameOf, count: int, resolution: int) -> Iterator[str]:
    """Yield a sentence for each thing that was noticed. name_of: of an image by its number. count: of all images."""
    for notice, found in summary.items():
        verbs = ONE if found.count == 1 else SEVERAL
        text = SENTENCES[notice].format(**verbs, size=f"{resolution}x{resolution}")
        example = name_of(found.first) + ("" if found.count == 1 else " first")
        yield f"{found.count:,} of {count:,} images ({example}) {text}"
