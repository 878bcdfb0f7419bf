"""What was counted of models, in the shape of Triton's statistics; the numbers are those of `service/metrics.py`."""

from collections.abc import Iterable
from typing import Any

from service.catalogue import ServedModel
from service.metrics import Metrics, Timed

# What Triton does apart to write outputs is part of the session's work here.
_NEVER = Timed()


def model_statistics(models: Iterable[ServedModel], metrics: Metrics) -> dict[str, Any]:
    """`GET /v2/models/{name}/stats`."""
    return {"model_stats": [_statistics(model, metrics) for model in models]}


def _statistics(model: ServedModel, metrics: Metrics) -> dict[str, Any]:
    counted = metrics.statistics(model)
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": round(counted.last_request * 1000),
        "inference_count": sum(rows * batch.count for rows, batch in counted.batches.items()),
        "execution_count": sum(batch.count for batch in counted.batches.values()),
        "inference_stats": {
            "success": _duration(counted.requests.get("answered", _NEVER)),
            "fail": _duration(counted.requests.get("failed", _NEVER)),
            "queue": _duration(counted.stages.get("queue", _NEVER)),
            "compute_input": _duration(counted.stages.get("decode", _NEVER)),
            "compute_infer": _duration(counted.stages.get("infer", _NEVER)),
            "compute_output": _duration(_NEVER),
            # Nobody has measured how long a look takes.
            "cache_hit": _duration(Timed(counted.cache_lookups.get("hit", 0))),
            "cache_miss": _duration(Timed(counted.cache_lookups.get("miss", 0))),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(_NEVER),
                "compute_infer": _duration(batch),
                "compute_output": _duration(_NEVER),
            }
            for rows, batch in counted.batches.items()
        ],
    }


def _duration(timed: Timed) -> dict[str, int]:
    return {"count": timed.count, "ns": round(timed.seconds * 1e9)}
