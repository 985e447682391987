"""Clients that mean harm: nobody comes in, nobody else notices, and nothing grows."""

import contextlib
import itertools
import json
import os
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from support import (
    EXAMPLE_ARN, TLS_MANDATORY, Wire, account, fields_of, message, policy, until)

# For a longer run by hand: 300, say, for five minutes.
FLOOD_SECONDS = float(os.environ.get("FLOOD_SECONDS", "12"))
FLOOD_CLIENTS = int(os.environ.get("FLOOD_CLIENTS", "8"))

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
CANCEL_REQUEST = struct.pack("!IIII", 16, 80877102, 1, 1)


@pytest.fixture
def server(own):
    """The server, in which no process may crash: sessions that are open stay."""
    mark, postmaster = own.log_mark(), own.postmaster()
    with own.connect() as bystander:
        yield own
        assert bystander.execute("SELECT session_user").fetchone() == ("admin",)
    assert own.postmaster() == postmaster
    log = own.log_since(mark)
    for trace in ("terminated by signal", "PANIC", "panicked"):
        assert trace not in log


def startup(*pairs, version=196608, end=b"\0"):
    body = struct.pack("!I", version) + b"".join(
        name + b"\0" + value + b"\0" for name, value in pairs) + end
    return struct.pack("!I", len(body) + 4) + body


ADMIN = startup((b"user", b"admin"), (b"database", b"postgres"))


class Raw(Wire):
    """A client that sends what it likes from the first byte on."""

    def __init__(self, server):
        self.socket = socket.create_connection(("localhost", server.port), timeout=20)

    def encrypt(self, server):
        context = ssl.create_default_context(cafile=server.authority)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        return self


