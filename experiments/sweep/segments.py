"""How images are cut into segments, which are drawn and measured as one and may each be drawn by another trial."""

from collections.abc import Iterator

SEGMENT_IMAGES = 1000  # drawings and references in every store are cut so


def segments(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each segment that overlaps images start to stop - 1; the last one is cut at `stop`."""
    for first in range(start - start % SEGMENT_IMAGES, stop, SEGMENT_IMAGES):
        yield first, segment_stop(first, stop)


def segment_starts(count: int) -> range:
    """Return where the segments of `count` images begin."""
    return range(0, count, SEGMENT_IMAGES)


def segment_stop(start: int, count: int) -> int:
    """Return where the segment that begins with image `start` ends if there are `count` images."""
    return min(start + SEGMENT_IMAGES, count)
