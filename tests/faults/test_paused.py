"""The service is stopped for a while, as by `docker pause`; who asks meanwhile is answered."""

import os
import signal
import socket
import time

import pytest

REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n%b"


def _first_line(connection):
    with connection.makefile("rb") as answer:
        return answer.readline()


@pytest.mark.parametrize("seconds", [1.8, 4])
def test_time_in_which_the_service_did_not_run_is_nobody_s_fault(start, seconds):
    victim = start(head_seconds=2, body_seconds=2)
    with (
        socket.create_connection(victim.address, timeout=30) as silent,
        socket.create_connection(victim.address, timeout=30) as half_way,
        socket.create_connection(victim.address, timeout=30) as late,
    ):
        half_way.sendall(REQUEST % b"the ")
        time.sleep(0.5)
        processes = [victim.process.pid, victim.session_process]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        silent.sendall(REQUEST % b"the disks")
        half_way.sendall(b"disks")
        time.sleep(seconds)
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        assert _first_line(silent) == b"HTTP/1.1 200 OK\r\n"
        assert _first_line(half_way) == b"HTTP/1.1 200 OK\r\n"
        # Who says nothing then either is not waited for.
        continued = time.monotonic()
        assert late.recv(1) == b""
        assert time.monotonic() - continued < 15
    victim.require_unharmed()
