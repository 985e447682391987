"""Clusters of two regions that are one database: a token is judged by the one that it was signed for."""

import contextlib
import json
import subprocess

import psycopg
import pytest

from support import (ACCOUNT, DENIED, REGION, SESSION_ID, Key, Wire, access_key, account, note_secrets, policy, sign)

PEER, PEERS_REGION = "peer" * 6 + "01", "us-west-2"
THIRD = "third" * 5 + "1"
OTHER_REGION = "Credential should be scoped to a valid region, not '{}'."
NO_SIGNATURE = "The request signature we calculated does not match"


def arn(identifier, region):
    return f"arn:aws:dsql:{region}:{ACCOUNT}:cluster/{identifier}"


def endpoint(identifier, region):
    return f"{identifier}.dsql.{region}.on.aws"


@pytest.fixture(scope="module")
def linked(own):
    with own.settings(dsql_iam__linked_clusters=f"'{PEER}@{PEERS_REGION}'"):
        yield own


def signed(server, host, region, profile="admin"):
    """A token by AWS's own signer, for the role admin."""
    server.key(profile)
    client = server.profile(profile).client("dsql", region_name=region)
    return note_secrets(client.generate_db_connect_admin_auth_token(host))


def connect(server, password, host="localhost", **arguments):
    # The certificate has no name of the peer's, which is not what these tests are about.
    return psycopg.connect(host=host, hostaddr="127.0.0.1", port=server.port, user="admin", dbname="postgres",
                           password=password, sslmode="verify-ca", sslrootcert=server.authority,
                           autocommit=True, **arguments)


def refused(server, password, host="localhost", **arguments):
    """The check that failed, the reason in the log, and the HINT."""
    mark = server.log_mark()
    with pytest.raises(psycopg.OperationalError) as raised:
        connect(server, password, host, **arguments)
    said = str(raised.value)
    assert DENIED in said
    line = server.logged(f"session_id={SESSION_ID.search(said)[1]}", mark)
    hint = said.partition("HINT:")[2].strip()
    return line.partition("check=")[2].partition(" ")[0], line, hint


def test_each_endpoint_has_its_own_region(linked):
    own, peer = linked.variables["DSQL_ENDPOINT"], endpoint(PEER, PEERS_REGION)
    for host, region in [(own, REGION), (peer, PEERS_REGION), ("localhost", REGION)]:
        connect(linked, signed(linked, host, region)).close()
        connect(linked, signed(linked, f"{host}:5432", region)).close()
    # By name, as SNI has it, and by the option for clients without.
    connect(linked, signed(linked, peer, PEERS_REGION), peer).close()
    connect(linked, signed(linked, peer, PEERS_REGION), options=f"-c amzn-cluster-id={PEER}").close()
    connect(linked, signed(linked, "localhost", PEERS_REGION), peer).close()


def test_the_database_is_the_same(linked):
    with (connect(linked, signed(linked, endpoint(PEER, PEERS_REGION), PEERS_REGION)) as there,
          connect(linked, signed(linked, "localhost", REGION)) as here):
        there.execute("CREATE TABLE public.both AS SELECT 7 AS n")
        assert here.execute("TABLE public.both").fetchall() == [(7,)]
        here.execute("DROP TABLE public.both")


