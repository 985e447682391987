"""`dsql-iam access`: the principals that may connect as each role, and the mappings of another server."""

import csv
import html
import io
import json
import random
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree

import psycopg
import pytest

from support import ACCOUNT, Key, REGION, access_key, account, assumed_role, policy, sign, without

ID = "abcdefghijklmnopqrstuvwxyz"
CLUSTER = f"arn:aws:dsql:{REGION}:{ACCOUNT}:cluster/{ID}"
IAM = f"arn:aws:iam::{ACCOUNT}"
STS = f"arn:aws:sts::{ACCOUNT}"

APP = f"arn:aws:iam::{ACCOUNT}:role/team's/App"
MAPPINGS = "SELECT * FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'access%' ORDER BY 1"
FORMATS = [[], ["--expanded"], ["--csv"], ["--no-align"], ["--pset=border=2"]]


def psql(server, *arguments, **options):
    done = subprocess.run([server.bin / "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1",
                           "--dbname", server.conninfo, *arguments],
                          text=True, capture_output=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_mappings_of_another_server(server, role, tmp_path):
    names = [role(name) for name in ("access_reader", "access o'ops | x")]
    for name in names:
        for arn in (APP, f"arn:aws:iam::{ACCOUNT}:user/x/dba"):
            server.execute(f'''AWS IAM GRANT "{name}" TO '{arn.replace("'", "''")}\'''')
    mapped = lambda: {(row[1], row[3]) for row in server.execute(MAPPINGS)}
    expected = mapped()
    assert len(expected) == 4
    for arguments in FORMATS:
        creating = ["--create-roles"] if arguments == ["--csv"] else []
        only = "" if arguments in (["--csv"], ["--expanded"]) else " LIMIT 2"  # a bar in a name
        printed = psql(server, *arguments, "--command", MAPPINGS + only)
        path = tmp_path / "mappings.txt"
        path.write_text(printed)
        done = server.run("mappings", "--from", path, *creating)
        assert done.returncode == 0, (arguments, done.stderr)
        assert not creating or 'CREATE ROLE "access_reader" WITH LOGIN;' in done.stdout
        for arn, name in mapped():
            server.execute(f"""SELECT sys.iam_revoke('{name.replace("'", "''")}', '{arn.replace("'", "''")}')""")
        assert mapped() == set()
        if creating:
            for name in names:
                server.execute(f'DROP ROLE "{name}"')
        psql(server, input=done.stdout)
        wanted = {pair for pair in expected if not only or pair[1] == "access_reader"}
        assert mapped() == wanted, arguments
        for arn, name in expected - wanted:
            server.execute(f"""SELECT sys.iam_grant('{name.replace("'", "''")}', '{arn.replace("'", "''")}')""")


def test_a_mapping_that_cannot_be_told_is_an_error(server, tmp_path):
    printed = " arn | pg_role_name \n-----+---\n arn:aws:iam::012345678912:role/x | a | b\n"
    done = server.run("mappings", "--from", "-", input=printed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "dsql-iam: standard input: line 3: it has 3 columns, and the header has 2: "
        "have it printed as CSV (psql --csv)\n")


# dsql-iam access


def statement(effect, action, **more):
    return {"Effect": effect, "Action": action, "Resource": CLUSTER} | more


def inline(name, *statements):
    return {"PolicyName": name, "PolicyDocument": {
        "Version": "2012-10-17", "Statement": list(statements)}}


def managed(name, *statements):
    return {"PolicyName": name, "Arn": f"{IAM}:policy/{name}", "DefaultVersionId": "v1",
            "PolicyVersionList": [{"VersionId": "v1", "IsDefaultVersion": True, "Document": {
                "Version": "2012-10-17", "Statement": list(statements)}}]}


def documents():
    """One of each kind, and a reason for each refusal."""
    details = account(
        {"alice": [policy("dsql:DbConnect")], "bound": [policy("dsql:*")], "carol": []},
        {"App": [policy("dsql:DbConnect")],
         "Office": [inline("office", statement("Allow", "dsql:DbConnect", Sid="Office", Condition={
             "IpAddress": {"aws:SourceIp": "10.0.0.0/8"},
             "DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}))]})
    app = details["RoleDetailList"][0]
    app["Path"], app["Arn"] = "/team/", f"{IAM}:role/team/App"
    users = {user["UserName"]: user for user in details["UserDetailList"]}
    users["bound"]["PermissionsBoundary"] = {
        "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": f"{IAM}:policy/limit"}
    users["carol"]["GroupList"] = ["dbas"]
    details["Policies"] = [managed("limit", statement("Allow", "dsql:DbConnect"))]
    details["GroupDetailList"] = [{
        "Path": "/", "GroupName": "dbas", "Arn": f"{IAM}:group/dbas", "AttachedManagedPolicies": [],
        "GroupPolicyList": [inline("dba", statement("Allow", "dsql:DbConnectAdmin", Sid="Dba"))]}]
    live = Key("ASIAEXAMPLEACCESS001", "the-secret-of-a-session", "its-session-token-1" * 3)
    over = Key("ASIAEXAMPLEACCESS002", "the-secret-of-an-old-one", "its-session-token-2" * 3)
    old = assumed_role("Office", over, expiration="2025-01-01T00:00:00+00:00")
    return {"account.json": details, "session.json": assumed_role("App", live), "old.json": old}


MAPPED = "".join(f"{line}\n" for line in [
    "arn,pg_role_name", f"{IAM}:role/team/App,reader", f"{IAM}:role/Office,reader",
    f"{IAM}:user/bound,writer", f"{IAM}:user/nobody,writer"])


def store(folder, documents):
    folder.mkdir(exist_ok=True)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture
def access(server, tmp_path):
    """Runs the command on `documents`, with the mappings MAPPED."""
    kept = without("DSQL_")
    (tmp_path / "mappings.csv").write_text(MAPPED)

    def run(*arguments, documents=documents(), mappings=True, command="access", **options):
        folder = store(tmp_path / "iam", documents)
        if mappings:
            arguments = ["--mappings", tmp_path / "mappings.csv", *arguments]
        if command == "access":
            arguments = ["--cluster-arn", CLUSTER, *arguments]
        return server.run(command, "--iam-directory", folder, *arguments, env=kept, timeout=120, **options)

    return run


def cells(done):
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["access"]
    return {(row["principal"], row["role"]): row for row in rows}


def test_each_answer_has_its_reason(access):
    answers = cells(access("--json"))
    user, role = f"{IAM}:user/", f"{IAM}:role/"
    allow = "Allow: identity-based policy inline policy inline of "
    for principal, name, is_allowed, check, because in [
        (f"{user}alice", "admin", False, "policy",
         "because no identity-based policy allows the dsql:DbConnectAdmin action"),
        (f"{user}alice", "reader", False, "mapping",
         f"{user}alice is not mapped to role reader (AWS IAM GRANT)"),
        (f"{user}bound", "admin", False, "policy",
         "because no permissions boundary allows the dsql:DbConnectAdmin action: "
         f"{IAM}:policy/limit"),
        (f"{user}bound", "writer", True, None, None),
        (f"{user}carol", "admin", True, None, None),
        (f"{IAM}:group/dbas", "admin", True, None, None),
        (f"{IAM}:group/dbas", "reader", False, "policy",
         "because no identity-based policy allows the dsql:DbConnect action"),
        (f"{role}team/App", "reader", True, None, None),
        (f"{role}team/App", "writer", False, "mapping",
         f"{role}team/App is not mapped to role writer (AWS IAM GRANT)"),
        (f"{role}Office", "reader", False, "policy",
         "because no identity-based policy allows the dsql:DbConnect action"),
        (f"{STS}:assumed-role/App/s", "reader", True, None, None),
        (f"{STS}:assumed-role/Office/s", "reader", False, "session",
         "it ended at 20250101T000000Z"),
        (f"{user}nobody", "writer", False, "access_key", f"{user}nobody is in no document"),
    ]:
        row = answers[principal, name]
        assert (row["access"] == "allowed", row["check"], row["reason"]) == (
            is_allowed, check, because), (principal, name)
    assert answers[f"{role}team/App", "reader"]["statements"] == [
        f"{allow}{role}team/App, statement 1, in account.json"]
    assert answers[f"{IAM}:group/dbas", "admin"]["statements"] == [
        f"Allow: identity-based policy inline policy dba of {IAM}:group/dbas, statement 1 (Dba), "
        "in account.json"]
    assert answers[f"{role}Office", "reader"]["missing_context"] == ["aws:SourceIp"]
    assert len(answers) == 9 * 3
    office = cells(access("--json", "--source-ip", "10.1.2.3", "--at", "2025-06-01T00:00:00Z"))
    assert office[f"{role}Office", "reader"]["access"] == "allowed"


def test_as_a_table_and_as_csv(access):
    answers = cells(access("--json"))
    rows = list(csv.DictReader(io.StringIO(access("--csv").stdout)))
    assert {(row["principal"], row["role"]): row["access"] for row in rows} == {
        key: row["access"] for key, row in answers.items()}
    done = access()
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["PRINCIPAL", "ROLE", "ACCESS", "DECIDED", "BY"]
    line = next(line for line in lines if line.startswith(f"{IAM}:user/carol  "))
    assert "admin   allowed  Allow: identity-based policy inline policy dba of" in line
    assert lines[-1] == "5 allowed, 22 denied"
    alone = access("--json", mappings=False)
    answers = cells(alone)
    assert {role for _, role in answers} == {"admin", "*"}
    assert answers[f"{IAM}:user/alice", "*"]["access"] == "if mapped"
    assert access(mappings=False).stdout.splitlines()[-1] == (
        "2 allowed, 4 if mapped (give the mappings with --mappings), 10 denied")


def test_expectations_are_a_test(access, tmp_path):
    path, report = tmp_path / "expected.yaml", tmp_path / "report.xml"
    met = f"""
- {{principal: '{IAM}:role/team/App', role: reader, access: allowed}}
- principal: {IAM}:user/alice
  role: admin
  access: denied
- principal: {IAM}:role/Office
  role: reader
  access: allowed
  source_ip: 10.1.2.3
  at: 2025-06-01T00:00:00Z"""
    path.write_text(met)
    done = access("--expect", path, "--junit", report)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.splitlines()[-1] == "3 met, 0 not met"
    assert xml.etree.ElementTree.parse(report).getroot().get("failures") == "0"

    path.write_text(json.dumps([
        {"principal": f"{IAM}:role/team/App", "role": "reader", "access": "denied"},
        {"principal": f"{IAM}:user/al\"<i>&ce", "role": "<b>\u001b\u202e\uffff", "access": "denied"},
        {"principal": f"{IAM}:user/carol", "role": "admin", "access": "allowed"},
    ]))
    done = access("--expect", path, "--junit", report)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"MISMATCH  {IAM}:role/team/App  reader: denied: expected denied, and it is allowed: Allow: "
        f"identity-based policy inline policy inline of {IAM}:role/team/App, statement 1, in account.json",
        f"MISMATCH  {IAM}:user/al\"<i>&ce  <b>\\u{{1b}}\\u{{202e}}\\u{{ffff}}: denied: {IAM}:user/al\"<i>&ce is in no document",
        f"ok        {IAM}:user/carol  admin: allowed",
        "1 met, 2 not met"]
    suite = xml.etree.ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "2")
    cases = suite.findall("testcase")
    assert cases[1].get("classname") == f'{IAM}:user/al"<i>&ce'
    assert [len(case.findall("failure")) for case in cases] == [1, 1, 0]
    assert "expected denied, and it is allowed" in cases[0].find("failure").get("message")


@pytest.mark.parametrize(("text", "fault"), [
    ("", "the list is empty"),
    ("[]", "the list is empty"),
    ("a: b", "it is not a list"),
    ("- {principal: a, role: b}", "entry 1: missing field `access`"),
    ("- {principal: a, role: b, access: maybe}", "entry 1: unknown variant `maybe`"),
    ("- {principal: a, role: b, access: allowed, from: c}", "entry 1: unknown field `from`"),
    ("- {principal: a, role: b, access: allowed, source_ip: c}", "entry 1: invalid IP address"),
    ("- {principal: a, role: b, access: allowed, at: c}", "entry 1: it is not a time such as"),
    ("- {principal: a, principal: a}", "duplicate member"),
])
def test_an_expectation_that_cannot_be_read_is_an_error(access, tmp_path, text, fault):
    path = tmp_path / "expected.yaml"
    path.write_text(text)
    done = access("--expect", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"dsql-iam: {path}: ") and fault in done.stderr, done.stderr


def test_what_a_change_opens_and_closes(access, tmp_path):
    changed = documents()
    details = changed["account.json"]
    details["RoleDetailList"][0]["RolePolicyList"] = []
    details["UserDetailList"][0]["UserPolicyList"] = [policy("dsql:DbConnectAdmin")]
    del details["UserDetailList"][1]
    other = store(tmp_path / "changed", changed)
    done = access("--diff", other)
    assert done.returncode == 0, done.stderr
    reason = "because no identity-based policy allows the dsql:DbConnect action"
    assert done.stdout.splitlines() == [
        f"closed  {IAM}:role/team/App  reader  {reason}",
        f"opened  {IAM}:user/alice  admin  Allow: identity-based policy inline policy inline of "
        f"{IAM}:user/alice, statement 1, in account.json",
        f"closed  {IAM}:user/bound  writer  {IAM}:user/bound is in no document",
        f"closed  {STS}:assumed-role/App/s  reader  {reason}",
        "1 opened, 3 closed"]
    changes = json.loads(access("--diff", other, "--json").stdout)
    assert [change["change"] for change in changes] == ["closed", "opened", "closed", "closed"]
    assert changes[1]["before"]["check"] == "policy"
    assert access("--diff", store(tmp_path / "iam", documents())).stdout == "0 opened, 0 closed\n"


def test_ten_thousand_principals_take_seconds(access):
    many = account({f"user{number}": [policy("dsql:DbConnect")] for number in range(5_000)},
                   {f"role{number}": [policy("dsql:*")] for number in range(5_000)})
    began = time.monotonic()
    done = access("--csv", documents={"account.json": many})
    assert done.returncode == 0 and done.stdout.count("\n") > 30_000
    assert time.monotonic() - began < 60  # of a debug build, beside other tests


# The page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "<img src=x onerror=document.title=1>"


@pytest.fixture
def page(access, tmp_path):
    """The page, with somebody mapped to a role whose name is HTML."""
    (tmp_path / "mappings.csv").write_text(f'{MAPPED}{IAM}:user/alice,"{HOSTILE}"\n')
    path = tmp_path / "access.html"
    done = access("--mappings", tmp_path / "mappings.csv", "--html", path, mappings=False)
    assert (done.returncode, done.stdout) == (0, f"6 allowed, 30 denied: written to {path}\n")
    return path


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_page_in_a_browser(page, tmp_path):
    def browse(*arguments, page=page, fragment=""):
        done = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={tmp_path / 'browser'}", *arguments, f"file://{page}{fragment}"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
        assert done.returncode == 0
        return done.stdout

    def shown(dom):
        rows = dom.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr ")[1:]
        return [row.partition("</th>")[0].partition('<th scope="row">')[2].partition(" ")[0]
                for row in rows if "hidden" not in row.partition(">")[0]]

    # Without JavaScript, with which alone the browser can print what it shows, all is there but the filter.
    bare = tmp_path / "without.html"
    bare.write_text(page.read_text().partition("<script>")[0])
    dom = browse("--dump-dom", page=bare)
    assert '<p id="filter" hidden="">' in dom
    assert len(shown(dom)) == 9
    cell = '<td class="allowed"><a href="#r5-0">allowed</a></td>'
    assert cell in dom.partition("<tbody>")[2]
    reason = dom.partition('<dt id="r5-0">')[2].partition("<dt ")[0]
    assert reason.startswith('admin: <b class="allowed">allowed</b>')
    assert f"inline policy dba of {IAM}:group/dbas, statement 1 (Dba), in account.json" in reason
    text = html.unescape(reason.partition("<pre>")[2].partition("</pre>")[0])
    assert json.loads(text) == statement("Allow", "dsql:DbConnectAdmin", Sid="Dba")
    # With it there is a filter, and the name of a role stays a name.
    dom = browse("--dump-dom")
    assert '<p id="filter">' in dom and "9 of 9 principals" in dom
    assert "<img" not in dom and "&lt;img src=x" in dom
    assert "<title>Who may connect to arn:aws:dsql:" in dom
    dom = browse("--dump-dom", fragment="#filter=user/CAROL")
    assert shown(dom) == [f"{IAM}:user/carol"] and "1 of 9 principals" in dom
    # Printed, it is a document.
    browse(f"--print-to-pdf={tmp_path / 'access.pdf'}")
    assert (tmp_path / "access.pdf").read_bytes().startswith(b"%PDF-")


def test_the_page_needs_nothing_beside_it(page):
    text = page.read_text()
    assert "default-src 'none'" in text and text.count("<script>") == 1
    for word in ("http://", "https://", "src=\"", "url(", "@import"):
        assert word not in text
    assert HOSTILE not in text


def test_the_page_has_statements_of_sessions_and_of_the_cluster(access, tmp_path):
    narrowed = statement("Deny", "dsql:*", Sid="Narrowed")
    closed = statement("Deny", "dsql:DbConnect", Sid="Closed", Principal={"AWS": f"{IAM}:user/alice"})
    all_documents = documents()
    all_documents["session.json"]["Request"] = {
        "RoleArn": f"{IAM}:role/team/App", "RoleSessionName": "s",
        "Policy": json.dumps({"Version": "2012-10-17", "Statement": narrowed})}
    all_documents["cluster.json"] = {"policy": json.dumps({"Version": "2012-10-17", "Statement": [closed]})}
    path = tmp_path / "access.html"
    assert access("--html", path, documents=all_documents).returncode == 0
    texts = re.findall("<pre>(.*?)</pre>", path.read_text(), re.DOTALL)
    found = [json.loads(html.unescape(text)) for text in texts]
    assert narrowed in found and closed in found


# sys.iam_access


def test_a_server_answers_as_the_command_does(server, role, tmp_path):
    reader, locked = role("access_reader"), role("access_locked")
    example = f"{IAM}:role/example"
    for name in (reader, locked):
        server.execute(f"AWS IAM GRANT {name} TO '{example}'")
    server.execute(f"ALTER ROLE {locked} NOLOGIN")
    told = {(row[0], row[2]): row for row in server.execute("SELECT * FROM sys.iam_access")}
    printed = psql(server, "--csv", "--command", "SELECT * FROM sys.iam_pg_role_mappings")
    done = server.run("access", "--json", "--iam-directory", server.iam, "--mappings", "-",
                      "--cluster-arn", server.cluster_arn, input=printed)
    rows = cells(done)
    assert told.keys() == rows.keys()
    differing = {key for key, row in rows.items()
                 if (row["access"], row["check"], row["reason"], row["statements"])
                 != (told[key][3], told[key][4], told[key][5], told[key][6])}
    # Only the server knows who may log in at all.
    assert (example, locked) in differing and {name for _, name in differing} == {locked}
    assert told[example, locked][3:6] == ("denied", "role", f"role {locked} is not permitted to log in")
    assert told[example, reader][3] == "allowed"
    assert server.admits(reader, server.token("example"))
    assert not server.admits(locked, server.token("example"))
    assert told[f"{IAM}:user/visitor", "admin"][3:5] == ("denied", "policy")


def test_only_superusers_see_it(server, admin):
    for statement in ("SELECT * FROM sys.iam_access", "SELECT * FROM sys.iam_access('{}', '{}')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute(statement)


def test_answers_are_made_one_by_one(server):
    """`admin` may map as many as it likes: nine million answers would be gigabytes, and a minute's work."""
    many = "SELECT array_agg(format('{}', n)) FROM generate_series(1, 3000) AS n"
    arns, roles = many.format(f"{IAM}:user/%s"), many.format("role_%s")
    with server.superuser() as connection:
        connection.execute("SET statement_timeout = '20s'")
        rows = connection.execute(f"SELECT sys.iam_access(({arns}), ({roles})) LIMIT 3").fetchall()
    assert len(rows) == 3


def test_documents_that_cannot_be_read_are_an_error(own):
    path = own.iam / "broken.json"
    path.write_text("{")
    try:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="broken.json"):
            own.execute("SELECT * FROM sys.iam_access")
    finally:
        path.unlink()
    assert own.execute("SELECT count(*) > 0 FROM sys.iam_access") == [(True,)]


# The commands, about accounts made at random from seeds that are always the same


def generated(seed):
    """Documents, with a key for each user and a session for each role."""
    chance = random.Random(seed)

    def statements():
        return [statement(
            chance.choice(["Allow", "Allow", "Allow", "Deny"]),
            chance.choice(["dsql:DbConnect", "dsql:DbConnectAdmin", "dsql:*", "*", "dsql:DbConect"]),
            Resource=chance.choice([CLUSTER, "*", CLUSTER[:-1] + "0", f"arn:aws:dsql:*:{ACCOUNT}:cluster/*"]),
            **chance.choice([{}, {}, {"Condition": {
                chance.choice(["StringEquals", "StringNotEquals"]): {
                    chance.choice(["aws:PrincipalTag/team", "aws:PrincipalType", "aws:userid"]):
                        chance.choice(["a", "User", "AssumedRole", "AIDA"])}}}]),
        ) for _ in range(chance.randint(1, 2))]

    details = account({f"user{n}": [] for n in range(4)}, {f"role{n}": [] for n in range(3)})
    details["Policies"] = [managed(f"policy{n}", *statements()) for n in range(3)]
    attached = lambda: [{"PolicyName": f"policy{n}", "PolicyArn": f"{IAM}:policy/policy{n}"}
                        for n in range(3) if chance.random() < 0.3]
    inlined = lambda: [inline("inline", *statements())] if chance.random() < 0.6 else []
    details["GroupDetailList"] = [{
        "Path": "/", "GroupName": f"group{n}", "Arn": f"{IAM}:group/group{n}",
        "GroupPolicyList": inlined(), "AttachedManagedPolicies": attached()} for n in range(2)]
    documents = {"account.json": details}
    for number, user in enumerate(details["UserDetailList"]):
        user |= {"UserPolicyList": inlined(), "AttachedManagedPolicies": attached(),
                 "GroupList": [f"group{n}" for n in range(2) if chance.random() < 0.4]}
        documents[f"key{number}.json"] = access_key(
            user["UserName"], Key(f"AKIAEXAMPLEACCESS{number:03}", f"the-secret-of-user-{number}"))
    for number, role in enumerate(details["RoleDetailList"]):
        role |= {"RolePolicyList": inlined(), "AttachedManagedPolicies": attached()}
        documents[f"session{number}.json"] = assumed_role(role["RoleName"], Key(
            f"ASIAEXAMPLEACCESS{number:03}", f"the-secret-of-role-{number}", f"session-token-{number}" * 3))
    for one in details["UserDetailList"] + details["RoleDetailList"]:
        if chance.random() < 0.4:
            one["Tags"] = [{"Key": "team", "Value": chance.choice(["a", "b"])}]
        if chance.random() < 0.3:
            one["PermissionsBoundary"] = {"PermissionsBoundaryType": "Policy",
                                          "PermissionsBoundaryArn": f"{IAM}:policy/policy0"}
    if chance.random() < 0.5:
        documents["scp.json"] = {"Policy": {
            "PolicySummary": {"Id": "p-1", "Arn": "arn:aws:organizations::aws:policy/service_control_policy/p-1",
                              "Name": "limits", "Type": "SERVICE_CONTROL_POLICY"},
            "Content": json.dumps({"Version": "2012-10-17", "Statement": statements()})}}
    return documents


@pytest.mark.parametrize("seed", range(4))
def test_the_commands_agree(access, tmp_path, seed):
    all_documents = generated(seed)
    ask = lambda *arguments, **options: access(
        *arguments, documents=all_documents, mappings=False, **options)
    answers = cells(ask("--json"))
    assert len(answers) == (4 + 3 + 2 + 3) * 2
    assert len({row["access"] for row in answers.values()}) > 1
    actions = {"admin": "DbConnectAdmin", "*": "DbConnect"}
    for (principal, role), row in answers.items():
        is_allowed = row["access"] != "denied"
        if row["principal_type"] in ("user", "role", "group"):
            done = ask("--policy-source-arn", principal, "--action-names", f"dsql:{actions[role]}",
                       "--resource-arns", CLUSTER, command="simulate-principal-policy")
            [result] = json.loads(done.stdout)["EvaluationResults"]
            assert (result["EvalDecision"] == "allowed") == is_allowed, (principal, role, row, result)
    keys = {f"{IAM}:user/{document['AccessKey']['UserName']}": document["AccessKey"]
            for document in all_documents.values() if "AccessKey" in document}
    keys |= {document["AssumedRoleUser"]["Arn"]: document["Credentials"]
             for document in all_documents.values() if "Credentials" in document}
    for principal, key in keys.items():
        key = Key(key["AccessKeyId"], key["SecretAccessKey"], key.get("SessionToken"))
        for role, action in actions.items():
            done = ask("--role", role, "--cluster-arn", CLUSTER, "--json", command="explain",
                       input=sign(key, action, host=f"{ID}.dsql.{REGION}.on.aws"))
            explained, row = json.loads(done.stdout), answers[principal, role]
            assert explained["is_admitted"] == (row["access"] != "denied"), (row, explained)
            failed = [check for check in explained["checks"] if check["outcome"] == "failed"]
            assert [check["check_name"] for check in failed] == [row["check"]] * len(failed)
            assert all(check["reason"].endswith(row["reason"].partition(": arn:")[0])
                       for check in failed)
            said = {line.removesuffix(": decides") for line in explained["statements"]}
            assert set(row["statements"]) <= said
    # A statement that decides is none of those that check says have no effect.
    checked = json.loads(ask("--cluster-arn", CLUSTER, "--json", command="check").stdout)
    assert checked["findings"] and {finding["severity"] for finding in checked["findings"]} == {"warning"}
    decided = "\n".join(line for row in answers.values() for line in row["statements"])
    assert ", statement 1, in account.json" in decided
    for finding in checked["findings"]:
        place, _, number = finding["subject"].rpartition(", statement ")
        owner, _, name = place.partition(", policy ")
        source = f"inline policy {name} of {owner}" if name else place
        assert f"policy {source}, statement {number}, in" not in decided, finding
