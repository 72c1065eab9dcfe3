"""One way to run a model: an ONNX file with a JSON card beside it, opened on CPU or GPU.

A detector asks for `load_model("visual-lite")` and calls `model.run(...)`; which file that is (one
that ships with the package, or the version promoted on this machine) and which engine answers is
decided here and nowhere else. OpenVINO serves CPUs, ONNX Runtime serves CUDA GPUs. Tests hand a
detector any object that has `run`, so they need no weights.

Precision is pinned to float32 on every device: engines would otherwise choose bfloat16 on newer
processors, and a second examiner on an older one would get other numbers. Layers that their file
holds in 8 bits are summed as integers, which is exact (`aura.training.visual.quantise`).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from aura import registry
from aura.errors import MissingExtra, UsageError, WeightsError

Array = NDArray[Any]

CARD_FORMAT = 1  # the newest card layout that this version reads
DEVICES = ("auto", "cpu", "cuda")
PICTURES = 4  # that a network of single pictures takes at a time; more are no faster on a CPU


class Session(Protocol):
    """An opened network: named arrays in, named arrays out."""

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run one batch."""
        ...


@dataclass(frozen=True)
class ModelCard:
    """What is known about a weight file; the JSON beside it, checked.

    `sha256` is that of the ONNX file. `metrics`, `training`, `limits` are shown to users as they
    stand and are never read by code; `inputs` documents shapes, dtypes, units and ranges.
    """

    name: str
    version: str
    file: str
    sha256: str
    architecture: str
    licence: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    parameters: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A card with its open session."""

    card: ModelCard
    session: Session

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run one batch through the session."""
        return self.session.run(inputs)


def weights_dir() -> Path:
    """Folder of the weights that ship inside the package."""
    return Path(str(resources.files("aura"))) / "weights"


def read_card(path: Path) -> ModelCard:
    """Read and check one card.

    Raises:
        WeightsError: missing, malformed, or of a format newer than `CARD_FORMAT`.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"no model card at {path}; reinstall aura-veracity or run `aura models list`"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"the model card {path} is not valid JSON ({error})") from None
    if not isinstance(raw, dict):
        raise WeightsError(f"the model card {path} is not a JSON object")
    version = raw.pop("format", None)
    if not isinstance(version, int) or version > CARD_FORMAT:
        raise WeightsError(
            f"the model card {path} has format {version!r}, this version reads up to "
            f"{CARD_FORMAT}: upgrade aura-veracity"
        )
    try:
        card = ModelCard(**{**raw, "limits": tuple(raw.get("limits", ()))})
    except TypeError as error:
        raise WeightsError(f"the model card {path} does not fit: {error}") from None
    if Path(card.file).name != card.file:
        raise WeightsError(f"the model card {path} points outside its folder: {card.file!r}")
    return card


def find_card(name: str) -> Path | None:
    """Where a model's card is: shipped with the package, or of the version promoted here.

    Raises:
        WeightsError: what was promoted can't be told.
    """
    shipped = weights_dir() / f"{name}.json"
    if shipped.is_file():
        return shipped
    folder = registry.promoted(name)
    return folder / registry.CARD if folder else None


def model_card(name: str) -> ModelCard:
    """The card of a shipped or promoted model.

    Raises:
        WeightsError: no such model, or its card can't be read.
    """
    return read_card(find_card(name) or weights_dir() / f"{name}.json")


def list_cards(folder: Path | None = None) -> list[ModelCard]:
    """All cards in the weights folder, by name."""
    return [read_card(path) for path in sorted((folder or weights_dir()).glob("*.json"))]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file as lower-case hex, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify_card(card: ModelCard, folder: Path | None = None) -> str | None:
    """What is wrong with a card's weight file, or None when its SHA-256 matches."""
    path = (folder or weights_dir()) / card.file
    if not path.is_file():
        return f"{path} is missing"
    if sha256_file(path) != card.sha256:
        return f"{path} is not the file that its card describes (SHA-256 differs)"
    return None


def cpu_threads() -> int:
    """Processors this process may use (affinity respected)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def network_threads() -> int:
    """Threads for one network: half of the processors, because two stages of the journey run at
    once, and two threads in one small network waste a quarter of their time.
    """
    return max(1, cpu_threads() // 2)


@dataclass(frozen=True)
class PooledHead:
    """A logit that is a linear sum over a feature map's mean: `weight` (C,) float32, `bias`."""

    weight: NDArray[np.float32]
    bias: float


