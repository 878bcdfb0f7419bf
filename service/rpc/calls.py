"""Any call from its beginning to its end: its record, its message in time, its answer or its status.

A call is a request like those over HTTP: it has a record, and is refused by the same errors.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from model.errors import LabelsetError
from service.access.caller import ANYONE, Caller
from service.access.gate import Gate, sent_key
from service.access.keys import Scope
from service.errors import (
    STATUS,
    BodiesFull,
    BodyTooSlow,
    DeadlineExceeded,
    InvalidInferRequest,
    NotReady,
    QueueFull,
)
from service.open_bodies import OpenBodies
from service.record import RequestRecord, take_in_hand
from service.telemetry import Observer, close_record, new_record

# What a call does with the bytes of its message, for who sent it.
Work = Callable[[bytes, Caller], Awaitable[Message]]
Outcome: TypeAlias = Message | LabelsetError

logger = logging.getLogger("labelset.service")

# From the status that an error has over HTTP. A full queue is 503, UNAVAILABLE: what clients and proxies try again,
# elsewhere if they can; RESOURCE_EXHAUSTED would say that this caller has used up his share.
_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Longer, percent-encoded, it would not fit into the head that clients read.
_MAX_DETAIL_CHARS = 1000
# The Retry-After of gRPC: clients with a policy of retries follow it.
_RETRY = ("grpc-retry-pushback-ms", "1000")


class Calls:
    """Runs calls, each with a record that the observers see, until they shall end.

    A call that wants one message is, for the library, a stream of one. On the wire that is the same, but a stream is
    read when we ask for it: a call can be refused before its message has come, and one that never comes is not awaited.
    """

    def __init__(
        self, gate: Gate, open_bodies: OpenBodies, observers: Sequence[Observer], message_seconds: float
    ) -> None:
        """Make a runner of calls.

        Args:
            gate: Knows the keys that callers need.
            open_bodies: Counts messages once they are here; how long one will be the library does not tell.
            observers: Are shown the record of each call.
            message_seconds: Time for the message of a call to arrive.
        """
        self._gate = gate
        self._open_bodies = open_bodies
        self._observers = observers
        self._message_seconds = message_seconds
        self._at_work: set[asyncio.Task[object]] = set()
        self._between_messages: set[asyncio.Task[object]] = set()
        self._is_ending = False
        self._is_over = False

    def unary(
        self, path: str, scope: Scope | None, work: Work, admit: Callable[[], None] = lambda: None
    ) -> grpc.RpcMethodHandler:
        """A call of one message and one answer.

        Args:
            path: Of the method.
            scope: What a key must be for; None where everybody may call.
            work: What is done.
            admit: May refuse the call before its message is read.
        """

        async def work_on(context: grpc.aio.ServicerContext) -> Message:
            caller = self._caller(context, scope)
            admit()
            message = await self._message(context)
            with self._open_bodies.hold(len(message)):
                return await work(message, caller)

        async def answer(_: object, context: grpc.aio.ServicerContext) -> bytes:
            with self._recorded(path, context) as record:
                outcome = await self._outcome(record, work_on(context))
                _tell(context, record, outcome)
                return b"" if isinstance(outcome, LabelsetError) else outcome.SerializeToString()

        return grpc.stream_unary_rpc_method_handler(answer)

    def stream(self, path: str, scope: Scope, work: Work, wrap: Callable[[Outcome], Message]) -> grpc.RpcMethodHandler:
        """A call of any number of messages, each a request of its own, answered one after the other.

        Its key is looked at before anything is read, and again with each message: it may be taken away meanwhile.
        """

        async def work_on(context: grpc.aio.ServicerContext, message: bytes) -> Message:
            caller = self._caller(context, scope)
            with self._open_bodies.hold(len(message)):
                return await work(message, caller)

        async def answer(_: object, context: grpc.aio.ServicerContext) -> None:
            try:
                self._gate.check(sent_key(_headers(context)), scope)
            except LabelsetError:
                with self._recorded(path, context) as record:  # in which the refusal now leaves the caller's name
                    _tell(context, record, await self._outcome(record, work_on(context, b"")))
                return
            while (message := await self._next_message(context)) is not grpc.aio.EOF:
                with self._recorded(path, context) as record:
                    outcome = await self._outcome(record, work_on(context, message))
                    await context.write(wrap(outcome).SerializeToString())

        return grpc.stream_stream_rpc_method_handler(answer)

    async def end(self, drain_seconds: float) -> None:
        """Let what is under way be answered within some seconds, and tell the rest that the service stops."""
        self._is_ending = True
        for task in self._between_messages:
            task.cancel()
        clock = asyncio.get_running_loop().time
        end = clock() + drain_seconds
        # Again and again: a call may have come when the door was closing.
        while self._at_work and clock() < end:
            await asyncio.wait(self._at_work, timeout=end - clock())
        self._is_over = True
        for task in self._at_work:
            task.cancel()

    def _caller(self, context: grpc.aio.ServicerContext, scope: Scope | None) -> Caller:
        """Who calls, if he may; the key stands in the same headers as over HTTP."""
        if scope is None:
            return ANYONE
        return self._gate.admit(sent_key(_headers(context)), scope)

    @contextmanager
    def _recorded(self, path: str, context: grpc.aio.ServicerContext) -> Iterator[RequestRecord]:
        record = new_record("POST", path, _headers(context))  # as gRPC sends every call
        record.route = path
        take_in_hand(record)
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            yield record
        except asyncio.CancelledError:
            # The library has told the caller already, if he is still there.
            time_is_up = context.time_remaining() == 0
            record.status, record.error_code = (504, DeadlineExceeded.code) if time_is_up else (400, "caller_left")
            raise
        finally:
            self._at_work.discard(task)
            close_record(record, self._observers)

    async def _outcome(self, record: RequestRecord, work: Awaitable[Message]) -> Outcome:
        """What a call is answered with; it is written down in its record."""
        try:
            outcome: Outcome = await work
            record.status = 200
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            outcome = NotReady("the service is shutting down")
        except Exception as error:
            outcome = _told(error)
        if isinstance(outcome, LabelsetError):
            record.status, record.error_code = STATUS[outcome.code], outcome.code
            # They hold the frames that hold it, and with these the message.
            outcome.__traceback__ = outcome.__context__ = None
        return outcome

    async def _message(self, context: grpc.aio.ServicerContext) -> bytes:
        """The one message of a call."""
        try:
            async with asyncio.timeout(self._message_seconds):
                message = await context.read()
        except TimeoutError:
            raise BodyTooSlow(f"a message must arrive within {self._message_seconds:g} seconds") from None
        if message is grpc.aio.EOF:  # also where it was too large: then the library has refused the call
            raise InvalidInferRequest("a call must bring one message that is not too large, got none")
        assert isinstance(message, bytes)
        return message

    async def _next_message(self, context: grpc.aio.ServicerContext) -> Any:
        """The next message of a stream, whenever it comes; EOF where there is none, or the service stops."""
        task = asyncio.current_task()
        assert task is not None
        self._between_messages.add(task)
        try:
            if not self._is_ending:
                return await context.read()
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
        finally:
            self._between_messages.discard(task)
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details("the service is shutting down")
        return grpc.aio.EOF


def _headers(context: grpc.aio.ServicerContext) -> dict[str, str]:
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _told(error: Exception) -> LabelsetError:
    """What a caller is told of an error; of one that nobody foresaw, only that there was one."""
    if isinstance(error, DecodeError):
        return InvalidInferRequest("a message must be that of the protocol, got one that cannot be read")
    if isinstance(error, LabelsetError) and error.code in STATUS:
        return error
    logger.error("a call failed", exc_info=error)
    return LabelsetError("the service failed to answer; its log says why")


def _tell(context: grpc.aio.ServicerContext, record: RequestRecord, outcome: Outcome) -> None:
    """Status and trailing metadata of a call: what the headers of an answer say over HTTP."""
    metadata = [(name.lower(), value) for name, value in record.headers().items()]
    if isinstance(outcome, QueueFull | BodiesFull):
        metadata.append(_RETRY)
    context.set_trailing_metadata(tuple(metadata))
    if isinstance(outcome, LabelsetError):
        context.set_code(_CODES.get(STATUS[outcome.code], grpc.StatusCode.INVALID_ARGUMENT))
        context.set_details(outcome.message[:_MAX_DETAIL_CHARS])