def everything(wire):
    """All that the server sends until it ends the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while part := wire.socket.recv(65536):
            data += part
    return data


# Before there is a connection

@pytest.mark.parametrize("stuffed", [ADMIN, ADMIN + message(b"p", b"x\0"), SSL_REQUEST, b"\x16", b"\0"],
                         ids=["startup", "startup and password", "SSLRequest", "TLS", "a byte"])
def test_bytes_behind_an_ssl_request(server, stuffed):
    """CVE-2021-23214: what was sent in clear must not count as if it had come encrypted."""
    mark = server.log_mark()
    with Raw(server) as wire:
        wire.send(SSL_REQUEST + stuffed)
        # Before 17 the client hears of it once there is TLS; from 17 on the bytes are taken for the
        # beginning of TLS, which they spoil.
        with contextlib.suppress(OSError):
            assert wire.exactly(1) == b"S"
            assert wire.encrypt(server).error()["sqlstate"] == "08P01"
    text = ("received unencrypted data after SSL request" if server.version < 17
            else "could not accept SSL connection")
    server.logged(text, mark)


def test_ssl_request_again(server):
    with Raw(server) as wire:
        wire.send(SSL_REQUEST)
        assert wire.exactly(1) == b"S"
        wire.encrypt(server).send(SSL_REQUEST)
        error = wire.error()
    assert (error["severity"], error["sqlstate"]) == ("FATAL", "0A000")


def test_gssenc_request(server):
    """Refused, if the server has no GSSAPI; then TLS is as good as before."""
    with Raw(server) as wire:
        wire.send(GSSENC_REQUEST)
        if wire.exactly(1) == b"G":
            return
        wire.send(SSL_REQUEST)
        assert wire.exactly(1) == b"S"
        wire.encrypt(server).send(ADMIN)
        wire.asked_for_password().password(server.token("admin").encode())
        assert wire.receive() == (b"R", struct.pack("!I", 0))


@pytest.mark.parametrize("sent", [
    GSSENC_REQUEST + GSSENC_REQUEST, GSSENC_REQUEST + ADMIN, GSSENC_REQUEST + SSL_REQUEST + ADMIN,
    GSSENC_REQUEST * 1000, CANCEL_REQUEST, CANCEL_REQUEST * 2, SSL_REQUEST[:7],
    struct.pack("!I", 0), struct.pack("!I", 3), struct.pack("!I", 4), struct.pack("!I", 10_005),
    struct.pack("!I", 0xFFFFFFFF), struct.pack("!II", 8, 0), struct.pack("!II", 8, 131072),
    startup(version=196608), startup((b"user", b"")), startup((b"database", b"postgres")),
    startup((b"user", b"admin"), end=b""), startup((b"user", b"admin"), version=262144),
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\0" * 200, b"\0" * 9999, b"\xff" * 9999,
], ids=itertools.count())
def test_no_startup_packet_that_opens_anything(server, sent):
    with Raw(server) as wire:
        wire.send(sent)
        # The server may have hung up already.
        with contextlib.suppress(OSError):
            wire.socket.shutdown(socket.SHUT_WR)
        answer = everything(wire)
    assert struct.pack("!II", 8, 0) not in answer
    assert struct.pack("!II", 8, 3) not in answer
    assert b"Z" not in answer[:1]


def test_startup_packet_in_clear_behind_a_gssenc_request(server):
    """It is read, as the server does without GSSAPI; but there is no TLS."""
    with Raw(server) as wire:
        wire.send(GSSENC_REQUEST + ADMIN)
        if wire.exactly(1) == b"G":
            return
        error = wire.error()
    assert (error["sqlstate"], error["message"]) == ("08P01", TLS_MANDATORY)


# Startup packets with odd parameters

OURS = ["dsql_iam.require_tls=off", "dsql_iam.account_id=999999999999",
        "dsql_iam.iam_directory=/tmp", "dsql_iam.explain_denials=on",
        "dsql_iam.max_connection_duration=0", "dsql_iam.audit_file=/tmp/x",
        "dsql_iam.exempt_roles=admin", "dsql_iam.manage_hba=off", "dsql_iam.install_syntax=off",
        "hba_file=/tmp/x", "shared_preload_libraries=x", "session_preload_libraries=plpgsql"]
ODD = [
    *({"options": f"-c {setting}"} for setting in OURS),
    {"dsql_iam.require_tls": "off"}, {"dsql_iam.no_such": "x"}, {"options": "-c dsql_iam.no_such=x"},
    {"role": "postgres"}, {"options": "-c role=postgres"}, {"options": "--role=postgres"},
    {"session_authorization": "postgres"}, {"options": "-c session_authorization=postgres"},
    {"is_superuser": "on"}, {"options": "-c is_superuser=on"},
    {"options": "-c local_preload_libraries=dsql_iam"},
    {"replication": "database"}, {"replication": "true"}, {"replication": "bogus"},
    {"options": "-c"}, {"options": "--"}, {"options": "-D /tmp -p 1"}, {"options": "\\"},
    {"options": "-c amzn-cluster-id=" + "x" * 5000}, {"options": "-c search_path=" + "x," * 2000},
    {"client_encoding": "SQL_ASCII"}, {"client_encoding": "no such"}, {"user": "admin\n"},
    {"user": "ADMIN"}, {"user": '"admin"'}, {"user": "a" * 64}, {"user": "admin", "User": "postgres"},
    {"database": "template1"}, {"database": "postgres; --"}, {"_pq_.extension": "x"},
]


@pytest.mark.parametrize("parameters", ODD, ids=lambda parameters: str(parameters)[:50])
def test_odd_parameters(server, parameters):
    """With a good token they make nobody more than `admin`; without one they make nobody in."""
    user = {"user": "admin"} | parameters
    for tls, password in ((True, b"hunter2"), (True, server.token("admin").encode()), (False, b"x")):
        with Wire(server, tls) as wire:
            wire.start(**user)
            if not (asked := ask(wire)):
                continue
            assert tls
            wire.password(password)
            if not is_in(wire):
                continue
            assert password != b"hunter2"
            wire.send(message(b"Q", b"SELECT session_user, current_user, "
                              b"current_setting('is_superuser'), "
                              b"current_setting('dsql_iam.require_tls')\0"))
            assert row(wire) == [b"admin", b"admin", b"off", b"on"]


def ask(wire):
    """Whether a password is asked for, rather than the connection refused."""
    while True:
        kind, body = wire.receive()
        if kind == b"v":
            continue
        if kind == b"R":
            assert body == struct.pack("!I", 3)
            return True
        assert kind == b"E", (kind, body)
        return False


def is_in(wire):
    while True:
        kind, body = wire.receive()
        if kind in (b"E", None):
            return False
        if kind == b"Z":
            return True


def row(wire):
    while (received := wire.receive())[0] != b"D":
        assert received[0] not in (b"E", None), fields_of(received[1])
    body, values = received[1][2:], []
    while body:
        length, = struct.unpack("!i", body[:4])
        values.append(body[4:4 + length])
        body = body[4 + length:]
    return values


@pytest.mark.parametrize("setting", [setting for setting in OURS if setting.startswith("dsql_iam.")])
def test_our_settings_are_nobodys_to_change(server, setting):
    """By a role's own settings neither, which would count at its next login."""
    name, _, value = setting.partition("=")
    with server.connect() as admin:
        for statement in (f"SET {name} = '{value}'", f"ALTER ROLE admin SET {name} = '{value}'",
                          f"ALTER DATABASE postgres SET {name} = '{value}'",
                          f"ALTER SYSTEM SET {name} = '{value}'"):
            with pytest.raises(psycopg.Error) as raised:
                admin.execute(statement)
            assert raised.value.sqlstate in ("55P02", "42501"), statement


