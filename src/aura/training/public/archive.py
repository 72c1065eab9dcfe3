"""Tensors out of an untrusted checkpoint, without running anything in it.

safetensors holds nothing but tensors. PyTorch's zip archives (`torch.save`, TorchScript) hold a
pickle, which could run code when it is opened, and TorchScript holds a program besides. Neither is
run: the pickle is read by an unpickler that knows tensors, plain containers and the names of a
module's parts, and refuses everything else; the program is only looked at as text.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from aura.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_PICKLE = 64 * 2**20  # bytes; a description of ten thousand tensors is a fiftieth of that
MAX_CODE = 64 * 2**20
MAX_ENTRIES = 100_000
DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
ZIP, SAFE = b"PK\x03\x04", b"{"
BROKEN: tuple[type[Exception], ...] = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, RuntimeError, MemoryError, RecursionError, UnicodeDecodeError),
)


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors by name; of TorchScript also the names of its modules' classes, its code."""

    tensors: Mapping[str, torch.Tensor]
    classes: frozenset[str] = frozenset()
    code: str = ""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a safetensors file, a `torch.save` archive or TorchScript.

    Raises:
        WeightsError: cut off, another format, or it holds more than tensors.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
        if head.startswith(ZIP):
            return _read_zip(path)
        if head[8:9] == SAFE:
            return Checkpoint(dict(safetensors.torch.load_file(path)))
    except (SafetensorError, zipfile.BadZipFile, OSError) as error:
        raise WeightsError(
            f"{path} is cut off or damaged ({str(error)[:120]}); delete it and pull again"
        ) from None
    raise WeightsError(
        f"{path} is neither safetensors nor an archive of PyTorch; the older format of PyTorch is "
        "a bare pickle and is not opened"
    )


def _read_zip(path: Path) -> Checkpoint:
    with zipfile.ZipFile(path) as archive:
        entries = {one.filename: one for one in archive.infolist()}
        # Descriptions are packed, values never: packed ones could grow without end.
        packed = any(
            one.compress_type != zipfile.ZIP_STORED and "/data/" in one.filename
            for one in entries.values()
        )
        if packed or len(entries) > MAX_ENTRIES:
            raise WeightsError(f"{path} is packed as PyTorch never packs; it is not opened")
        mains = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(mains) != 1:
            raise WeightsError(f"{path} is no archive of PyTorch (it has no data.pkl)")
        root = mains[0].partition("/")[0]
        if entries[mains[0]].file_size > MAX_PICKLE:
            raise WeightsError(f"{path} describes more than any network here has; it is not opened")
        order = f"{root}/byteorder"
        if order in entries and archive.read(order).strip() != b"little":
            raise WeightsError(f"{path} was written on a machine of another byte order")
        reader = _Tensors(archive, root)
        try:
            found = reader.load()
        except pickle.UnpicklingError as error:
            raise WeightsError(
                f"{path} holds more than tensors ({error}); it may carry code and is not opened"
            ) from None
        except BROKEN as error:
            raise WeightsError(
                f"{path} is cut off or damaged ({type(error).__name__}); delete it and pull again"
            ) from None
        tensors: dict[str, torch.Tensor] = {}
        _flatten(found, "", tensors)
        if not tensors:
            raise WeightsError(
                f"{path} holds no tensors under names; a frozen program is of no use"
            )
        return Checkpoint(tensors, frozenset(reader.classes), _code(archive, root))


def _code(archive: zipfile.ZipFile, root: str) -> str:
    parts: list[str] = []
    size = 0
    for entry in archive.infolist():
        if entry.filename.startswith(f"{root}/code/") and entry.filename.endswith(".py"):
            size += entry.file_size
            if size > MAX_CODE:
                break
            parts.append(archive.read(entry).decode("utf-8", "replace"))
    return "\n".join(parts)


@dataclass
class _Part:
    """A module of a TorchScript program: nothing but the names of what belongs to it."""

    parts: dict[str, Any] = field(default_factory=dict)

    def __setstate__(self, state: Any) -> None:
        self.parts = dict(state) if isinstance(state, dict) else {}


@dataclass(frozen=True)
class _Storage:
    values: torch.Tensor


class _Tensors(pickle.Unpickler):
    """Knows tensors, containers and parts of modules."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._storages: dict[str, _Storage] = {}
        self.classes: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """The few names that a description of tensors needs."""
        if module == "__torch__" or module.startswith("__torch__."):
            self.classes.add(f"{module}.{name}")
            return _Part
        if module in {"torch", "torch.storage"} and name in DTYPES:
            return DTYPES[name]
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_doublelist"): list,
            ("torch.jit._pickle", "build_boollist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The values that lie in a file of the archive."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            values = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            if len(values) != count:
                raise ValueError("a tensor has other values than it says")
            self._storages[key] = _Storage(values)
        return self._storages[key]


def _rebuild(storage: _Storage, offset: int, size: Any, stride: Any, *_rest: Any) -> torch.Tensor:
    # Strides of 0 would make a few bytes as large as one likes.
    if not isinstance(storage, _Storage) or math.prod(size) > len(storage.values):
        raise ValueError("a tensor is larger than its values")
    return torch.as_strided(storage.values, tuple(size), tuple(stride), offset)


def _parameter(tensor: torch.Tensor, *_rest: Any) -> torch.Tensor:
    return tensor


def _flatten(found: Any, name: str, into: dict[str, torch.Tensor]) -> None:
    if isinstance(found, torch.Tensor):
        into[name] = found
        return
    parts = found.parts if isinstance(found, _Part) else found
    if isinstance(parts, dict):
        for key, value in parts.items():
            _flatten(value, f"{name}.{key}" if name else str(key), into)
