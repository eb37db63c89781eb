"""Stops a process inside a function, or sets its clock wrong, from outside: no product code knows of it.

Python imports this by itself where the folder is on PYTHONPATH; Ray's workers inherit that. EDM_TRIPWIRE says, as JSON,
what to do; tests/faults/harness.py writes it. Without that variable nothing happens.
"""

import functools
import importlib.abc
import json
import os
import re
import sys
import time
from pathlib import Path

LONGEST_S = 600.0  # a test that has died lets nobody wait for ever


def told(argument):
    """An argument as a wire's pattern sees it: paths and words, its own or those that it holds."""
    if isinstance(argument, str | Path):
        return str(argument)
    return " ".join(str(value) for value in getattr(argument, "__dict__", {}).values() if isinstance(value, str | Path))


def stop_if_asked(wire, folder, arguments):
    """On the wire's call, counted over all processes, say that it is reached and wait to be let go."""
    if wire["matching"] and not any(re.search(wire["matching"], told(argument)) for argument in arguments):
        return
    number = 1
    while not claimed(folder / f"{wire['name']}.call-{number}"):
        number += 1
    if number != wire["nth"]:
        return
    temporary = folder / f"{wire['name']}.part"
    temporary.write_text(str(os.getpid()))
    temporary.rename(folder / f"{wire['name']}.reached")
    deadline = time.monotonic() + LONGEST_S
    while not (folder / f"{wire['name']}.go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def claimed(path):
    """Whether this call was the first to take a number."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def lay(module, wire, folder):
    """Put a wire before a function of a module, or of a class in it."""
    *owners, name = wire["function"].split(".")
    owner = functools.reduce(getattr, owners, module)
    function = getattr(owner, name)

    @functools.wraps(function)
    def wired(*args, **kwargs):
        stop_if_asked(wire, folder, (*args, *kwargs.values()))
        return function(*args, **kwargs)

    setattr(owner, name, wired)


class Finder(importlib.abc.MetaPathFinder):
    """Lays the wires of a module as soon as it has been imported, before anybody takes a function out of it."""

    def __init__(self, wires, folder, changes):
        self.wires, self.folder, self.changes = wires, folder, changes

    def find_spec(self, fullname, path=None, target=None):
        wires = [wire for wire in self.wires if wire["module"] == fullname]
        change = self.changes.get(fullname)
        if not wires and change is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for wire in wires:
                lay(module, wire, self.folder)
            if change is not None:
                change(module)

        spec.loader.exec_module = exec_module
        return spec


def shorten_leases(stale_s):
    """Return what makes leases end after so many seconds, and their holders count up more often."""

    def change(module):
        object.__setattr__(module.STANDARD_TIMING, "stale_s", stale_s)
        object.__setattr__(module.STANDARD_TIMING, "beat_s", stale_s / 12)

    return change


def fail_first_start(noted):
    """Return what lets Ray give up its first start, as it does where its node does not answer in time."""

    def change(module):
        init = module.init

        def slow(*args, **kwargs):
            if claimed(Path(noted)):
                raise Exception("The current node timed out during startup.")
            return init(*args, **kwargs)

        module.init = slow

    return change


def set_clock(ahead_s, corrected):
    """Let the clock be ahead until a file appears: then it jumps."""
    real, real_ns = time.time, time.time_ns

    def off():
        return 0 if Path(corrected).exists() else ahead_s

    time.time = lambda: real() + off()
    time.time_ns = lambda: real_ns() + int(off() * 1e9)


if "EDM_TRIPWIRE" in os.environ:
    asked = json.loads(os.environ["EDM_TRIPWIRE"])
    place = Path(asked["folder"])
    changes = {}
    if asked["lease_s"]:
        changes["experiments.store.lease_watch"] = shorten_leases(asked["lease_s"])
    if "EDM_FAULTS_SLOW_RAY" in os.environ:
        changes["ray"] = fail_first_start(os.environ["EDM_FAULTS_SLOW_RAY"])
    sys.meta_path.insert(0, Finder(asked["wires"], place, changes))
    if asked["clock_ahead_s"]:
        set_clock(asked["clock_ahead_s"], place / "clock.go")
