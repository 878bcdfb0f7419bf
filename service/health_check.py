"""`labelset health`: whether the service on this machine may get requests. Knows no models and imports none of theirs.

It is run every few seconds beside a service (`Dockerfile`), so it must start fast: it reads the variables of the few
settings that it needs, and not `service/settings.py`, which knows what a device is.
"""

import http.client
import ssl
from pathlib import Path

import click

from model.errors import LabelsetError

# Where a service that listens on every address is found.
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_PATH = "/readyz"


class Unhealthy(LabelsetError):
    """The service does not answer, or says that it should get no requests."""

    code = "unhealthy"


@click.command()
@click.option("--host", envvar="LABELSET_HOST", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", envvar="LABELSET_PORT", type=int, default=8000, show_default=True, help="Its port for HTTP.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="How long an answer may take.")
@click.option("--tls-certificate", envvar="LABELSET_TLS_CERTIFICATE", type=click.Path(path_type=Path), hidden=True)
def health(host: str, port: int, seconds: float, tls_certificate: Path | None) -> None:
    """Ask the service on this machine whether it may get requests; the exit code is 0 if so.

    Its address and whether it speaks HTTPS are read from the environment, as LABELSET_HOST, LABELSET_PORT and
    LABELSET_TLS_CERTIFICATE, where the service has them from there too.
    """
    address = _HERE.get(host, host)
    connection = (
        http.client.HTTPSConnection(address, port, timeout=seconds, context=_unverified())
        if tls_certificate
        else http.client.HTTPConnection(address, port, timeout=seconds)
    )
    try:
        connection.request("GET", _PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unhealthy(f"the service on {address} port {port} does not answer: {error}") from None
    finally:
        connection.close()
    if status != 200:
        raise Unhealthy(f"the service on {address} port {port} must answer {_PATH} with 200, got {status}")
    click.echo("ok")


def _unverified() -> ssl.SSLContext:
    """Any certificate will do: it names the service as others call it, and nothing but health is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
