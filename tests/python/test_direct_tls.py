"""TLS from the first byte (`sslnegotiation=direct`), which PostgreSQL has from 17 on."""

import ssl

import psycopg
import pytest

from support import DENIED, EXAMPLE_ARN, Wire, sign


def test_a_client_that_says_tls_at_once(server):
    """As libpq 17 does it: no SSLRequest, and the protocol's name in the handshake."""
    if server.version < 17:
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            Wire(server, tls="direct")
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
