"""TLS: its versions, and from the first byte (`sslnegotiation=direct`), which PostgreSQL has from 17 on."""

import ssl
import warnings

import psycopg
import pytest

from support import DENIED, EXAMPLE_ARN, Wire, sign


@pytest.mark.parametrize(("version", "is_admitted"), [
    (ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False),
    (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True),
])
def test_versions_of_tls(server, version, is_admitted):
    context = ssl.create_default_context(cafile=server.authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    # Or the client would not even offer the old ones.
    context.set_ciphers("ALL:@SECLEVEL=0")
    if is_admitted:
        with Wire(server, context=context) as wire:
            assert wire.socket.version() == version.name.replace("_", ".")
            wire.start().asked_for_password()
        return
    # It is the server that says no.
    with pytest.raises(ssl.SSLError, match="(?i)alert protocol version"):
        Wire(server, context=context)


def test_a_client_that_says_tls_at_once(server):
    """As libpq 17 does it: no SSLRequest, and the protocol's name in the handshake."""
    if server.version < 17:
        mark = server.log_mark()
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            Wire(server, tls="direct")
        assert server.logged(
            "HINT:  A client that begins with TLS at once (sslnegotiation=direct) needs PostgreSQL 17 or newer.",
            mark)
        return
    with Wire(server, tls="direct") as wire:
        assert wire.socket.selected_alpn_protocol() == "postgresql"
        wire.start().asked_for_password().password(server.token("admin").encode())
        assert wire.receive() == (b"R", b"\0\0\0\0")
    with Wire(server, tls="direct") as wire:
        expired = sign(server.key("admin"), "DbConnectAdmin", expires=0)
        error = wire.start().asked_for_password().password(expired.encode()).error()
        assert (error["sqlstate"], error["message"]) == ("08006", DENIED)


def test_direct_tls_names_the_cluster_too(server):
    if server.version < 17:
        pytest.skip("PostgreSQL has direct TLS from 17 on")
    name = f"{'z' * 26}.dsql.us-east-1.on.aws"
    with Wire(server, tls="direct", server_name=name) as wire:
        error = wire.start().error()
    assert (error["sqlstate"], error["message"], error["hint"]) == ("08006", DENIED, None)


@pytest.mark.skipif(psycopg.pq.version() < 170000, reason="this libpq has no sslnegotiation")
def test_libpq(server, role):
    if server.version < 17:
        pytest.skip("PostgreSQL has direct TLS from 17 on")
    name = role("direct")
    with server.connect(sslnegotiation="direct") as admin:
        assert admin.execute(f"AWS IAM GRANT direct TO '{EXAMPLE_ARN}'").statusmessage == "GRANT ROLE"
    with server.connect(name, sslnegotiation="direct") as connection:
        assert connection.execute("SELECT current_user").fetchone() == (name,)
    with pytest.raises(psycopg.OperationalError, match=DENIED):
        server.connect("admin", server.token("denied", admin=True), sslnegotiation="direct")