class OpenVinoSession:
    """A network compiled by OpenVINO for the CPU, in float32.

    `heads` are its logits that come from averaged feature maps, in the network's order;
    `features` gives those maps. Making them outputs changes no other number and costs no time.
    A network of single pictures is compiled for `PICTURES` of them, which is a tenth faster than
    for any number; other numbers are run in parts, as many side by side as there are processors
    for (each part in one thread, so that its numbers don't depend on the others).
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        core = _openvino_core()
        graph = core.read_model(str(path))
        self._names = [output.get_any_name() for output in graph.outputs]
        self.heads = _add_feature_outputs(graph)
        self._batch = PICTURES if _fix_batch(graph) else None
        threads = threads or network_threads()
        streams = max(1, cpu_threads() // threads) if self._batch else 1
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": threads * streams,
                "NUM_STREAMS": streams,
            },
        )
        self._requests = [self._compiled.create_infer_request() for _ in range(streams)]
        self._lock = Lock()

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run one batch; results are copies."""
        return dict(zip(self._names, self._run(inputs, len(self._names)), strict=True))

    def features(self, inputs: dict[str, Array]) -> tuple[dict[str, Array], list[Array]]:
        """Run one batch; beside the results, for each of `heads` its feature map (B, C, H, W)."""
        count = len(self._names)
        found = self._run(inputs, count + len(self.heads))
        return dict(zip(self._names, found[:count], strict=True)), found[count:]

    def _run(self, inputs: dict[str, Array], outputs: int) -> list[Array]:
        """Copies of the first outputs, for all of a batch."""
        with self._lock:  # infer requests serve one caller at a time
            if self._batch is None:
                self._requests[0].infer(inputs, share_inputs=True)
                return self._results(self._requests[0], outputs)
            ((name, pictures),) = inputs.items()
            parts = []
            waiting: deque[tuple[Any, int]] = deque()
            for number, start in enumerate(range(0, len(pictures), self._batch)):
                part = pictures[start : start + self._batch]
                count = len(part)
                if count < self._batch:
                    part = np.pad(part, ((0, self._batch - count), *[(0, 0)] * (part.ndim - 1)))
                if len(waiting) == len(self._requests):
                    parts.append(self._finish(*waiting.popleft(), outputs))
                request = self._requests[number % len(self._requests)]
                request.start_async({name: part})
                waiting.append((request, count))
            parts += [self._finish(request, count, outputs) for request, count in waiting]
        return [np.concatenate(one) for one in zip(*parts, strict=True)]

    def _finish(self, request: Any, count: int, outputs: int) -> list[Array]:
        request.wait()
        return [one[:count] for one in self._results(request, outputs)]

    @staticmethod
    def _results(request: Any, outputs: int) -> list[Array]:
        tensors = [request.get_output_tensor(index) for index in range(outputs)]
        return [np.array(tensor.data) for tensor in tensors]


def _fix_batch(graph: Any) -> bool:
    """Settle on `PICTURES` at a time, where pictures are all that goes in and their number is open.

    Anything that comes out must then be of as many.
    """
    shapes = [one.get_partial_shape() for one in graph.inputs]
    sides = list(shapes[0]) if len(shapes) == 1 and shapes[0].rank.is_static else []
    if len(sides) != 4 or sides[0].is_static or any(one.is_dynamic for one in sides[1:]):
        return False
    if not all(one.get_partial_shape()[0].is_dynamic for one in graph.outputs):
        return False
    graph.reshape([PICTURES, *(one.get_length() for one in sides[1:])])
    return True


def _add_feature_outputs(graph: Any) -> tuple[PooledHead, ...]:
    """Make the input of each global average under a one-row linear layer an output of the graph.

    Found by structure, not by name, so that any export of such a network will do.
    """
    heads = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() != "ReduceMean" or node.input(0).get_partial_shape().rank != 4:
            continue
        for reader in node.output(0).get_target_inputs():
            head = _linear_head(reader.get_node())
            if head is not None:
                graph.add_outputs(node.input(0).get_source_output())
                heads.append(head)
                break
    return tuple(heads)


def _linear_head(product: Any) -> PooledHead | None:
    """The layer that begins with this matrix product: scaled by constants, then a bias added."""
    weight = _constant(product.input(1)) if product.get_type_name() == "MatMul" else None
    if weight is None or min(weight.shape) != 1:
        return None
    scale, node = 1.0, product
    while True:
        after = [reader.get_node() for reader in node.output(0).get_target_inputs()]
        kind = after[0].get_type_name() if len(after) == 1 else ""
        fixed = [_constant(side) for side in after[0].inputs()] if kind else []
        value = next((one for one in fixed if one is not None and one.size == 1), None)
        if value is None or kind not in {"Multiply", "Add"}:
            return None
        if kind == "Add":
            return PooledHead((scale * weight).reshape(-1), float(value.reshape(-1)[0]))
        scale, node = scale * float(value.reshape(-1)[0]), after[0]


