"""`labelset serve`: the service as a process of its own."""

import logging
from pathlib import Path
from typing import Any

import click

from model.repository import EMBEDDED_BUNDLES, bundle_folders
from service.logs import configure_logging
from service.server import ServerProcess
from service.settings import Settings

logger = logging.getLogger("labelset.service")


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--or-embedded", is_flag=True, help="Serve the embedded demo bundles where DIR holds none.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8000]")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Port for gRPC, as --port.  [default: no gRPC]")
@click.option("--watch-seconds", type=click.FloatRange(0), help="Look for changed models that often.  [default: never]")
@click.option("--admin", is_flag=True, default=None, help="Let callers load and unload models: see docs/repository.md.")
@click.option("--keys-file", type=click.Path(path_type=Path), help="API keys that callers need: see docs/security.md.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.  [default: auto]")
def serve(folder: Path | None, or_embedded: bool, **options: Any) -> None:
    """Serve DIR over HTTP: a bundle, or a repository that holds bundles as NAME/VERSION/.

    Without DIR the embedded demo bundles are served. Settings can also be given in the environment, as LABELSET_MODELS
    (DIR), LABELSET_HOST, LABELSET_PORT, LABELSET_DEVICE and so on; what stands on the command line goes before it.
    """
    if folder and or_embedded and not bundle_folders(folder):
        folder = EMBEDDED_BUNDLES
    given = {name: value for name, value in {"models": folder, **options}.items() if value is not None}
    settings = Settings(**given)
    configure_logging(settings.log_format)
    server = ServerProcess(settings)
    logger.info("listening on %s", server.url)
    server.run()
