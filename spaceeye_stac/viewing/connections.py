"""Connections of the server that end: a client that sends or takes too slowly is cut off."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0
STALL_SECONDS = 30.0


class BoundedProtocol(H11Protocol):
    """Uvicorn's connection, with an end for a request that does not arrive and for an answer that nobody takes."""

    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a whole request soon."""
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; a whole request is no more waited for."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_request_timer()

    def on_response_complete(self) -> None:
        """Expect another request, where the connection is kept."""
        self._expect_request()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, whether or not its last answer was taken."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Wait for a client that takes its answer slowly, but not for ever."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on with an answer that the client takes."""
        super().resume_writing()
        self._cancel_stall_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._cancel_request_timer()
        super().connection_lost(exc)
        self._cancel_stall_timer()

    def _expect_request(self) -> None:
        self._cancel_request_timer()
        self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _cancel_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