@pytest.mark.parametrize(("host", "region", "check", "hint"), [
    # The one's region with the other's id, and the other way round.
    ("{own}.dsql.us-west-2.on.aws", REGION, "host", NO_SIGNATURE),
    ("{own}.dsql.us-west-2.on.aws", PEERS_REGION, "credential_scope", OTHER_REGION.format(PEERS_REGION)),
    (endpoint(PEER, REGION), REGION, "host", NO_SIGNATURE),
    (endpoint(PEER, REGION), PEERS_REGION, "credential_scope", OTHER_REGION.format(PEERS_REGION)),
    # Each endpoint with the other's scope.
    (endpoint(PEER, PEERS_REGION), REGION, "credential_scope", OTHER_REGION.format(REGION)),
    ("{own}.dsql.us-east-1.on.aws", PEERS_REGION, "credential_scope", OTHER_REGION.format(PEERS_REGION)),
    # Names that are not the peer's.
    ("localhost", PEERS_REGION, "credential_scope", OTHER_REGION.format(PEERS_REGION)),
    # A cluster that is not listed.
    (endpoint(THIRD, PEERS_REGION), PEERS_REGION, "credential_scope", OTHER_REGION.format(PEERS_REGION)),
    (endpoint(THIRD, REGION), REGION, "host", NO_SIGNATURE),
    (endpoint(THIRD, "eu-west-1"), "eu-west-1", "credential_scope", OTHER_REGION.format("eu-west-1")),
])
def test_tokens_for_none_of_them(linked, host, region, check, hint):
    found, _, said = refused(linked, signed(linked, host.format(own=linked.cluster_id), region))
    assert (found, said[:len(hint)]) == (check, hint)


def test_a_client_that_names_one_needs_a_token_for_that_one(linked):
    own, peer = linked.variables["DSQL_ENDPOINT"], endpoint(PEER, PEERS_REGION)
    for host, options, token_for, region in [
            (own, "", peer, PEERS_REGION), (peer, "", own, REGION),
            ("localhost", f"-c amzn-cluster-id={PEER}", "localhost", REGION),
            ("localhost", f"-c amzn-cluster-id={linked.cluster_id}", peer, PEERS_REGION)]:
        check, _, hint = refused(linked, signed(linked, token_for, region), host, options=options)
        assert (check, hint) == ("credential_scope", OTHER_REGION.format(region))
    # Two names that do not agree, and names of none, before a token is asked for.
    for server_name, options in [
            (own, f"-c amzn-cluster-id={PEER}"), (endpoint(PEER, REGION), ""),
            (endpoint(THIRD, PEERS_REGION), ""), (None, f"-c amzn-cluster-id={THIRD}")]:
        with Wire(linked, server_name=server_name) as wire:
            error = wire.start(options=options).error()
        assert (error["sqlstate"], error["message"], error["hint"]) == ("08006", DENIED, None)


@contextlib.contextmanager
def user(server, name, *policies):
    """A user with these policies; gives its access key."""
    key = Key(f"AKIALINKED{name.upper():A<10}", f"secret of {name}, who is linked")
    with server.documents(linked_users=account({name: list(policies)}), linked_key=access_key(name, key)):
        yield key


ADMIN = "dsql:DbConnectAdmin"


def test_a_policy_that_names_one_of_them(linked):
    for of, region, other, others_region in [
            (linked.cluster_id, REGION, PEER, PEERS_REGION), (PEER, PEERS_REGION, linked.cluster_id, REGION)]:
        with user(linked, "one", policy(ADMIN, Resource=arn(of, region))) as key:
            admitted = sign(key, "DbConnectAdmin", endpoint(of, region), region)
            connect(linked, admitted).close()
            check, line, _ = refused(
                linked, sign(key, "DbConnectAdmin", endpoint(other, others_region), others_region))
            assert check == "policy"
            assert f"on resource: {arn(other, others_region)} because no identity-based policy" in line


def test_a_policy_that_asks_for_the_region(linked):
    condition = {"StringEquals": {"aws:RequestedRegion": PEERS_REGION}}
    with user(linked, "regional", policy(ADMIN, Condition=condition)) as key:
        connect(linked, sign(key, "DbConnectAdmin", endpoint(PEER, PEERS_REGION), PEERS_REGION)).close()
        assert refused(linked, sign(key, "DbConnectAdmin"))[0] == "policy"


