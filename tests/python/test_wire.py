"""Clients that do not keep to the protocol: each is refused by itself, and the server stays."""

import struct

import pytest

from support import SESSION_ID, Wire, message, until


@pytest.fixture
def server(own):
    """The server, which has to be the same afterwards: no process of it may have crashed."""
    mark, postmaster = own.log_mark(), own.postmaster()
    yield own
    own.connect().close()
    assert own.postmaster() == postmaster
    log = own.log_since(mark)
    assert "terminated by signal" not in log
    assert "PANIC" not in log
    assert "panicked" not in log


def asked(server):
    return Wire(server).start().asked_for_password()


def backends(server):
    """Processes that serve a client, authenticated or not."""
    with open(f"/proc/{server.postmaster()}/task/{server.postmaster()}/children") as children:
        titles = []
        for child in children.read().split():
            try:
                with open(f"/proc/{child}/cmdline") as title:
                    titles.append(title.read())
            except FileNotFoundError:
                pass
    return [title for title in titles if "127.0.0.1" in title or "::1" in title]


def assert_protocol_violation(error, text):
    assert error["severity"] == "FATAL"
    assert error["sqlstate"] == "08P01"
    assert error["message"] == text
    assert SESSION_ID.fullmatch(error["detail"])
    assert error["hint"] is None


def test_client_that_goes_to_ask_its_user(server):
    mark = server.log_mark()
    with asked(server):
        pass
    until(lambda: not backends(server), "the end of the backend")
    assert "login refused" not in server.log_since(mark)
    assert "FATAL" not in server.log_since(mark)


@pytest.mark.parametrize(("sent", "text"), [
    (message(b"p", b"\0"), "invalid password packet size"),
    (message(b"p", b""), "invalid password packet size"),
    (message(b"p", b"no NUL"), "invalid password packet size"),
    (message(b"p", b"a\0b\0"), "invalid password packet size"),
    (message(b"p", b"\0" * 100), "invalid password packet size"),
    (message(b"Q", b"SELECT 1\0"), "expected password response"),
    (message(b"X"), "expected password response"),
    (message(b"\0", b"\0"), "expected password response"),
    # The length is enough to refuse it; what came behind would meet a closed connection.
    (message(b"p", b"x" * 70_000 + b"\0")[:5], "invalid password packet size"),
    (b"p" + struct.pack("!I", 0), "invalid password packet size"),
    (b"p" + struct.pack("!i", -1), "invalid password packet size"),
    (b"p" + struct.pack("!I", 0x7FFFFFFF), "invalid password packet size"),
], ids=["empty", "nothing", "no NUL", "NUL inside", "NULs", "query", "terminate", "type 0",
        "70 KB", "length 0", "negative length", "length of 2 GB"])
def test_message(server, sent, text):
    mark = server.log_mark()
    with asked(server) as wire:
        wire.send(sent)
        error = wire.error()
    assert_protocol_violation(error, text)
    session = SESSION_ID.fullmatch(error["detail"])[1]
    line = server.logged(f"session_id={session}", mark)
    assert "dsql_iam: login refused: " in line
    assert " check=protocol " in line


@pytest.mark.parametrize("sent", [b"p", b"p\0\0", b"p\0\0\0\x20", b"p\0\0\0\x20localhost/?Act"])
def test_half_a_message(server, sent):
    with asked(server) as wire:
        wire.send(sent)
    until(lambda: not backends(server), "the end of the backend")


def test_bytes_that_are_no_text(server):
    with asked(server) as wire:
        error = wire.password(bytes(range(1, 256))).error()
    assert error["sqlstate"] == "08006"
    assert error["hint"] == "Request is missing Authentication Token"


@pytest.mark.parametrize("length", [60_000, 65_536])
def test_the_longest_token(server, length):
    token = server.token("admin").encode() + b"&X-Amz-Security-Token="
    with asked(server) as wire:
        error = wire.password(token.ljust(length, b"x")).error()
    assert error["sqlstate"] == "08006"
    assert error["hint"] == "The security token included in the request is invalid."


def test_more_than_was_asked_for(server):
    token = server.token("admin").encode()
    with asked(server) as wire:
        wire.send(message(b"p", token + b"\0") + message(b"Q", b"SELECT 42\0"))
        kinds = []
        while len([kind for kind in kinds if kind == b"Z"]) < 2:
            kind, body = wire.receive()
            kinds.append(kind)
            if kind == b"D":
                assert body.endswith(b"42")
    assert b"D" in kinds


def test_a_refused_client_is_not_listened_to(server):
    with asked(server) as wire:
        wire.send(message(b"p", b"hunter2\0") + message(b"Q", b"SELECT 42\0"))
        assert wire.error()["sqlstate"] == "08006"


@pytest.mark.parametrize("sent", [b"", b"p\0\0\0\x20loc"], ids=["silent", "in the middle"])
def test_a_client_that_hangs(server, sent):
    with server.settings(authentication_timeout="'1s'"):
        mark = server.log_mark()
        with asked(server) as wire:
            wire.send(sent)
            while not wire.is_ended():
                pass
        server.logged("canceling authentication due to timeout", mark)
        until(lambda: not backends(server), "the end of the backend")


def test_many_at_once(server):
    wires = [asked(server) for _ in range(20)]
    for number, wire in enumerate(wires):
        if number % 2:
            assert wire.password(b"hunter2").error()["sqlstate"] == "08006"
        wire.socket.close()
    until(lambda: not backends(server), "the end of the backends")
