"""The HTTP server of simulated processes, byte by byte over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pytest_disagg.engines.sim import web
from pytest_disagg.engines.sim.web import Answer, App, Request, Response, Stream, json_response

LIMIT_S = 60.0
LAST = b"Connection: close\r\n\r\n"


class Client:
    """A connection whose every byte a test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def leave(self) -> None:
        self._writer.transport.abort()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self._reader.read(), LIMIT_S)

    async def until(self, mark: bytes) -> bytes:
        return await asyncio.wait_for(self._reader.readuntil(mark), LIMIT_S)


def talk(app: App, *scripts: Callable[[Client], Awaitable[None]]) -> None:
    """Serve ``app`` and let each script talk on a connection of its own."""

    async def one(port: int, script: Callable[[Client], Awaitable[None]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await script(Client(reader, writer))
        finally:
            writer.close()

    async def all_of_them() -> None:
        server = await asyncio.get_running_loop().create_server(app.connection, "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            await asyncio.gather(*(one(port, script) for script in scripts))
        finally:
            server.close()
            await app.close()

    asyncio.run(all_of_them())


def answer_to(request: bytes) -> bytes:
    """What an app with an echo at ``/echo``, and below ``/below/``, says to the bytes of a whole connection."""
    said = bytearray()

    async def script(client: Client) -> None:
        client.send(request)
        said.extend(await client.rest())

    talk(echoing(), script)
    return bytes(said)


async def echo(request: Request) -> Answer:
    body = request.body.decode()
    return json_response({"method": request.method, "path": request.path, "x": request.headers.get("x"), "body": body})


async def broken(_request: Request) -> Answer:
    raise ValueError("no such thing")


async def streamed(request: Request) -> Answer:
    stream = Stream(request, "text/event-stream")
    request.transport.write(web.frame(b"one "))
    stream.end(b"two")
    return stream


def echoing() -> App:
    app = App()
    app.add_get("/echo", echo)
    app.add_post("/echo", echo)
    app.add_post("/below/", echo)
    app.add_get("/broken", broken)
    app.add_get("/stream", streamed)
    return app


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_a_request_and_its_answer() -> None:
    answer = answer_to(b"POST /echo?q=1 HTTP/1.1\r\nX: y\r\nContent-Length: 5\r\n" + LAST + b"hello")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ")
    assert b"\r\nConnection: close\r\n" in answer
    assert body(answer) == b'{"method": "POST", "path": "/echo", "x": "y", "body": "hello"}'


def test_requests_of_one_connection_are_answered_in_their_order() -> None:
    first_may_end = asyncio.Event()
    begun: list[str] = []

    async def slow_then_quick(request: Request) -> Answer:
        begun.append(request.path)
        if request.path == "/a/slow":
            await first_may_end.wait()
        return Response(request.path.encode())

    async def script(client: Client) -> None:
        client.send(b"GET /a/slow HTTP/1.1\r\n\r\nGET /a/quick HTTP/1.1\r\n" + LAST)
        while not begun:
            await asyncio.sleep(0)
        first_may_end.set()
        answers = await client.rest()
        assert answers.index(b"/a/slow") < answers.index(b"/a/quick")
        assert answers.count(b"200 OK") == 2

    app = App()
    app.add_get("/a/", slow_then_quick)
    talk(app, script)
    assert begun == ["/a/slow", "/a/quick"]


def test_a_connection_stays_open_for_the_next_request() -> None:
    async def script(client: Client) -> None:
        for _ in range(3):
            client.send(b"GET /echo HTTP/1.1\r\n\r\n")
            assert b"Connection: keep-alive" in await client.until(b'"body": ""}')

    talk(echoing(), script)


def test_a_chunked_body_is_put_together() -> None:
    head = b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + LAST
    assert b'"body": "hello"' in answer_to(head + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async def script(client: Client) -> None:
        client.send(b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + LAST)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ok")
        assert b'"body": "ok"' in await client.rest()

    talk(echoing(), script)


def test_head_is_get_without_the_body() -> None:
    whole = answer_to(b"GET /echo HTTP/1.1\r\n" + LAST)
    head = answer_to(b"HEAD /echo HTTP/1.1\r\n" + LAST)
    assert (status(head), body(head)) == (200, b"")
    assert f"Content-Length: {len(body(whole)) + 1}".encode() in head  # "HEAD" is a letter longer


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"GET /nothing HTTP/1.1", 404),
        (b"POST /broken HTTP/1.1", 405),
        (b"POST /below/anything HTTP/1.1", 200),
        (b"POST /below/any/thing HTTP/1.1", 404),
        (b"GET /broken HTTP/1.1", 500),
        (b"nonsense", 400),
    ],
)
def test_what_is_not_there_and_what_fails(request_line: bytes, expected: int) -> None:
    assert status(answer_to(request_line + b"\r\n" + LAST)) == expected


def test_a_handler_that_fails_costs_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    answers = answer_to(b"GET /broken HTTP/1.1\r\n\r\nGET /echo HTTP/1.1\r\n" + LAST)
    assert b"500 Internal Server Error" in answers
    assert b"200 OK" in answers
    assert "ValueError: no such thing" in capsys.readouterr().out


def test_a_body_and_a_head_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_BODY_BYTES", 4)
    monkeypatch.setattr(web, "MAX_HEAD_BYTES", 1000)
    assert status(answer_to(b"POST /echo HTTP/1.1\r\nContent-Length: 4\r\n" + LAST + b"1234")) == 200
    assert status(answer_to(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n" + LAST + b"12345")) == 413
    assert status(answer_to(b"GET /echo HTTP/1.1\r\nX: " + b"y" * 1000)) == 431


def test_a_stream() -> None:
    answer = answer_to(b"GET /stream HTTP/1.1\r\n" + LAST)
    assert b"Transfer-Encoding: chunked" in answer
    assert body(answer) == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"


def test_http_1_0_closes_and_gets_no_stream() -> None:
    assert b"Connection: close" in answer_to(b"GET /echo HTTP/1.0\r\n\r\n")
    assert status(answer_to(b"GET /stream HTTP/1.0\r\n\r\n")) == 505


def test_an_offer_of_another_protocol_is_not_taken_up() -> None:
    answer = answer_to(b"GET /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert status(answer) == 200
    offer = b"POST /echo HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    assert status(answer_to(offer + b"Content-Length: 0\r\n\r\n")) == 200
    for body_follows in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        assert status(answer_to(offer + body_follows)) == 501, "the parser drops a body after an offer"


def test_a_stream_without_its_end_closes_the_connection() -> None:
    async def torn(request: Request) -> Answer:
        return Stream(request, "text/event-stream")

    async def script(client: Client) -> None:
        client.send(b"GET /torn HTTP/1.1\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\n")

    app = App()
    app.add_get("/torn", torn)
    talk(app, script)


def test_a_handler_that_fails_in_its_stream_tears_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def failing(request: Request) -> Answer:
        Stream(request, "text/event-stream")
        request.transport.write(web.frame(b"one"))
        raise ValueError("no such thing")

    async def script(client: Client) -> None:
        client.send(b"GET /failing HTTP/1.1\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\n3\r\none\r\n")

    app = App()
    app.add_get("/failing", failing)
    talk(app, script)
    assert "ValueError: no such thing" in capsys.readouterr().out


def test_an_answer_that_cannot_be_written_closes_the_connection() -> None:
    async def odd(_request: Request) -> Answer:
        return Response(status=99)

    async def script(client: Client) -> None:
        client.send(b"GET /odd HTTP/1.1\r\n\r\n")
        assert await client.rest() == b""

    app = App()
    app.add_get("/odd", odd)
    talk(app, script)


def test_a_handler_is_cancelled_when_its_client_leaves() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def waits(_request: Request) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Response()

    async def script(client: Client) -> None:
        client.send(b"GET /waits HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(begun.wait(), LIMIT_S)
        client.leave()
        await asyncio.wait_for(cancelled.wait(), LIMIT_S)

    app = App()
    app.add_get("/waits", waits)
    talk(app, script)
