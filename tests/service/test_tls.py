"""HTTPS with a certificate made for the test."""

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from urllib.parse import urlsplit

import httpx
import pytest

from service.settings import InvalidSettings, Settings
from service.tls import InvalidCertificate, check_certificate

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl in PATH (apt install openssl)")

SERVE = [sys.executable, "-m", "labelset", "serve", "--port", "0"]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_certificate(folder, *how):
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    name = ("-subj", "/CN=labelset", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1")
    openssl("req", "-x509", *curve, *name, *how, "-out", certificate, "-keyout", key)
    return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "-nodes")


def environment(certificate, key):
    return {**os.environ, "LABELSET_TLS_CERTIFICATE": str(certificate), "LABELSET_TLS_KEY": str(key)}


def test_a_service_with_a_certificate_speaks_https_and_nothing_else(files):
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True, env=environment(*files)) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            assert url.startswith("https://127.0.0.1:")
            trusted = ssl.create_default_context(cafile=files[0])
            with httpx.Client(base_url=url, verify=trusted, timeout=60) as client:
                assert client.get("/readyz").status_code == 200
                answer = client.post("/predict", json={"text": "The group sent phishing mails."})
                assert answer.json()["predictions"][0]["labels"]
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(url.replace("https", "http") + "/livez")
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(url + "/livez")
        finally:
            process.kill()


def missing(certificate, key, folder):
    return certificate, folder / "none.pem", "the TLS private key .*none.pem cannot be read: No such file"


def swapped(certificate, key, folder):
    return key, certificate, "cannot be used together: "


def of_another(certificate, key, folder):
    return certificate, make_certificate(folder, "-nodes")[1], "cannot be used together: key values mismatch"


def encrypted(certificate, key, folder):
    return (*make_certificate(folder, "-passout", "pass:secret"), "which must not be encrypted, cannot be used")


def no_pem(certificate, key, folder):
    (folder / "text").write_text("hello")
    return folder / "text", key, "cannot be used together: "


@pytest.mark.parametrize("wrong", [missing, swapped, of_another, encrypted, no_pem])
def test_files_that_no_connection_could_be_made_with_are_refused(files, tmp_path, wrong):
    certificate, key, message = wrong(*files, tmp_path)
    with pytest.raises(InvalidCertificate, match=message):
        check_certificate(certificate, key)


def test_a_wrong_certificate_is_one_line_before_a_model_is_loaded(files, tmp_path):
    certificate, key, _ = of_another(*files, tmp_path)
    done = subprocess.run(SERVE, capture_output=True, text=True, env=environment(certificate, key))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith("[invalid_certificate]")


@pytest.mark.parametrize("name", ["tls_certificate", "tls_key"])
def test_a_certificate_or_a_key_alone_is_refused(name):
    with pytest.raises(InvalidSettings, match="LABELSET_TLS_CERTIFICATE and LABELSET_TLS_KEY must be set together"):
        Settings(**{name: "file.pem"})


def test_a_caller_who_says_nothing_after_the_handshake_is_closed(files):
    settings = {**environment(*files), "LABELSET_HEAD_SECONDS": "0.5"}
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True, env=settings) as process:
        try:
            assert process.stderr is not None
            address = urlsplit(process.stderr.readline().split()[-1])
            trusted = ssl.create_default_context(cafile=files[0])
            with (
                socket.create_connection((address.hostname, address.port), timeout=20) as plain,
                trusted.wrap_socket(plain, server_hostname=address.hostname) as connection,
            ):
                assert connection.version() in {"TLSv1.2", "TLSv1.3"}
                with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                    assert connection.recv(1) == b""  # else it times out
        finally:
            process.kill()


def test_a_body_that_is_too_large_is_told_so_while_it_is_sent_and_its_end_not_waited_for_for_ever(files):
    body = bytes(70 * 2**20)  # more than is read by default
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True, env=environment(*files)) as process:
        try:
            assert process.stderr is not None
            address = urlsplit(process.stderr.readline().split()[-1])
            trusted = ssl.create_default_context(cafile=files[0])
            for _ in range(3):
                connection = http.client.HTTPSConnection(address.netloc, timeout=30, context=trusted)
                with contextlib.closing(connection):
                    connection.request("POST", "/predict", body=body, headers={"Content-Type": "text/plain"})
                    assert connection.getresponse().status == 413
            with (
                socket.create_connection((address.hostname, address.port), timeout=20) as plain,
                trusted.wrap_socket(plain, server_hostname=address.hostname) as stays,
            ):
                head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                stays.sendall(head + b"Content-Length: 999999999\r\n\r\n")
                started = time.monotonic()
                assert stays.recv(65536).startswith(b"HTTP/1.1 413")
                with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                    assert stays.recv(1) == b""  # else it times out
                assert 4 < time.monotonic() - started < 15
        finally:
            process.kill()


def test_handshakes_that_do_not_go_on_end_and_leave_files_for_everybody_else(files):
    settings = {**environment(*files), "LABELSET_HEAD_SECONDS": "2"}
    command = ["prlimit", "--nofile=160:160", *SERVE]
    silent = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=settings) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[-1]
            trusted = ssl.create_default_context(cafile=files[0])
            with httpx.Client(base_url=url, verify=trusted, timeout=60) as client:
                assert client.get("/readyz").status_code == 200
                address = urlsplit(url)
                silent = [socket.create_connection((address.hostname, address.port), timeout=20) for _ in range(200)]
                assert client.get("/readyz").status_code == 200  # those who came before have been let in
                # A quarter of the files are for handshakes, a quarter for connections.
                assert len(os.listdir(f"/proc/{process.pid}/fd")) < 100
                for connection in silent:
                    with contextlib.suppress(ConnectionResetError):
                        assert connection.recv(1) == b""  # else it times out
            # The last of them may hear that it was ended before the service has counted it out.
            retrying = httpx.HTTPTransport(verify=trusted, retries=5)
            with httpx.Client(transport=retrying, timeout=60) as client:
                assert client.get(f"{url}/readyz").status_code == 200
        finally:
            process.kill()
            for connection in silent:
                connection.close()
