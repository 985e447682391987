"""`dsql-iam import`: users of a template and of a plan log in, with keys that were made up."""

import json
import pathlib

import psycopg
import pytest

from support import ACCOUNT, DENIED, REGION, Key, sign

DATA = pathlib.Path(__file__).parent.parent.parent / "cli/tests/data/import"
CLUSTER = "abcdefghijklmnopqrstuvwxyz"


def run(server, *arguments):
    assert pathlib.Path(server.command).name == "dsql-iam"
    done = server.run("import", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def user(name, resource):
    return {"Type": "AWS::IAM::User", "Properties": {"UserName": name, "Policies": [{
        "PolicyName": "connect", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "dsql:DbConnectAdmin", "Resource": resource}]}}]}}


@pytest.fixture(scope="module")
def keys(server, tmp_path_factory):
    """The keys of three users of a template, whose documents the server has."""
    directory = tmp_path_factory.mktemp("import")
    out = directory / "iam"
    template = directory / "App.template.json"
    template.write_text(json.dumps({"Resources": {
        "Cluster": {"Type": "AWS::DSQL::Cluster"},
        "Ann": user("imported-ann", "*"),
        "Bob": user("imported-bob", {"Fn::ImportValue": "nowhere"}),
        "Eve": user("imported-eve", {"Fn::GetAtt": ["Cluster", "ResourceArn"]}),
    }}))
    summary = run(server, "cloudformation", "--out", out, "--account-id", ACCOUNT, "--region", REGION,
                  "--cluster-id", CLUSTER, "--make-keys", template)
    assert "App.Bob.Policies[0]: statement 1 (Allow): export nowhere" in summary
    documents = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
    created = [document["AccessKey"] for document in documents.values() if "AccessKey" in document]
    made = {key["UserName"]: Key(key["AccessKeyId"], key["SecretAccessKey"]) for key in created}
    assert not any(key.secret in summary for key in made.values())
    documents = {f"imported-{name}": document for name, document in documents.items()
                 if not name.startswith("cluster-")}
    with server.documents(**documents):
        yield made


def test_who_is_imported_logs_in(server, keys):
    with server.connect(password=sign(keys["imported-ann"], "DbConnectAdmin")) as connection:
        arn = connection.execute("SELECT sys.iam_session_user()").fetchone()[0]
    assert arn == f"arn:aws:iam::{ACCOUNT}:user/imported-ann"


def test_an_unknown_value_lets_nobody_in(server, keys):
    with pytest.raises(psycopg.OperationalError, match=DENIED):
        server.connect(password=sign(keys["imported-bob"], "DbConnectAdmin"))
    with pytest.raises(psycopg.OperationalError, match=DENIED):
        server.connect(password=sign(keys["imported-ann"], "DbConnect"))


def test_a_plan_with_its_source(server, tmp_path):
    case = DATA / "terraform/lambda_with_source"
    out = tmp_path / "iam"
    summary = run(server, "terraform", "--out", out, "--cluster-id", CLUSTER,
                  "--source", case / "source", case / "plan.json")
    assert "aws_iam_role_policy.dsql.policy: from its source" in summary
    checked = server.run("check", "--iam-directory", out)
    assert checked.returncode == 0, checked.stdout
