"""AWS IAM GRANT and AWS IAM REVOKE: every way to send them, and every way to get them wrong."""

import asyncio
import re

import asyncpg
import psycopg
import pytest

from support import ACCOUNT, EXAMPLE_ARN as ARN, Wire, fields_of, message

OTHER_ARN = f"arn:aws:iam::{ACCOUNT}:user/team/dba"


@pytest.fixture
def stated(role):
    return role("stated")


def assert_fails(connection, statement, sqlstate, text, detail=None, hint=None, at=None):
    """`at` is the text at which the error points."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement, prepare=False)
    diagnosis = raised.value.diag
    assert diagnosis.sqlstate == sqlstate
    assert diagnosis.message_primary == text
    assert diagnosis.message_detail == detail
    assert diagnosis.message_hint == hint
    position = diagnosis.statement_position
    assert (position and int(position)) == (None if at is None else at), statement


# Malformed texts: the mark « stands where the error has to point.
MALFORMED = [
    ("AWS IAM GRANT«", None),
    ("AWS IAM GRANT«;", ";"),
    ("AWS IAM GRANT stated«", None),
    ("AWS IAM GRANT stated «;", ";"),
    ("AWS IAM GRANT stated TO«", None),
    ("AWS IAM GRANT stated TO «;", ";"),
    ("AWS IAM REVOKE«", None),
    ("AWS IAM REVOKE stated FROM«", None),
    (f"AWS IAM GRANT stated «FROM '{ARN}'", "FROM"),
    (f"AWS IAM REVOKE stated «TO '{ARN}'", "TO"),
    (f"AWS IAM GRANT stated «'{ARN}'", f"'{ARN}'"),
    (f"AWS IAM GRANT stated «stated TO '{ARN}'", "stated"),
    (f"AWS IAM GRANT «TO '{ARN}'", "TO"),
    (f"AWS IAM GRANT «'stated' TO '{ARN}'", "'stated'"),
    (f"AWS IAM GRANT «E'stated' TO '{ARN}'", "E'stated'"),
    (f"AWS IAM GRANT «$$stated$$ TO '{ARN}'", "$$stated$$"),
    (f"AWS IAM GRANT «1 TO '{ARN}'", "1"),
    (f"AWS IAM GRANT «$1 TO '{ARN}'", "$1"),
    (f"AWS IAM GRANT «select TO '{ARN}'", "select"),
    (f"AWS IAM GRANT «current_user TO '{ARN}'", "current_user"),
    (f"AWS IAM GRANT stated«, stated TO '{ARN}'", ","),
    (f"AWS IAM GRANT stated«.stated TO '{ARN}'", "."),
    (f"AWS IAM GRANT «(stated) TO '{ARN}'", "("),
    ("AWS IAM GRANT stated TO «arn", "arn"),
    ('AWS IAM GRANT stated TO «"arn"', '"arn"'),
    ("AWS IAM GRANT stated TO «1", "1"),
    ("AWS IAM GRANT stated TO «NULL", "NULL"),
    ("AWS IAM GRANT stated TO «$1", "$1"),
    ("AWS IAM REVOKE stated FROM «$1", "$1"),
    ("AWS IAM GRANT stated TO «B'01'", "B'01'"),
    (f"AWS IAM GRANT stated TO «('{ARN}')", "("),
    (f"AWS IAM GRANT stated TO '{ARN}' «'b'", "'b'"),
    (f"AWS IAM GRANT stated TO '{ARN}'«, '{ARN}'", ","),
    (f"AWS IAM GRANT stated TO '{ARN}' «|| 'b'", "||"),
    (f"AWS IAM GRANT stated TO '{ARN}' «WITH ADMIN OPTION", "WITH"),
    (f"AWS IAM GRANT stated TO '{ARN}' «LANGUAGE plpgsql", "LANGUAGE"),
    (f"AWS IAM REVOKE stated FROM '{ARN}' «CASCADE", "CASCADE"),
    (f"AWS IAM GRANT stated TO '{ARN}' «AWS IAM GRANT stated TO '{ARN}'", "AWS"),
    (f"«AWS IAM DENY stated TO '{ARN}'", "AWS"),
    (f"«AWS GRANT stated TO '{ARN}'", "AWS"),
    ("«AWS IAM", "AWS"),
    ("«AWS", "AWS"),
    (f"«AWS 'IAM' GRANT stated TO '{ARN}'", "AWS"),
    # in the middle of another statement
    (f"EXPLAIN «AWS IAM GRANT stated TO '{ARN}'", "AWS"),
    (f"PREPARE p AS\n «AWS IAM GRANT stated TO '{ARN}'", "AWS"),
    # AWS is an alias here, so that IAM is the word too many
    (f"SELECT 1 AWS «IAM GRANT stated TO '{ARN}'", "IAM"),
    # a comment between does not make a statement of it
    (f"EXPLAIN /* c */ «AWS IAM GRANT stated TO '{ARN}'", "AWS"),
    (f"SELECT 1 /* c */ AWS «IAM GRANT stated TO '{ARN}'", "IAM"),
    # behind a comment in a comment it may be a statement; the word that the error names is the one that
    # the server's parser was shown instead
    (f"EXPLAIN /* /* c */ */ «AWS IAM GRANT stated TO '{ARN}'", "do"),
    # behind characters of two, three and four bytes
    ('AWS IAM GRANT "é" TO «1', "1"),
    ('AWS IAM GRANT "€𝄞" TO «$1', "$1"),
    ("/* é€𝄞 */ AWS IAM GRANT stated TO «arn", "arn"),
    ("SELECT '𝄞'; AWS IAM GRANT stated «FROM 'é'", "FROM"),
    ("AWS IAM GRANT stated TO «é", "é"),
    (f"AWS IAM GRANT stated TO '{ARN}' «é", "é"),
]


@pytest.mark.parametrize(("marked", "near"), MALFORMED, ids=[marked for marked, _ in MALFORMED])
def test_malformed(server, stated, admin, marked, near):
    statement = marked.replace("«", "")
    where = marked.index("«") + 1
    text = f'syntax error at or near "{near}"' if near else "syntax error at end of input"
    assert_fails(admin, statement, "42601", text, at=where)
    assert server.mappings("stated") == []
    # As the extended protocol finds it: at Parse.
    if ";" not in statement:
        with pytest.raises(psycopg.errors.SyntaxError) as raised:
            admin.execute(statement, prepare=True)
        assert raised.value.diag.message_primary == text
        assert raised.value.diag.statement_position == str(where)


def test_position_as_asyncpg_sees_it(server, stated):
    async def run():
        connection = await server.asyncpg("admin", server.token("admin"))
        try:
            with pytest.raises(asyncpg.PostgresSyntaxError) as raised:
                await connection.execute("AWS IAM GRANT stated TO $1", ARN)
            return raised.value
        finally:
            await connection.close()
    error = asyncio.run(run())
    assert (error.sqlstate, error.message, error.position) == (
        "42601", 'syntax error at or near "$1"', "25")


def test_the_transaction_is_aborted_by_a_syntax_error(server, stated, admin):
    with pytest.raises(psycopg.errors.SyntaxError):
        admin.execute(f"AWS IAM GRANT stated TO '{ARN}'; AWS IAM GRANT stated TO arn")
    assert server.mappings("stated") == []


# Statements that cannot be carried out

FAILING = [
    ("GRANT nobody TO 'arn:aws:iam::012345678912:role/example'", "42704",
     "Role nobody does not exist", None),
    ("REVOKE nobody FROM 'arn:aws:iam::012345678912:role/example'", "42704",
     "Role nobody does not exist", None),
    ("GRANT public TO 'arn:aws:iam::012345678912:role/example'", "42704",
     "Role public does not exist", None),
    ("GRANT admin TO 'arn:aws:iam::012345678912:role/example'", "0LP01",
     "Cannot establish trust with role admin", None),
    ("GRANT postgres TO 'arn:aws:iam::012345678912:role/example'", "0LP01",
     "Cannot establish trust with role postgres", None),
    ("GRANT pg_monitor TO 'arn:aws:iam::012345678912:role/example'", "0LP01",
     "Role pg_monitor not supported", None),
    ("GRANT stated_nologin TO 'arn:aws:iam::012345678912:role/example'", "0LP01",
     "role stated_nologin must have the LOGIN attribute", None),
    ("GRANT stated TO 'arn:aws:iam::012345678912:role/mapped'", "42710",
     "IAM role arn:aws:iam::012345678912:role/mapped is already granted to role stated", None),
    ("REVOKE stated FROM 'arn:aws:iam::012345678912:role/example'", "42704",
     "IAM role arn:aws:iam::012345678912:role/example does not exist",
     "It is not granted to role stated."),
] + [
    (f"{verb} '{arn}'", "22023", "IAM role must look like an IAM ARN", None)
    for verb in ("GRANT stated TO", "REVOKE stated FROM")
    for arn in (
        "", "nonsense", "arn:aws:iam::012345678912:role/", "arn:aws:iam::012345678912:role",
        "arn:aws:iam::01234567891:role/x", "arn:aws:iam::0123456789123:role/x",
        "arn:aws:iam:us-east-1:012345678912:role/x", "arn:aws:iam::012345678912:root",
        "arn:aws:iam::012345678912:group/x", "arn:aws:iam::012345678912:role/*",
        "arn:aws:sts::012345678912:assumed-role/example/local", "arn:aws:s3:::bucket",
        " arn:aws:iam::012345678912:role/x", "arn:aws:iam::012345678912:role/x ",
        "arn:aws:iam::012345678912:role/a//b", "ARN:AWS:IAM::012345678912:role/x",
        "arn:aws:iam::012345678912:role/é", "arn:aws:iam::012345678912:role/" + "x" * 65,
    )
]


@pytest.mark.parametrize(("statement", "sqlstate", "text", "detail"), FAILING)
def test_failing(role, stated, admin, statement, sqlstate, text, detail):
    role("stated_nologin", "NOLOGIN")
    admin.execute("AWS IAM GRANT stated TO 'arn:aws:iam::012345678912:role/mapped'")
    assert_fails(admin, f"AWS IAM {statement}", sqlstate, text, detail)
    # The same by the function that does the same.
    verb, name, _, arn = re.fullmatch(r"(\w+) (\w+) (TO|FROM) '(.*)'", statement).groups()
    call = f"SELECT sys.iam_{verb.lower()}('{name}', '{arn}')"
    with pytest.raises(psycopg.Error) as raised:
        admin.execute(call)
    diagnosis = raised.value.diag
    assert (diagnosis.sqlstate, diagnosis.message_primary, diagnosis.message_detail) == (
        sqlstate, text, detail)


def test_custom_role_may_not(server, role, stated, admin):
    custom = role("stated_custom", "LOGIN CREATEROLE")
    admin.execute(f"AWS IAM GRANT stated_custom TO '{ARN}'")
    with server.connect(custom) as connection:
        for own in ("stated", "stated_custom"):
            assert_fails(connection, f"AWS IAM GRANT {own} TO '{OTHER_ARN}'", "42501",
                         f"permission denied to grant IAM trust with role {own}")
        assert_fails(connection, f"SELECT sys.iam_grant('stated', '{OTHER_ARN}')", "42501",
                     "permission denied to grant IAM trust with role stated")
        assert_fails(connection, f"AWS IAM REVOKE stated_custom FROM '{ARN}'", "42501",
                     "permission denied to revoke IAM trust from role stated_custom")
        # As opaque about roles that are not there.
        assert_fails(connection, f"AWS IAM GRANT nobody TO '{OTHER_ARN}'", "42501",
                     "permission denied to grant IAM trust with role nobody")
        assert_fails(
            connection, f"SECURITY LABEL FOR \"dsql_iam:{OTHER_ARN}\" ON ROLE stated IS 'x'",
            "42501", "permission denied to set a security label of dsql_iam")
        assert connection.execute("SELECT pg_role_name FROM sys.iam_pg_role_mappings WHERE "
                                  "pg_role_name LIKE 'stated%'").fetchall() == [(custom,)]
    assert server.mappings("stated") == []


def test_read_only(server, stated, admin):
    for verb, name in (("GRANT stated TO", "GRANT"), ("REVOKE stated FROM", "REVOKE")):
        admin.execute("BEGIN READ ONLY")
        assert_fails(admin, f"AWS IAM {verb} '{ARN}'", "25006",
                     f"cannot execute AWS IAM {name} in a read-only transaction")
        admin.execute("ROLLBACK")


def test_drop_of_a_mapped_role(server, role, stated, admin):
    role("stated_free")
    admin.execute(f"AWS IAM GRANT stated TO '{ARN}'")
    text = 'role "stated" cannot be dropped because some objects depend on it'
    for drop in ("DROP ROLE stated", "DROP USER IF EXISTS stated", "DROP ROLE stated_free, stated",
                 "DO $$ BEGIN DROP ROLE stated; END $$"):
        with server.superuser() as superuser, pytest.raises(psycopg.Error) as raised:
            superuser.execute(drop)
        assert raised.value.diag.sqlstate == "2BP01"
        assert raised.value.diag.message_primary == text
        assert raised.value.diag.message_detail == (
            "IAM principals are mapped to it; sys.iam_pg_role_mappings lists them.")
    assert server.mappings("stated") == [ARN]
    server.execute("SELECT 'stated_free'::regrole")
    admin.execute(f"AWS IAM REVOKE stated FROM '{ARN}'")
    server.execute("DROP ROLE stated")


def test_rename_keeps_the_mapping(server, role, stated, admin):
    admin.execute(f"AWS IAM GRANT stated TO '{ARN}'")
    server.execute("DROP ROLE IF EXISTS stated_renamed")
    server.execute("ALTER ROLE stated RENAME TO stated_renamed")
    try:
        assert server.mappings("stated_renamed") == [ARN]
        server.connect("stated_renamed").close()
        assert server.refusal("stated", server.token("example")).sqlstate == "28000"
    finally:
        server.execute("ALTER ROLE stated_renamed RENAME TO stated")


def test_security_labels(server, stated):
    with server.superuser() as superuser:
        def label(arn, value, on="ROLE stated"):
            return f"SECURITY LABEL FOR \"dsql_iam:{arn}\" ON {on} IS {value}"
        assert_fails(superuser, label("nonsense", "'x'"), "22023",
                     "IAM role must look like an IAM ARN")
        for value in ("'x'", "'{}'", "''", """'{"iam_oid": -1, "grantor_oid": 1, "grantor": "a"}'""",
                      """'{"iam_oid": 4294967296, "grantor_oid": 1, "grantor": "a"}'"""):
            assert_fails(superuser, label(ARN, value), "22023",
                         "invalid security label of dsql_iam",
                         hint="Use AWS IAM GRANT; it writes these labels, and dumps bring them back.")
        fine = """'{"iam_oid": 1, "grantor_oid": 1, "grantor": "admin"}'"""
        assert_fails(superuser, label(ARN, fine, "SCHEMA public"), "42809",
                     "security labels of dsql_iam are for roles only")
        assert_fails(superuser, label(ARN, fine, "ROLE admin"), "0LP01",
                     "Cannot establish trust with role admin")
        assert server.mappings("stated") == []
        superuser.execute(label(ARN, fine))
        assert server.mappings("stated") == [ARN]
        superuser.execute(label(ARN, "NULL"))
        assert server.mappings("stated") == []


def test_only_who_logs_in_as_admin_is_admin(server, stated, role):
    """The in-server test admin.sql has the rest; there the session is a superuser's."""
    server.execute(f"SELECT sys.iam_grant('stated', '{ARN}')")
    with server.connect("stated") as connection:
        for statement in ("SET ROLE admin", "SET SESSION AUTHORIZATION admin",
                          "SELECT set_config('role', 'admin', false)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with pytest.raises(psycopg.OperationalError, match='permission denied to set role "admin"'):
        server.connect("stated", options="-c role=admin")


# Every way to send it

def test_however_many_blanks(admin):
    """The words are found past as many as there are, and where a page of memory ends between them."""
    many = [("", blanks) for blanks in range(1, 300)]
    behind_a_page = [(" " * before, 200) for before in range(0, 4200, 150)]
    for before, blanks in many + behind_a_page:
        for blank in (" ", "\n"):
            assert_fails(admin, f"{before}aws{blank * blanks}iam GRANT nobody TO '{ARN}'", "42704",
                         "Role nobody does not exist")


def test_simple_protocol(server, stated):
    """Through the wire itself: libpq's PQexec, completion tags and all."""
    with Wire(server) as wire:
        wire.start().asked_for_password().password(server.token("admin").encode())
        while wire.receive()[0] != b"Z":
            pass
        def query(text):
            wire.send(message(b"Q", text.encode() + b"\0"))
            answers = []
            while (answer := wire.receive())[0] != b"Z":
                answers.append(answer)
            return answers
        assert query(f"AWS IAM GRANT stated TO '{ARN}'") == [(b"C", b"GRANT ROLE\0")]
        assert query(f"AWS IAM REVOKE stated FROM '{ARN}'; SELECT 1 WHERE false;"
                     f"aws iam grant stated to '{OTHER_ARN}';;"
                     f"AWS IAM GRANT stated TO '{ARN}'")[::3] == [
            (b"C", b"REVOKE ROLE\0"), (b"C", b"GRANT ROLE\0")]
        (kind, body), = query("AWS IAM GRANT stated TO 'x'")
        fields = fields_of(body)
        assert (kind, fields["severity"], fields["sqlstate"]) == (b"E", "ERROR", "22023")
    assert server.mappings("stated") == [ARN, OTHER_ARN]


def test_prepared_twice(server, stated, admin):
    for _ in range(3):
        done = admin.execute(f"AWS IAM GRANT stated TO '{ARN}'", prepare=True)
        assert done.statusmessage == "GRANT ROLE"
        assert server.mappings("stated") == [ARN]
        done = admin.execute(f"AWS IAM REVOKE stated FROM '{ARN}'", prepare=True)
        assert done.statusmessage == "REVOKE ROLE"
        assert server.mappings("stated") == []


def test_asyncpg(server, stated):
    async def run():
        connection = await server.asyncpg("admin", server.token("admin"))
        try:
            assert await connection.execute(f"AWS IAM GRANT stated TO '{ARN}'") == "GRANT ROLE"
            revoke = await connection.prepare(f"AWS IAM REVOKE stated FROM '{ARN}'")
            await revoke.fetch()
            assert revoke.get_statusmsg() == "REVOKE ROLE"
            await connection.execute(f"AWS IAM GRANT stated TO '{ARN}'; SELECT 1;")
        finally:
            await connection.close()
    asyncio.run(run())
    assert server.mappings("stated") == [ARN]


@pytest.mark.parametrize("statement", [
    f"aws iam grant stated to '{ARN}'",
    f"Aws Iam Grant STATED tO '{ARN}'",
    f'AWS IAM GRANT "stated" TO \'{ARN}\'',
    f'AWS IAM GRANT U&"st\\0061ted" TO \'{ARN}\'',
    f"\n\t AWS\n IAM\r\n\tGRANT\x0cstated\x0cTO'{ARN}'",
    f"/* a */AWS/* b; 'c */IAM/* /* d */ */GRANT--e'\nstated/**/TO/*f*/'{ARN}'--g",
    f"-- AWS IAM GRANT x TO 'y'\nAWS IAM GRANT stated TO '{ARN}' -- ;",
    f"AWS IAM GRANT stated TO $${ARN}$$",
    f"AWS IAM GRANT stated TO $a$${ARN}$a$".replace("$a$$", "$a$"),
    f"AWS IAM GRANT stated TO E'{ARN.replace('role', chr(92) + 'x72ole')}'",
    f"AWS IAM GRANT stated TO U&'{ARN.replace('role', chr(92) + '0072ole')}'",
    f"AWS IAM GRANT U&\"st!0061ted\" UESCAPE '!' TO U&'{ARN.replace('role', '!0072ole')}' UESCAPE '!'",
    f"AWS IAM GRANT U&\"st!0061ted\" UESCAPE $$!$$ TO '{ARN}'",
    f"AWS IAM GRANT U&\"st!0061ted\"UESCAPE E'!'TO '{ARN}'",
    f"AWS IAM GRANT stated TO '{ARN[:20]}'\n'{ARN[20:]}'",
    f";;; AWS IAM GRANT stated TO '{ARN}' ;;;",
    f"SELECT 'AWS IAM GRANT x'; AWS IAM GRANT stated TO '{ARN}'; SELECT 2",
    f"AWS IAM GRANT stated TO '{OTHER_ARN}'; AWS IAM GRANT stated TO '{ARN}'; "
    f"AWS IAM REVOKE stated FROM '{OTHER_ARN}'",
    f"SELECT 'é€𝄞'; AWS IAM GRANT stated TO '{ARN}'",
    f"AWS IAM GRANT stated TO '{ARN}' /* {'x' * 5000} */",
    f"/* {'x' * 100000} */ AWS IAM /* {'x' * 100000} */ GRANT stated TO '{ARN}'",
    f"DO $$ BEGIN AWS IAM GRANT stated TO '{ARN}'; END $$",
    f"DO $$ BEGIN EXECUTE 'AWS IAM GRANT stated TO ''{ARN}'''; END $$",
    f"DO $$ BEGIN EXECUTE format('AWS IAM GRANT %I TO %L', 'stated', '{ARN}'); END $$",
    f"SELECT sys.iam_grant('stated', '{ARN}')",
], ids=lambda statement: statement[:60])
def test_notation(server, stated, admin, statement):
    admin.execute(statement, prepare=False)
    assert server.mappings("stated") == [ARN]


def test_strings_do_not_conform(server, stated, admin):
    if server.version >= 19:
        pytest.skip("from 19 on all strings conform")
    admin.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
    arn = ARN.replace("role", "\\x72ole")
    admin.execute(f"AWS IAM GRANT stated TO '{arn}'")
    assert server.mappings("stated") == [ARN]


def test_role_with_quotes_and_blanks(server, role, admin):
    name = role('stated ; \'é')
    admin.execute(f'AWS IAM GRANT "stated ; \'é" TO \'{ARN}\'')
    assert admin.execute("SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = %s",
                         (name,)).fetchall() == [(ARN,)]


def test_transactions(server, stated, admin):
    admin.execute("BEGIN")
    admin.execute(f"AWS IAM GRANT stated TO '{ARN}'")
    own = admin.execute("SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'stated'")
    assert own.fetchall() == [(ARN,)]
    assert server.mappings("stated") == []
    assert server.refusal("stated", server.token("example")).sqlstate == "28000"
    admin.execute("ROLLBACK")
    assert server.mappings("stated") == []
    admin.execute(f"BEGIN; AWS IAM GRANT stated TO '{ARN}'; SAVEPOINT s; "
                  f"AWS IAM GRANT stated TO '{OTHER_ARN}'; ROLLBACK TO s; COMMIT")
    assert server.mappings("stated") == [ARN]
    admin.execute(f"BEGIN; AWS IAM REVOKE stated FROM '{ARN}'; ROLLBACK")
    assert server.mappings("stated") == [ARN]


def test_functions(server, stated, admin):
    admin.execute(f"""
        CREATE FUNCTION public.stated_map() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            AWS IAM GRANT stated TO '{ARN}';
            EXECUTE 'AWS IAM GRANT stated TO ''{OTHER_ARN}''';
            AWS IAM REVOKE stated FROM '{ARN}';
        END $$""")
    try:
        for _ in range(2):
            admin.execute("SELECT public.stated_map()")
            assert server.mappings("stated") == [OTHER_ARN]
            admin.execute(f"AWS IAM REVOKE stated FROM '{OTHER_ARN}'")
    finally:
        admin.execute("DROP FUNCTION public.stated_map()")


def test_many_statements_in_one_string(server, stated, admin):
    arns = sorted(f"arn:aws:iam::{ACCOUNT}:role/r{number}" for number in range(300))
    admin.execute(";".join(f"AWS IAM GRANT stated TO '{arn}'" for arn in arns))
    assert server.mappings("stated") == arns
    admin.execute(";".join(f"AWS IAM REVOKE stated FROM '{arn}'" for arn in arns))
    assert server.mappings("stated") == []


def test_one_arn_for_several_roles(server, role, stated, admin):
    role("stated_too")
    admin.execute(f"AWS IAM GRANT stated TO '{ARN}'; AWS IAM GRANT stated_too TO '{ARN}'")
    for name in ("stated", "stated_too"):
        server.connect(name).close()
    oids = admin.execute("SELECT iam_oid FROM sys.iam_pg_role_mappings "
                         "WHERE pg_role_name LIKE 'stated%'").fetchall()
    assert len(set(oids)) == 2


# The view of everybody else

def test_shown_as_typed(server, stated, admin):
    typed = f"/* shown é */ Aws  IAM grant stated TO '{ARN}' -- as typed"
    mark = server.log_mark()
    admin.execute("SET application_name = 'shown'")
    admin.execute(typed)
    shown = server.execute("SELECT query FROM pg_stat_activity WHERE application_name = 'shown'")
    assert shown == [(typed,)]
    malformed = "Aws  IAM grant stated TO arn"
    with pytest.raises(psycopg.errors.SyntaxError):
        admin.execute(malformed)
    server.logged(f"STATEMENT:  {malformed}", mark)


@pytest.mark.parametrize("level", ["ddl", "mod", "all"])
@pytest.mark.parametrize("prepare", [False, True])
def test_log_statement(server, stated, level, prepare):
    mark = server.log_mark()
    typed = f"AWS IAM GRANT stated TO '{ARN}' -- {level}"
    server.execute(f"ALTER ROLE admin SET log_statement = '{level}'")
    try:
        with server.connect() as admin:
            admin.execute(typed, prepare=prepare)
    finally:
        server.execute("ALTER ROLE admin RESET log_statement")
    server.logged(typed, mark)
    lines = [line for line in server.log_since(mark).splitlines() if typed in line]
    assert len(lines) == 1
    assert "LOG:  " + ("execute " if prepare and level == "all" else "") in lines[0]


def test_log_statement_of_several(server, stated):
    mark = server.log_mark()
    arns = [ARN, ARN + "-two"]
    server.execute("ALTER ROLE admin SET log_statement = 'ddl'")
    try:
        with server.connect() as admin:
            admin.execute("; ".join(f"AWS IAM GRANT stated TO '{arn}'" for arn in arns) + " ; SELECT 1")
    finally:
        server.execute("ALTER ROLE admin RESET log_statement")
    server.logged(f"TO '{arns[1]}'", mark)
    lines = [line for line in server.log_since(mark).splitlines() if "AWS IAM GRANT" in line]
    assert [line.split("statement: ")[1] for line in lines] == [
        f"AWS IAM GRANT stated TO '{arn}'" for arn in arns]


def test_log_statement_none(server, stated, admin):
    mark = server.log_mark()
    typed = f"AWS IAM GRANT stated TO '{ARN}' -- none"
    admin.execute(typed)
    admin.close()
    server.logged("disconnection", mark)
    assert typed not in server.log_since(mark)


def test_aws_and_iam_stay_names(admin):
    admin.execute("""
        CREATE TEMP TABLE aws (aws int, iam int);
        CREATE TEMP VIEW iam AS SELECT aws.aws AS iam, iam.iam AS aws FROM aws, aws AS iam;
        INSERT INTO aws VALUES (1, 2);
        CREATE FUNCTION pg_temp.aws(iam int) RETURNS int LANGUAGE sql AS 'SELECT iam'""")
    query = "SELECT aws.aws, aws iam, pg_temp.aws(iam), pg_temp.aws(iam => 3) FROM aws aws"
    assert admin.execute(query).fetchone()[::2] == (1, 2)
    assert admin.execute("SELECT iam, aws FROM iam").fetchone() == (1, 2)
    quoted = "SELECT quote_ident('aws'), quote_ident('iam'), quote_ident('AWS'), quote_ident('do')"
    assert admin.execute(quoted).fetchone() == ("aws", "iam", '"AWS"', '"do"')
    definition = admin.execute("SELECT pg_get_viewdef('iam'::regclass)").fetchone()[0]
    assert "aws.aws AS iam" in definition
    # A DO of the user's own stays what it is.
    admin.execute("DO LANGUAGE plpgsql $$ BEGIN PERFORM 1; END $$")
    assert_fails(admin, "DO LANGUAGE nonsense 'x'", "42704", 'language "nonsense" does not exist')
