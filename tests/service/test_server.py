"""The process that listens: how it waits, and how it stops."""

import asyncio
import signal
import socket
import threading

import pytest
import uvicorn
from fastapi import FastAPI

from service.door import Door
from service.server import _Server


def _waiting():
    return _Server(uvicorn.Config(FastAPI()), FastAPI(), leave_seconds=0, door=Door)


@pytest.mark.parametrize(
    "stop", [lambda server: server.stop(), lambda server: server.handle_exit(signal.SIGTERM, None)]
)
def test_it_is_told_to_stop_at_once(stop):
    async def wait():
        server = _waiting()
        waiting = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        threading.Thread(target=stop, args=[server]).start()
        async with asyncio.timeout(0.5):  # it looks by itself once a second
            await waiting

    asyncio.run(wait())


def test_it_stops_where_it_was_told_to_before_it_began_to_wait():
    async def wait():
        server = _waiting()
        server.stop()
        async with asyncio.timeout(0.5):
            await server.main_loop()

    asyncio.run(wait())


def test_the_date_in_its_headers_is_that_of_this_second():
    async def wait():
        server = _waiting()
        waiting = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0.05)
        [(name, first)] = [header for header in server.server_state.default_headers if header[0] == b"date"]
        assert name == b"date"
        await asyncio.sleep(1.1)
        assert dict(server.server_state.default_headers)[b"date"] > first
        server.stop()
        await waiting

    asyncio.run(wait())


def test_a_door_that_closes_lets_in_who_has_come_and_nobody_else():
    inside = []

    class Guest(asyncio.Protocol):
        def connection_made(self, transport):
            inside.append(transport)

    async def close():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            door = Door(listener, Guest, tls=None, handshake_seconds=1, max_handshakes=1)
            door.open()
            with socket.create_connection(address) as early:
                door.close()
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(address)
                await asyncio.sleep(0.1)
                assert [guest.get_extra_info("peername") for guest in inside] == [early.getsockname()]
                inside[0].close()
                await asyncio.sleep(0)

    asyncio.run(close())
