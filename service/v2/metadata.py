"""What the service and its models say of themselves, in the shapes of the protocol and of Triton's configuration."""

from typing import Any

from service.catalogue import Catalogue, ServedModel
from service.v2.outputs import outputs_of

_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "statistics"]

# As the protocol names platforms: the project, then the format of the model.
_PLATFORM = "labelset_onnx"


def server_metadata(version: str, takes_changes: bool) -> dict[str, Any]:
    """`GET /v2`; `takes_changes`: whether models may be loaded and unloaded by requests."""
    extensions = [*_EXTENSIONS, "model_repository"] if takes_changes else _EXTENSIONS
    return {"name": "labelset", "version": version, "extensions": extensions}


def model_metadata(catalogue: Catalogue, model: ServedModel) -> dict[str, Any]:
    """`GET /v2/models/{name}`."""
    return {
        "name": model.name,
        "versions": catalogue.versions(model.name),
        "platform": _PLATFORM,
        "inputs": [{"name": model.kind, "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [
            {"name": output.name, "datatype": output.datatype, "shape": output.shape}
            for output in outputs_of(model).values()
        ],
    }


def model_config(model: ServedModel, max_batch_size: int) -> dict[str, Any]:
    """`GET /v2/models/{name}/config`; dimensions without that of the batch.

    Those of the sparse outputs are the whole shape: they are as long as the label sets of a request together.
    """
    return {
        "name": model.name,
        "platform": _PLATFORM,
        "max_batch_size": max_batch_size,
        "input": [{"name": model.kind, "data_type": "TYPE_STRING", "dims": [1]}],
        "output": [
            {"name": output.name, "data_type": _config_type(output.datatype), "dims": output.shape[1:] or [-1]}
            for output in outputs_of(model).values()
        ],
    }


def _config_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