def test_the_resource_based_policy_is_of_the_cluster_itself(linked):
    """The peer has one of its own, and that is in no document."""
    there = endpoint(PEER, PEERS_REGION)
    arn_of_nobody = f"arn:aws:iam::{ACCOUNT}:user/nobody"
    statement = {"Effect": "Allow", "Principal": {"AWS": arn_of_nobody}, "Action": ADMIN, "Resource": "*"}
    def document(**more):
        return {"policy": json.dumps({"Version": "2012-10-17", "Statement": [statement | more]}), "policyVersion": "1"}
    with user(linked, "nobody") as key, linked.documents(linked_policy=document()):
        connect(linked, sign(key, "DbConnectAdmin")).close()
        assert refused(linked, sign(key, "DbConnectAdmin", there, PEERS_REGION))[0] == "policy"
    with user(linked, "nobody", policy(ADMIN)) as key, linked.documents(linked_policy=document(Effect="Deny")):
        for token in (sign(key, "DbConnectAdmin"), sign(key, "DbConnectAdmin", there, PEERS_REGION)):
            check, line, _ = refused(linked, token)
            assert check == "policy" and "with an explicit deny in a resource-based policy" in line


def test_a_private_link_name_of_the_peers(linked):
    name = f"{PEER}.dsql-fnh4.{PEERS_REGION}.on.aws"
    token = signed(linked, name, PEERS_REGION)
    connect(linked, token).close()
    connect(linked, token, name).close()
    assert refused(linked, signed(linked, name, REGION))[0] == "credential_scope"
    # The peer's id in another region, and in the name of another service.
    for name in (f"{PEER}.dsql-fnh4.{REGION}.on.aws", f"{PEER}.rds.{PEERS_REGION}.on.aws"):
        assert refused(linked, signed(linked, name, PEERS_REGION))[0] == "credential_scope"


def test_the_record_is_of_the_cluster_that_the_token_is_for(linked):
    with linked.settings(dsql_iam__audit_file="'linked.json'"):
        connect(linked, signed(linked, endpoint(PEER, PEERS_REGION), PEERS_REGION)).close()
        connect(linked, signed(linked, "localhost", REGION)).close()
        lines = (linked.data / "linked.json").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [(event["awsRegion"], event["resources"][0]["ARN"]) for event in events] == [
        (PEERS_REGION, arn(PEER, PEERS_REGION)), (REGION, linked.cluster_arn)]


def test_what_explains_knows_them(linked):
    token = signed(linked, endpoint(PEER, PEERS_REGION), PEERS_REGION)
    with linked.superuser() as superuser:
        rows = superuser.execute("SELECT * FROM sys.explain_token('admin', %s)", (token,)).fetchall()
    assert ("role", "passed", None) in rows and ("region", "signed", PEERS_REGION) in rows
    [found] = [row[2] for row in linked.execute("SELECT * FROM sys.doctor()") if row[0] == "cluster"]
    assert found.startswith(f"{linked.cluster_arn}, linked with {arn(PEER, PEERS_REGION)}; ")

    command = [linked.command, "explain", "--role", "admin", "--cluster-arn", linked.cluster_arn,
               "--iam-directory", linked.iam]
    def explained(*more):
        return subprocess.run([*command, *more], input=token, text=True, capture_output=True, timeout=60)
    done = explained("--linked", f"{PEER}@{PEERS_REGION}")
    assert done.returncode == 0, done.stdout + done.stderr
    done = explained()
    assert done.returncode == 1 and "FAILED: the token was signed for region us-west-2" in done.stdout
    done = explained("--linked", PEER)
    assert done.returncode == 1 and "linked_clusters must be a list of ID@REGION" in done.stderr


def test_without_the_setting_it_is_another_cluster(own):
    peer = endpoint(PEER, PEERS_REGION)
    with own.settings(dsql_iam__linked_clusters="''"):
        assert refused(own, signed(own, peer, PEERS_REGION))[0] == "credential_scope"
        with Wire(own, server_name=peer) as wire:
            assert wire.start().error()["sqlstate"] == "08006"
