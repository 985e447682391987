"""Logs in to dsql_iam in a container of its own.

It needs the image dsql-iam, and: pip install boto3 "psycopg[binary]" pytest testcontainers
"""

import json
import pathlib

import boto3
import psycopg
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy

IAM = pathlib.Path(__file__).parent.parent / "iam"
ARN = "arn:aws:iam::012345678912:user/ci"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Where the server is, for psycopg."""
    container = DockerContainer("dsql-iam").with_exposed_ports(5432)
    container.waiting_for(HealthcheckWaitStrategy())
    for document in IAM.glob("*.json"):
        # With a mode that nobody else can read: that is what the server asks for.
        container.with_copy_into_container(document, f"/iam/{document.name}", 0o600)
    with container:
        authority = tmp_path_factory.mktemp("tls") / "server.crt"
        container.copy_from_container("/var/lib/dsql-iam/tls/server.crt", authority)
        yield {
            "host": "localhost",
            "port": container.get_exposed_port(5432),
            "dbname": "postgres",
            "sslmode": "verify-full",
            "sslrootcert": str(authority),
        }


@pytest.fixture(scope="module")
def dsql():
    """Signs tokens with the key that the server knows."""
    key = json.loads((IAM / "key.json").read_text())["AccessKey"]
    return boto3.client(
        "dsql",
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def test_a_role_logs_in_once_it_is_mapped(server, dsql):
    token = dsql.generate_db_connect_auth_token("localhost")
    with pytest.raises(psycopg.OperationalError, match="access denied"):
        psycopg.connect(**server, user="app", password=token)

    token = dsql.generate_db_connect_admin_auth_token("localhost")
    with psycopg.connect(**server, user="admin", password=token, autocommit=True) as admin:
        admin.execute("CREATE ROLE app WITH LOGIN")
        admin.execute(f"AWS IAM GRANT app TO '{ARN}'")

    token = dsql.generate_db_connect_auth_token("localhost")
    with psycopg.connect(**server, user="app", password=token) as app:
        assert app.execute("SELECT sys.iam_session_user()").fetchone() == (ARN,)
