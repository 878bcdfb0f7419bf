"""`GET /metrics`: what Prometheus scrapes."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from service.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def scrape(request: Request) -> Response:
    """Requests, errors, the queue, batches, stages of requests, and the label sets that were answered."""
    metrics: Metrics = request.app.state.metrics
    # Thousands of series take milliseconds, which would hold up every other request.
    content = await asyncio.to_thread(generate_latest, metrics.registry)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
