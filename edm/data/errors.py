"""The errors that everything about data sets raises, and how all files with a problem are named at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

MOST_NAMED = 10  # files that a message names

Item = TypeVar("Item")
Result = TypeVar("Result")


class DataError(ValueError):
    """A data set cannot be had, or is not what it should be; the message names the file or folder and the remedy."""


@dataclass(frozen=True)
class FileProblem:
    """Why a file cannot be used, and what to do. remedy_of_several: what to do where several files have problems."""

    path: str
    text: str
    remedy: str
    remedy_of_several: str = "replace or remove them"


class FilesError(DataError):
    """Files of a data set cannot be used. problems: one for each file."""

    def __init__(self, *problems: FileProblem) -> None:
        self.problems = sorted(dict.fromkeys(problems), key=lambda problem: _by_numbers(problem.path))
        super().__init__(_sentence(self.problems))


def _by_numbers(path: str) -> list[tuple[int, str]]:
    """Return what sorts row 9 before row 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", path)]


def unreadable(error: OSError) -> FilesError:
    """Return the error for a file or folder that the system could not read."""
    problem = f"cannot be read ({error.strerror})"
    one, several = "make it readable or remove it", "make them readable or remove them"
    return FilesError(FileProblem(str(error.filename), problem, one, several))


def caught(work: Callable[[Item], Result]) -> Callable[[Item], Result | FilesError]:
    """Return `work` that returns its FilesError instead of raising it."""

    def attempt(item: Item) -> Result | FilesError:
        try:
            return work(item)
        except FilesError as error:
            return error

    return attempt


def require_all(results: Iterable[Result | FilesError]) -> Iterator[Result]:
    """Yield results up to the first error; the rest is only looked at, to raise one FilesError for all problems."""
    problems: list[FileProblem] = []
    for result in results:
        if isinstance(result, FilesError):
            problems += result.problems
        elif not problems:
            yield result
    if problems:
        raise FilesError(*problems)


def listed(names: Sequence[str]) -> str:
    """Return names as text: all of them if they are few, else the first ones and how many more there are."""
    *first, last = names if len(names) <= MOST_NAMED else [*names[:MOST_NAMED], _more(len(names))]
    return f"{', '.join(first)} and {last}" if first else last


def _more(count: int) -> str:
    return f"{count - MOST_NAMED:,} more"


def _sentence(problems: Sequence[FileProblem]) -> str:
    """Return one sentence about all files, which names those with the same problem together."""
    if len(problems) == 1:
        (only,) = problems
        return f"{only.path}: {only.text}; {only.remedy}"
    folder = os.path.commonpath([Path(problem.path).parent for problem in problems])
    names: dict[str, list[str]] = {}
    for problem in problems[:MOST_NAMED]:
        names.setdefault(problem.text, []).append(Path(problem.path).relative_to(folder).as_posix())
    parts = [f"{listed(named)}: {text}" for text, named in names.items()]
    parts += [f"and {_more(len(problems))}"] if len(problems) > MOST_NAMED else []
    remedies = dict.fromkeys(problem.remedy_of_several for problem in problems)
    what = "images" if any(re.search(r" row \d+$", problem.path) for problem in problems) else "files"
    return f"{folder}: {len(problems):,} {what} cannot be used; {'; '.join(parts)}; {' or '.join(remedies)}"
