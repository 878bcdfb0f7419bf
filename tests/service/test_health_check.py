"""`labelset health` finds the service by the settings that the service has, and believes what it says."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from service.health_check import health
from service.settings import Settings

# What the service needs and a question to it does not; with them it would take a second of the processor.
HEAVY = {"numpy", "pydantic", "fastapi", "uvicorn", "onnxruntime", "PIL", "tokenizers", "grpc"}


def ask(*arguments, **variables):
    environment = {**os.environ, **{f"LABELSET_{name.upper()}": str(value) for name, value in variables.items()}}
    command = [sys.executable, "-m", "labelset", "health", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def port_of(service) -> str:
    return service.url.rpartition(":")[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", None])
def test_a_service_that_is_ready_is_healthy(service, host):
    variables = {"port": port_of(service), **({"host": host} if host else {})}
    assert ask(**variables) == (0, "ok\n", "")
    assert ask("--port", port_of(service)) == (0, "ok\n", "")


def test_a_service_that_takes_its_leave_is_not(serve):
    service = serve(leave_seconds=60)
    service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 20
    while httpx.get(f"{service.url}/readyz").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    code, _, error = ask(port=port_of(service))
    service.process.kill()
    assert code == 1
    assert error.endswith("must answer /readyz with 200, got 503 [unhealthy]\n")


def test_where_nobody_or_nothing_answers_is_no_health():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        code, _, error = ask("--seconds", "0.3", port=port)
        assert (code, error) == (
            1,
            f"error: the service on 127.0.0.1 port {port} does not answer: timed out [unhealthy]\n",
        )
    code, _, error = ask(port=port)
    assert code == 1
    assert "refused" in error


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl in PATH (apt install openssl)")
def test_a_service_that_speaks_https_is_asked_so(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    name = ["-subj", "/CN=labels.example.org", "-days", "1", "-nodes"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(["openssl", "req", "-x509", *curve, *name, *files], check=True, capture_output=True)
    settings = {"LABELSET_TLS_CERTIFICATE": str(certificate), "LABELSET_TLS_KEY": str(key)}
    serving = [sys.executable, "-m", "labelset", "serve", "--port", "0"]
    with subprocess.Popen(serving, stderr=subprocess.PIPE, text=True, env={**os.environ, **settings}) as process:
        try:
            port = process.stderr.readline().split()[-1].rpartition(":")[2]
            next(line for line in process.stderr if "startup complete" in line)
            assert ask(port=port, tls_certificate=certificate) == (0, "ok\n", "")
            assert ask(port=port)[0] == 1
        finally:
            process.kill()


def test_its_variables_and_defaults_are_those_of_the_service(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LABELSET_")]:
        monkeypatch.delenv(name)
    values = health.make_context("health", []).params
    for option in health.params:
        if option.envvar:
            assert option.envvar == f"LABELSET_{option.name.upper()}"
            assert values[option.name] == Settings.model_fields[option.name].default


def test_it_imports_little():
    script = (
        "import json, sys, labelset\n"
        "try:\n"
        "    labelset.main(['health', '--port', '1'], standalone_mode=False)\n"
        "except Exception:\n"
        "    print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "service.health_check" in modules
    assert not modules & HEAVY
