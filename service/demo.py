"""What `make run` starts: the service on the embedded bundles, one example asked of each of them, the answers drawn."""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

import click

from model.bundle import GOLDEN
from model.drawing import draw_labels
from model.errors import LabelsetError
from model.golden import GoldenExample
from model.labels import ScoredLabel
from model.repository import EMBEDDED_BUNDLES, BundleFolder, bundle_folders
from service.server import ServerProcess
from service.settings import Settings

_START_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_BOUNDARY = "labelset-demo"
_KEY_VARIABLE = "LABELSET_KEY"
# The service is on this machine, whatever proxy the environment names.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--once", is_flag=True, help="Stop after the answers.")
def main(port: int, once: bool) -> None:
    """Serve the embedded demo bundles, ask each of them for the labels of one example and print its answer.

    The exit code is 0 only if every answer was the label set of the day of export. Where the settings put API keys in
    force, one is sent from LABELSET_KEY.
    """
    key = os.environ.get(_KEY_VARIABLE, "")
    try:
        settings = Settings(models=EMBEDDED_BUNDLES, host="127.0.0.1", port=port)
        if settings.keys_file and not key:
            raise NoKey(
                f"LABELSET_KEYS_FILE puts API keys in force, and this asks the models: set {_KEY_VARIABLE} to a key of "
                f"that file with the scope infer (`labelset keys new demo` makes one), or unset LABELSET_KEYS_FILE"
            )
        server = ServerProcess(settings, log_level="warning")
        visitor = _Visitor(server, once, key)
        visitor.start()
        server.run()
    except LabelsetError as error:
        raise SystemExit(f"error: {error.message} [{error.code}]") from None
    sys.exit(0 if visitor.satisfied else 1)


class NoKey(LabelsetError):
    """A service that wants a key, and none to send."""

    code = "no_key"


class _Visitor(threading.Thread):
    """Asks the service what a newcomer would, while it serves in the main thread."""

    def __init__(self, server: ServerProcess, once: bool, key: str) -> None:
        super().__init__(name="visitor", daemon=True)
        self._server = server
        self._key = key
        self._once = once
        self.satisfied = False

    def run(self) -> None:
        """Wait until the service is ready, ask, print; stop the service where it is to answer once."""
        try:
            _wait_until_ready(self._server.url)
            verdicts = [_ask(self._server.url, folder, self._key) for folder in bundle_folders(EMBEDDED_BUNDLES)]
            self.satisfied = all(verdicts)
            click.echo(f"\ndemo page  {self._server.url}/\nAPI docs   {self._server.url}/docs")
            if not self._once:
                click.echo("\nserving until Ctrl-C")
        finally:
            if self._once:
                self._server.stop()


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            _HTTP.open(f"{url}/readyz", timeout=_START_SECONDS).close()
            return
        except OSError:  # refused, or answered 503
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _ask(url: str, folder: BundleFolder, key: str) -> bool:
    """Ask a model for the labels of its first golden example; whether it gave the expected ones."""
    examples = json.loads((folder.path / GOLDEN).read_bytes())
    example = GoldenExample.model_validate(examples[0])
    request = _request(f"{url}/predict?model={folder.name}", example)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with _HTTP.open(request, timeout=_ANSWER_SECONDS) as response:
            [prediction] = json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        click.echo(f"error: {folder.name} answered {error.code}: {error.read().decode()}", err=True)
        return False
    labels = [ScoredLabel(**label) for label in prediction["labels"]]
    question = repr(example.item) if isinstance(example.item, str) else f"an image of {len(example.item)} bytes"
    click.echo(f"\n{folder.name} was asked for the labels of {question}\n{draw_labels(labels)}")
    expected = {label.label for label in example.labels}
    if {label for label, _ in labels} != expected:
        click.echo(f"error: {folder.name} should have answered {sorted(expected)}", err=True)
        return False
    return True


def _request(url: str, example: GoldenExample) -> urllib.request.Request:
    item = example.item
    if not isinstance(item, bytes):
        field = "text" if isinstance(item, str) else "words"
        return urllib.request.Request(url, json.dumps({field: item}).encode(), {"Content-Type": "application/json"})
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="example"\r\n\r\n'
    body = head.encode() + item + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return urllib.request.Request(url, body, {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"})


if __name__ == "__main__":
    main()