# Tokens that are too long

@pytest.mark.parametrize("length", [65_537, 70_000, 1 << 20])
def test_more_than_the_longest_token(server, length):
    with Wire(server).start().asked_for_password() as wire:
        # The connection is closed before the bytes behind the length arrive.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            wire.password(b"localhost/?" + b"x" * (length - 11))
        kind, body = wire.receive()
    if kind is not None:
        assert kind == b"E"
        assert fields_of(body)["sqlstate"] == "08P01"


@pytest.mark.parametrize("filler", [b"&", b"&a", b"&a=", b"&X-Amz-Date=1", b"%41", b"%", b"/", b"?",
                                    b"\xc3\xa9", b"\x01"])
def test_long_tokens_of_one_thing(server, filler):
    """Bounded work, whatever the 64 KiB hold."""
    token = server.token("admin").encode()
    long = (token + filler * (65_536 // len(filler)))[:65_536]
    for password in (long, (filler * 65_536)[:65_536]):
        with Wire(server).start().asked_for_password() as wire:
            began = time.monotonic()
            error = wire.password(password).error()
            took = time.monotonic() - began
        assert error["sqlstate"] == "08006"
        assert took < 2


# Slow ones

def test_slow_loris(server):
    """Byte by byte, before and behind the request for the password: not longer than the server's
    own authentication_timeout, and nobody waits for them."""
    token = server.token("admin").encode()
    with server.settings(authentication_timeout="'2s'"):
        clear = [Raw(server) for _ in range(10)]
        asked = [Wire(server).start().asked_for_password() for _ in range(10)]
        pending = {wire.socket: iter(sent) for wires, sent in (
            (clear, ADMIN * 10), (asked, message(b"p", token + b"\0"))) for wire in wires}
        began = time.monotonic()
        served = 0
        while pending:
            for client, rest in list(pending.items()):
                try:
                    client.sendall(bytes([next(rest)]))
                except OSError:
                    del pending[client]
            server.connect().close()
            served += 1
            ended, _, _ = select.select(list(pending), [], [], 0.05)
            for client in ended:
                with contextlib.suppress(OSError):
                    if client.recv(4096):
                        continue
                pending.pop(client, None)
            assert time.monotonic() - began < 15
        assert served > 10
        for wire in clear + asked:
            wire.socket.close()


# Many

def status(pid, field):
    """A line of /proc/PID/status, in KiB."""
    with open(f"/proc/{pid}/status") as lines:
        return int(next(line for line in lines if line.startswith(field + ":")).split()[1])


def files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def children(server):
    pid = server.postmaster()
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        return set(map(int, listed.read().split()))


BAD = ("password", "forged", "unknown key", "no TLS", "gone", "half a message", "garbage")


def misbehave(server, kind, good):
    """One connection that must not get in."""
    if kind == "garbage":
        with Raw(server) as wire:
            wire.send(b"\xff" * 64)
            return everything(wire)
    with Wire(server, tls=kind != "no TLS") as wire:
        wire.start()
        if kind == "no TLS":
            assert wire.error()["sqlstate"] == "08P01"
            return None
        wire.asked_for_password()
        if kind == "gone":
            return None
        if kind == "half a message":
            return wire.send(message(b"p", good)[:40])
        sent = {"password": b"hunter2", "forged": good[:-4] + b"0000",
                "unknown key": good.replace(b"AKIA", b"AKIB")}[kind]
        assert wire.password(sent).error()["sqlstate"] == "08006"


def flood(server, seconds, clients):
    """Bad logins by `clients` threads beside good ones by one; what was counted."""
    good = server.token("admin").encode()
    counts, faults, over = dict.fromkeys(BAD, 0), [], threading.Event()

    def bad(number):
        for kind in itertools.islice(itertools.cycle(BAD), number, None):
            if over.is_set():
                return
            try:
                misbehave(server, kind, good)
            except (AssertionError, OSError, EOFError) as fault:
                faults.append((kind, fault))
            counts[kind] += 1

    threads = [threading.Thread(target=bad, args=[number]) for number in range(clients)]
    times, deadline = [], time.monotonic() + seconds
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() < deadline:
            began = time.monotonic()
            with server.connect() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            times.append(time.monotonic() - began)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return counts, faults, sorted(times)


def test_flood(server):
    """Bad logins by the hundred a second: each good one is served, and the postmaster stays as it was."""
    idle = children(server)
    # One-time setup on both sides.
    flood(server, 2, FLOOD_CLIENTS)
    until(lambda: children(server) <= idle, "the end of the backends")
    pid = server.postmaster()
    before = status(pid, "RssAnon"), files(pid)
    counts, faults, times = flood(server, FLOOD_SECONDS, FLOOD_CLIENTS)
    until(lambda: children(server) <= idle, "the end of the backends")
    after = status(pid, "RssAnon"), files(pid)
    print(f"{FLOOD_SECONDS:.0f} s, {FLOOD_CLIENTS} clients: {sum(counts.values())} bad {counts}, "
          f"{len(times)} good; a good one took {times[len(times) // 2] * 1000:.1f} ms (median), "
          f"{times[-1] * 1000:.1f} ms (longest); postmaster's RssAnon {before[0]} KiB before, "
          f"{after[0]} KiB after; files {before[1]}, {after[1]}")
    assert not faults, faults[:3]
    assert min(counts.values()) > 0
    assert len(times) >= FLOOD_SECONDS
    assert times[-1] < 5
    assert after[0] - before[0] <= 256, (before, after)
    assert after[1] <= before[1]


# Nothing grows

def test_statements_leave_no_memory_behind(server, role):
    """AWS IAM GRANT and REVOKE, accepted and refused, in one session."""
    name = role("hostile_grantee", on=server)
    with server.connect() as admin:
        pid = admin.execute("SELECT pg_backend_pid()").fetchone()[0]

        def work(rounds):
            for _ in range(rounds):
                admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
                with pytest.raises(psycopg.errors.DuplicateObject):
                    admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
                admin.execute("SELECT count(*) FROM sys.iam_pg_role_mappings")
                admin.execute(f"AWS IAM REVOKE {name} FROM '{EXAMPLE_ARN}'")
                with pytest.raises(psycopg.errors.SyntaxError):
                    admin.execute(f"AWS IAM GRANT {name} TO")
            return status(pid, "RssAnon")

        before = work(300)
        assert work(1500) - before <= 256


def test_reloads_leave_no_memory_behind(server):
    """In the postmaster, which loads the documents anew each time that they have changed."""
    def work(rounds):
        for number in range(rounds):
            server.write(server.iam / "zz-grows.json", json.dumps(account(users={
                f"user{number}-{other}": [policy("dsql:DbConnect")] for other in range(200)})))
            server.reload()
        return status(server.postmaster(), "RssAnon")
    try:
        before = work(20)
        assert work(60) - before <= 1024
    finally:
        (server.iam / "zz-grows.json").unlink()
        server.reload()


# No memory at all

@pytest.mark.skipif(not shutil.which("prlimit"), reason="there is no prlimit")
def test_out_of_memory(server):
    """The backend ends; a process that aborts would end all other sessions too.

    It finds documents that have changed, whose loading takes more memory than it may have.
    """
    users = {f"u{number}": [policy("dsql:*", Resource="arn:aws:s3:::" + "x" * 300)]
             for number in range(2000)}
    document = json.dumps(account(users=users))
    path = server.iam / "zz-large.json"
    refused = []
    mark = server.log_mark()
    with server.superuser() as bystander:
        for left in (0, 64, 128, 256, 512, 1024, 2048, 3072, 4096, 5120, 6144):
            before = children(server)
            try:
                with Wire(server).start().asked_for_password() as wire:
                    pid, = children(server) - before
                    server.write(path, document)
                    limit = (status(pid, "VmSize") + left) * 1024
                    subprocess.run(["prlimit", "--pid", str(pid), f"--as={limit}"], check=True,
                                   **server.owner)
                    wire.password(server.token("admin").encode())
                    kind, body = wire.receive()
                until(lambda: pid not in children(server), "the end of the backend")
            finally:
                path.unlink()
            # Where there is enough it is let in. That OpenSSL has no memory left to send the refusal happens,
            # and leaves the client without a word.
            assert kind in (b"E", b"R", None), left
            assert bystander.execute("SELECT 1").fetchone() == (1,), left
            if kind == b"E":
                refused.append(fields_of(body))
    assert "was terminated by signal" not in server.log_since(mark)
    assert all(error["sqlstate"] in ("53200", "08006") for error in refused)
    ours = [error for error in refused if error["sqlstate"] == "53200"
            and error["detail"].startswith("dsql_iam failed on a request of size ")]
    assert len(ours) >= 3, refused