def _constant(side: Any) -> NDArray[np.float32] | None:
    """What a node's input always is, when it is a constant or a product of constants."""
    node = side.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        return np.array(node.data, np.float32)
    if node.get_type_name() != "Multiply":
        return None
    one, other = (_constant(part) for part in node.inputs())
    return None if one is None or other is None else one * other


class OnnxRuntimeSession:
    """A network opened by ONNX Runtime on a CUDA GPU."""

    def __init__(self, path: Path) -> None:
        try:
            onnxruntime = load_onnxruntime()
        except ImportError:
            raise MissingExtra("--device cuda", "gpu") from None
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise UsageError(
                "--device cuda: ONNX Runtime sees no CUDA device here; "
                "install 'aura-veracity[gpu]' with a matching driver or use --device cpu"
            )
        self._session = onnxruntime.InferenceSession(
            str(path), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run one batch."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))


def load_openvino() -> Any:
    """The OpenVINO module, without its usage reports.

    Its mere import would otherwise tell a statistics service on the network that this machine uses
    it, and leave a client id in the home folder. Nothing leaves the machine on which Aura runs.
    """
    # None makes an import of that name fail, for which OpenVINO has a silent stand-in.
    sys.modules.setdefault("openvino_telemetry", cast("Any", None))
    import openvino  # noqa: PLC0415 - half of the start-up time; `aura --help` must not pay it

    return openvino


def load_onnxruntime() -> Any:
    """The ONNX Runtime module, without its usage reports (from 1.29 on) and their files.

    Raises:
        ImportError: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # noqa: PLC0415 - optional extra

    return onnxruntime


_core_lock = Lock()
_core: list[Any] = []


def _openvino_core() -> Any:
    with _core_lock:  # two threads may open their first network at once
        if not _core:
            _core.append(load_openvino().Core())
        return _core[0]


def import_engine(device: str) -> None:
    """Import what serves a device, before threads open networks side by side.

    An import that Ctrl-C breaks off in one thread may keep another that wants it waiting for ever.
    """
    if resolve_device(device) == "cuda":
        with suppress(ImportError):  # told where a network is opened
            load_onnxruntime()
    else:
        _openvino_core()


@lru_cache(maxsize=1)
def cuda_available() -> bool:
    """Whether ONNX Runtime is installed and sees a CUDA device."""
    found = find_spec("onnxruntime")
    # Its import takes a tenth of a second, for which most builds know nothing of CUDA.
    folders = found.submodule_search_locations or [] if found else []
    if not any(list(Path(one).glob("capi/*onnxruntime_providers_cuda*")) for one in folders):
        return False
    try:
        onnxruntime = load_onnxruntime()
    except ImportError:
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def resolve_device(device: str) -> str:
    """Turn `auto` into `cuda` or `cpu`.

    Raises:
        UsageError: the name is none of `DEVICES`.
    """
    if device not in DEVICES:
        raise UsageError(f"--device {device}: choose one of {', '.join(DEVICES)}")
    if device == "auto":
        return "cuda" if cuda_available() else "cpu"
    return device


def open_session(path: Path, device: str = "auto") -> Session:
    """Open an ONNX file on a device.

    Raises:
        WeightsError: the file is missing or is no network that the engine can read.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing; {remedy_for(path)}")
    try:
        if resolve_device(device) == "cuda":
            return OnnxRuntimeSession(path)
        return OpenVinoSession(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightsError(f"{path} can't be opened as a network ({reason})") from None


def remedy_for(path: Path) -> str:
    """What to do about a model's file that is missing or altered."""
    if path.is_relative_to(weights_dir()):
        return "reinstall aura-veracity"
    return f"put it back, or go back with `aura models rollback {path.parent.parent.name}`"


# By path, not by name: a version that is promoted while a service runs is another path.
_models: dict[tuple[Path, str], Model] = {}
_models_lock = Lock()
_gates: defaultdict[tuple[Path, str], Lock] = defaultdict(Lock)


def load_model(name: str, device: str = "auto") -> Model:
    """Open a shipped or promoted model once per process and device, after checking its SHA-256.

    Raises:
        WeightsError: no such model, or its file is not the one that the card describes.
    """
    path = find_card(name) or weights_dir() / f"{name}.json"
    key = (path, resolve_device(device))
    with _models_lock:
        gate = _gates[key]
    with gate:  # two threads may ask for the same model at once; others are opened side by side
        model = _models.get(key)
        if model is None:
            card = read_card(path)
            problem = verify_card(card, path.parent)
            if problem:
                raise WeightsError(f"{problem}; {remedy_for(path)}")
            model = Model(card, open_session(path.parent / card.file, key[1]))
            with _models_lock:
                same = [k for k, m in _models.items() if k[1] == key[1] and m.card.name == name]
                for old in same:  # the version in use before
                    del _models[old]
                _models[key] = model
        return model
