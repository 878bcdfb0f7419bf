"""`GET /metrics`: what Prometheus scrapes."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from service.access.caller import Caller
from service.metrics import Metrics
from service.routes.state import having

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def scrape(request: Request, _: Annotated[Caller, Depends(having("metrics"))]) -> Response:
    """Requests, errors, the queue, batches, stages of requests, and the label sets that were answered."""
    metrics: Metrics = request.app.state.metrics
    # Thousands of series take milliseconds, which would hold up every other request.
    content = await asyncio.to_thread(generate_latest, metrics.registry)
    return Response(content, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
