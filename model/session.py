"""An onnxruntime session over a bundle: a batch of arrays in, one sparse row of probabilities for each out.

Knows nothing of pictures, texts or label names: `model/preprocess` makes the arrays, `model/labels.py` names them.
Importing this module is light: onnxruntime is loaded by whoever makes a session.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model import page_locked
from model.bundle import GRAPH, Bundle, GraphMismatch
from model.devices import Device, load_graph
from model.errors import LabelsetError
from model.labels import SparseRow
from model.manifest import POLICY_INPUT, SparsityPolicy
from model.policies import graph_code
from model.sparse_softmax import native

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SPARSE_OUTPUTS = ("label_index", "label_probability", "row_offset", "applied_sparsity_rate")


class InvalidSparsity(LabelsetError):
    """A wish for sparsity that has no meaning for this model."""

    code = "invalid_sparsity"


@dataclass(frozen=True)
class Sparsity:
    """What a caller wishes for one input; with neither set, the model decides (SPEC 2).

    Attributes:
        label_count: Number of labels wanted, 0 to the number of classes.
        sparsity_rate: Fraction of zeros wanted among the classes, in [0, 1].
    """

    label_count: int | None = None
    sparsity_rate: float | None = None

    def validate(self, class_count: int) -> None:
        """Refuse a wish that the model cannot grant.

        Raises:
            InvalidSparsity: both are set, or one is out of its range.
        """
        if self.label_count is not None and self.sparsity_rate is not None:
            raise InvalidSparsity(
                f"label_count and sparsity_rate exclude each other, got {self.label_count} and {self.sparsity_rate}"
            )
        if self.label_count is not None and not 0 <= self.label_count <= class_count:
            raise InvalidSparsity(
                f"label_count must be in [0, {class_count}], got {self.label_count}", label_count=self.label_count
            )
        if self.sparsity_rate is not None and not 0 <= self.sparsity_rate <= 1:
            raise InvalidSparsity(f"sparsity_rate must be in [0, 1], got {self.sparsity_rate}")


LET_THE_MODEL_DECIDE = Sparsity()


class Answers(NamedTuple):
    """What a graph gives for a batch of N rows: CSR, and the dense probabilities where asked for.

    Attributes:
        label_index_M: int64, positions in the label space.
        label_probability_M: float32, in (0, 1].
        row_offset: int64 `[N + 1]`, where each row begins.
        applied_sparsity_rate_N: float64, the rate that each row was asked for.
        probabilities_NC: float32, or None.
    """

    label_index_M: npt.NDArray[np.int64]
    label_probability_M: npt.NDArray[np.float32]
    row_offset: npt.NDArray[np.int64]
    applied_sparsity_rate_N: npt.NDArray[np.float64]
    probabilities_NC: npt.NDArray[np.float32] | None = None

    def rows(self) -> list[SparseRow]:
        """The rows, one by one."""
        bounds = zip(self.row_offset[:-1], self.row_offset[1:], self.applied_sparsity_rate_N, strict=True)
        return [
            SparseRow(self.label_index_M[start:end], self.label_probability_M[start:end], float(rate))
            for start, end, rate in bounds
        ]


class Session:
    """A loaded graph. `run` may be called from several threads at once; on a GPU each call has a stream of its own.

    Attributes:
        device: Where it computes.
        r_softmax: What computes r-softmax in it.
        class_count: How many labels it knows.
        empty: As `numpy.empty`: makes arrays from which its device reads fastest. What they hold must not be written
            while they are run.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int = 0, graph: str | None = None) -> None:
        """Load the graph of a bundle.

        Args:
            bundle: A verified bundle.
            device: `auto` takes CUDA where it can be used, else the CPU.
            threads: Threads within one operator; 0 leaves the choice to the runtime.
            graph: Where the bundle's graph is read from, where that is not its own folder.

        Raises:
            DeviceUnavailable: `cuda` was asked for and cannot be used.
            LibraryNotFound, LibraryUnusable: the environment names no sound library of the compiled r-softmax.
            GraphMismatch: the graph cannot be loaded, or is not the one that the manifest describes.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        native.register(options)
        path = graph or str(bundle.file(GRAPH))
        try:
            self._session, self.device = load_graph(path, options, device)
        except LabelsetError:
            raise
        except Exception as error:  # the runtime raises a dozen types of its own, and Fail derives from Exception
            # Where it lies, and where what it refers to is looked for, is no business of who reads this.
            reason = str(error).replace(path, GRAPH).replace(f"{os.path.dirname(path)}/", "")
            raise GraphMismatch(f"{GRAPH} cannot be loaded by onnxruntime {ort.__version__}: {reason}") from error
        self.empty: Callable[..., npt.NDArray[Any]] = page_locked.of_cuda().empty if self.device == "cuda" else np.empty
        # The compiled kernel, or the function that every graph carries.
        self.r_softmax = native.implementation(self.device)
        self.class_count = len(bundle.manifest.labels)
        # A token classifier answers for each word, any other model for each input.
        labels_words = bundle.manifest.task == "token_classification"
        self._row_input = "word_position" if labels_words else bundle.manifest.inputs[0].name
        self._policy = bundle.manifest.sparsity
        # Graphs exported before there was a choice have no such input.
        self._takes_policy = any(spec.name == POLICY_INPUT for spec in bundle.manifest.inputs)
        _check_graph(self._session, bundle)

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], sparsities: Sequence[Sparsity] = (), *, dense: bool = False
    ) -> Answers:
        """Answer one batch.

        Args:
            inputs: The collated batch, by input name. A row is an input; for a token classifier, a word.
            sparsities: One wish a row, or none at all.
            dense: Whether to fetch the dense probabilities too.

        Raises:
            InvalidSparsity: a wish out of its range.
        """
        row_count = len(inputs[self._row_input])
        feed = {**inputs, **self._sparsity_feed(sparsities or [LET_THE_MODEL_DECIDE] * row_count)}
        names = [*SPARSE_OUTPUTS, *(["probabilities"] if dense else [])]
        return Answers(*self._session.run(names, feed))

    def _sparsity_feed(self, sparsities: Sequence[Sparsity]) -> dict[str, npt.NDArray[Any]]:
        for sparsity in sparsities:
            sparsity.validate(self.class_count)
        wishes = [_own_wish(self._policy) if wish == LET_THE_MODEL_DECIDE else wish for wish in sparsities]
        feed: dict[str, npt.NDArray[Any]] = {
            "label_count": np.array([-1 if w.label_count is None else w.label_count for w in wishes], np.int64),
            "sparsity_rate": np.array([-1 if w.sparsity_rate is None else w.sparsity_rate for w in wishes], np.float64),
        }
        if self._takes_policy:
            feed[POLICY_INPUT] = np.full(len(wishes), graph_code(self._policy.policy), np.int64)
        return feed


def _own_wish(policy: SparsityPolicy) -> Sparsity:
    """What the bundle's policy asks of the graph for a row whose caller asks nothing."""
    if policy.policy == "fixed_count":
        return Sparsity(label_count=policy.label_count)
    if policy.policy == "fixed_rate":
        return Sparsity(sparsity_rate=policy.sparsity_rate)
    return LET_THE_MODEL_DECIDE


_ONNX_TYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(int64)": "int64",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def _check_graph(session: "InferenceSession", bundle: Bundle) -> None:
    """Compare the graph with the manifest: a service must not find out at the first request."""
    manifest = bundle.manifest
    for kind, specs, nodes in (
        ("input", manifest.inputs, session.get_inputs()),
        ("output", manifest.outputs, session.get_outputs()),
    ):
        described = {spec.name: (spec.dtype, len(spec.shape)) for spec in specs}
        actual = {node.name: (_ONNX_TYPES.get(node.type, node.type), len(node.shape)) for node in nodes}
        if described != actual:
            raise GraphMismatch(f"the manifest describes the {kind}s {described}, the graph has {actual}", kind=kind)
    dense = next((node for node in session.get_outputs() if node.name == "probabilities"), None)
    class_count = dense.shape[-1] if dense is not None else None
    if class_count != len(manifest.labels):
        raise GraphMismatch(
            f"the graph must have one class for each of the {len(manifest.labels)} labels, it has {class_count}",
            labels=len(manifest.labels),
            classes=class_count,
        )
