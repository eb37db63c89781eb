"""Reads NVlabs' pickles without running any of their code.

The files are plain pickles of dictionaries whose networks are "persistent" objects: the source of their class, its
name, and the state of an instance. Here each name that such a file may refer to stands for a harmless class or function
of this module, which only keeps what it is given; any other name is refused. Source code is not even looked at.
Storages of tensors, which are files of torch inside the pickle, are read by torch with `weights_only`.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from edm.pretrained.errors import PretrainedError, in_a_line


class Opaque:
    """An object that nothing here needs, such as an array of numpy: what it is made of is dropped."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


class Mapped(dict[Any, Any]):
    """A dictionary, whatever further attributes a file gives it."""

    def __setstate__(self, _state: object) -> None:
        pass


@dataclass
class Captured:
    """A module as a file holds it: the name of its class, and its attributes. Nothing of it can be run."""

    class_name: str = ""
    state: dict[str, Any] = field(default_factory=dict[str, Any])

    def __setstate__(self, state: object) -> None:
        self.state = cast(dict[str, Any], state) if isinstance(state, dict) else {}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Return the tensors of the module and of all modules in it, by the names that they have in it."""
        found: dict[str, Tensor] = {}
        for kind in ("_parameters", "_buffers"):
            for name, value in _items(self.state.get(kind)):
                if isinstance(value, StoredTensor):
                    found[f"{prefix}{name}"] = value.tensor()
        for name, child in _items(self.state.get("_modules")):
            if isinstance(child, Captured):
                found |= child.tensors(f"{prefix}{name}.")
        return found


def _items(value: object) -> list[tuple[str, Any]]:
    return (
        [(str(name), entry) for name, entry in cast(dict[Any, Any], value).items()] if isinstance(value, dict) else []
    )


@dataclass
class StoredTensor:
    """A tensor as a file holds it: a part of a storage."""

    storage: torch.UntypedStorage
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, _state: object) -> None:
        pass

    def tensor(self) -> Tensor:
        """Return the tensor, in float32 where it has a lower precision."""
        empty = torch.empty(0, dtype=self.dtype)
        made = cast(Tensor, empty.set_(self.storage, self.offset, self.size, self.stride))  # pyright: ignore
        return (made.float() if made.is_floating_point() else made).clone()


def _module(meta: object) -> Captured:
    """Stand for the function that would run the source code of a class and make an instance of it."""
    content: dict[str, Any] = cast(dict[str, Any], meta) if isinstance(meta, dict) else {}
    state: object = content.get("state")
    kept = dict(cast(dict[str, Any], state)) if isinstance(state, dict) else {}
    return Captured(str(content.get("class_name")), kept)


def _storage(content: object) -> Any:
    """Return a storage of the torch file that `content` is."""
    if not isinstance(content, bytes):
        raise pickle.UnpicklingError("a storage is not made of bytes")
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: object, size: object, stride: object, *_others: object) -> StoredTensor:
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor has no storage")
    numbers = [offset, *cast(tuple[object, ...], size), *cast(tuple[object, ...], stride)]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise pickle.UnpicklingError("the shape of a tensor is not one")
    shape, steps = cast(tuple[int, ...], tuple(size)), cast(tuple[int, ...], tuple(stride))  # pyright: ignore
    return StoredTensor(storage._untyped_storage, storage.dtype, cast(int, offset), shape, steps)  # pyright: ignore


def _parameter(data: object, *_others: object) -> object:
    return data


def _nothing(*_arguments: object) -> Opaque:
    return Opaque()


# every name that such files refer to, and what stands for it
STAND_INS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("torch.nn.modules.container", "ModuleDict"): Captured,
    ("torch.nn.modules.container", "ModuleList"): Captured,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("collections", "OrderedDict"): Mapped,
    ("dnnlib.util", "EasyDict"): Mapped,
    ("builtins", "set"): _nothing,
    ("numpy", "dtype"): _nothing,
    ("numpy", "ndarray"): Opaque,
    **{
        (f"numpy.{core}.multiarray", name): _nothing
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    },
}


class HarmlessUnpickler(pickle.Unpickler):
    """Unpickles with the stand-ins above alone."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what stands for a name; raises UnpicklingError for one that has no stand-in."""
        try:
            return STAND_INS[module_name, global_name]
        except KeyError:
            name = f"{module_name}.{global_name}"
            raise pickle.UnpicklingError(f"it refers to {name}, which no network of NVlabs does") from None

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse objects that are kept outside of the file."""
        raise pickle.UnpicklingError("it refers to an object outside of the file")


def read_pickle(path: Path) -> dict[str, Any]:
    """Return the dictionary that a pickle holds; raises PretrainedError where it is another thing, or not harmless."""
    try:
        with path.open("rb") as file:
            content = HarmlessUnpickler(file).load()
    except OSError as error:
        raise PretrainedError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged pickle may raise anything
        raise PretrainedError(f"{path}: is refused, and none of it was run: {in_a_line(error)}") from None
    if not isinstance(content, dict):
        raise PretrainedError(f"{path}: holds no dictionary with a network; give a network-snapshot of NVlabs")
    return cast(dict[str, Any], content)
