"""`labelset serve` and what `make run` starts, as processes of their own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from model.repository import EMBEDDED_BUNDLES, bundle_folders
from service.access.keys import new_key, write_keys
from service.listening import listen

SERVE = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
NAMES = {folder.name for folder in bundle_folders(EMBEDDED_BUNDLES)}


@contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service that is ready, and its address."""
    with subprocess.Popen([*SERVE, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = next(match[1] for line in process.stderr if (match := re.search(r"listening on (\S+)", line)))
            with urllib.request.urlopen(f"{url}/readyz", timeout=60):
                yield process, url
        finally:
            process.kill()


def names_served(url: str) -> set[str]:
    with urllib.request.urlopen(f"{url}/models", timeout=60) as response:
        return {model["name"] for model in json.load(response)["models"]}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_serve_answers_on_the_embedded_bundles_until_it_is_told_to_stop(sent, code):
    with served() as (process, url):
        assert names_served(url) == NAMES
        process.send_signal(sent)
        assert process.wait(timeout=30) == code


def test_serve_serves_the_bundle_it_is_given():
    folder = bundle_folders(EMBEDDED_BUNDLES)[0]
    with served(str(folder.path)) as (_, url):
        assert names_served(url) == {folder.name}


@pytest.mark.parametrize(("arguments", "status"), [([], 403), (["--admin"], 200)])
def test_only_who_says_admin_lets_callers_change_what_is_served(arguments, status):
    with served(*arguments) as (_, url):
        assert httpx.post(f"{url}/v2/repository/index").status_code == status


def test_a_folder_without_bundles_may_give_way_to_the_embedded_ones(tmp_path):
    with served(str(tmp_path), "--or-embedded") as (_, url):
        assert names_served(url) == NAMES


def test_a_folder_with_a_bundle_does_not_give_way():
    folder = bundle_folders(EMBEDDED_BUNDLES)[0]
    with served(str(folder.path), "--or-embedded") as (_, url):
        assert names_served(url) == {folder.name}


def test_a_folder_without_bundles_is_refused_in_one_line_without_a_trace(tmp_path):
    done = subprocess.run([*SERVE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("[nothing_to_serve]")


def test_a_connection_sends_an_answer_at_once_and_waits_for_no_acknowledgement():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("command", [["-m", "labelset", "serve"], ["-m", "service.demo"]])
def test_a_busy_port_is_named(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([sys.executable, *command, "--port", port], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: cannot listen on 127.0.0.1 port {port}: it is in use; choose another port [cannot_listen]\n"
    )


def test_the_demo_asks_every_embedded_bundle_and_is_satisfied():
    done = subprocess.run(
        [sys.executable, "-m", "service.demo", "--once", "--port", "0"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert all(f"{name} was asked for the labels of" in done.stdout for name in NAMES)
    assert "█" in done.stdout
    assert re.search(r"API docs +http://127\.0\.0\.1:\d+/docs", done.stdout)


def test_where_keys_are_in_force_the_demo_sends_one_or_says_which_it_needs(tmp_path):
    key, secret = new_key("demo")
    write_keys(tmp_path / "keys.json", [key])
    command = [sys.executable, "-m", "service.demo", "--once", "--port", "0"]
    settings = {**os.environ, "LABELSET_KEYS_FILE": str(tmp_path / "keys.json")}
    without = subprocess.run(command, capture_output=True, text=True, timeout=120, env=settings)
    assert without.returncode == 1
    [line] = without.stderr.splitlines()
    assert "set LABELSET_KEY to a key of that file" in line
    assert line.endswith("[no_key]")
    with_key = {**settings, "LABELSET_KEY": secret}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=with_key)
    assert done.returncode == 0, done.stderr
    assert all(f"{name} was asked for the labels of" in done.stdout for name in NAMES)
