"""The lexer hook under attack: what is no AWS IAM statement means the same with the library as without.

Two servers of our own, one of them without the library, are sent the same bytes and have to answer the
same, errors and their positions included.
"""

import contextlib
import os
import random
import re
import subprocess
import time

import pytest
from psycopg import pq

from conftest import own_server
from support import EXAMPLE_ARN as ARN

FIELDS = [pq.DiagnosticField[name] for name in (
    "SEVERITY_NONLOCALIZED", "SQLSTATE", "MESSAGE_PRIMARY", "MESSAGE_DETAIL", "MESSAGE_HINT",
    "STATEMENT_POSITION", "INTERNAL_POSITION", "INTERNAL_QUERY", "CONTEXT")]
ROLES = "CREATE ROLE aws; CREATE ROLE iam; CREATE ROLE revoke"
SCHEMA = """
    CREATE TABLE aws (aws int, iam int, revoke int);
    CREATE TABLE iam (aws int, "AWS" int, iam int);
    INSERT INTO aws VALUES (1, 2, 3); INSERT INTO iam VALUES (4, 5, 6);
    CREATE FUNCTION "**"(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
    CREATE OPERATOR ** (LEFTARG = int, RIGHTARG = int, FUNCTION = "**");
    CREATE OPERATOR */ (LEFTARG = int, RIGHTARG = int, FUNCTION = "**");
    CREATE VIEW "grant" AS SELECT aws.aws AS iam, iam.iam AS aws, aws.aws "AWS", iam.aws "do"
        FROM aws, aws iam;
"""
DATABASES = {"UTF8": "lexer_utf8", "EUC_JP": "lexer_euc_jp", "LATIN1": "lexer_latin1",
             "SQL_ASCII": "lexer_sql_ascii"}


@pytest.fixture(scope="module")
def servers(own, tmp_path_factory):
    """The one with the library and the one without."""
    with contextlib.contextmanager(own_server)(tmp_path_factory, "bare") as bare:
        bare.execute("DROP EXTENSION IF EXISTS dsql_iam")
        bare.execute("ALTER SYSTEM SET shared_preload_libraries = 'plpgsql'")
        bare.restart()
        on = contextlib.ExitStack()
        on.enter_context(own.settings(restart=True, dsql_iam__async_indexes="on"))
        for server in (own, bare):
            server.execute(ROLES)
            for encoding, database in DATABASES.items():
                server.execute(f"CREATE DATABASE {database} TEMPLATE template0 "
                               f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
                with server.superuser(dbname=database) as connection:
                    connection.execute(SCHEMA)
        yield own, bare
        own.execute(*(f"DROP DATABASE {name}" for name in DATABASES.values()),
                    "DROP ROLE aws, iam, revoke")
        on.close()


@contextlib.contextmanager
def both(servers, database="lexer_utf8", *settings):
    """A connection to each, as libpq has it: bytes go through unchanged."""
    with contextlib.ExitStack() as stack:
        connections = []
        for server in servers:
            connection = stack.enter_context(server.superuser(dbname=database)).pgconn
            # The log would hold each query of 100 MB.
            for setting in (b"SET client_min_messages = error",
                            b"SET log_min_messages = panic", *settings):
                assert connection.exec_(setting).status == pq.ExecStatus.COMMAND_OK, setting
            connections.append(connection)
        yield connections


def answer(result):
    """All there is to see of a result."""
    if result.status == pq.ExecStatus.FATAL_ERROR:
        return tuple(result.error_field(field) for field in FIELDS)
    rows = [[result.get_value(row, column) for column in range(result.nfields)]
            for row in range(result.ntuples)]
    names = [result.fname(column) for column in range(result.nfields)]
    return pq.ExecStatus(result.status).name, result.command_status, names, rows


def ask(connection, query):
    return answer(connection.exec_(query))


def assert_same(connections, query):
    loaded, bare = (ask(connection, query) for connection in connections)
    assert loaded == bare, query[:2000]
    return loaded


# Valid SQL, with the words in places where somebody may have them.
VALID = [
    "SELECT aws, iam revoke FROM aws",
    "SELECT aws,iam revoke FROM aws",
    "SELECT aws.iam revoke FROM aws",
    "SELECT aws+ iam revoke FROM aws",
    "SELECT aws -\niam revoke FROM aws",
    "SELECT aws-\niam revoke FROM aws",
    "SELECT aws+-\niam revoke FROM aws",
    "SELECT aws -- c\n- iam revoke FROM aws",
    "SELECT aws** iam */ iam revoke FROM aws",
    "SELECT (aws) iam FROM aws",
    "SELECT * FROM aws iam",
    "SELECT * FROM (SELECT 1 aws) iam, aws revoke",
    "SELECT aws iam FROM aws AS iam",
    "SELECT 1 AS aws, 2 AS iam, 3 AS grant, 4 AS revoke",
    "SELECT aws.aws, iam.iam FROM aws JOIN iam ON aws.aws < iam.iam",
    "SELECT 'AWS IAM GRANT a TO b', $$AWS IAM GRANT a TO 'b'$$, $x$ AWS IAM REVOKE $x$",
    "SELECT 'it''s AWS IAM GRANT', E'\\'AWS IAM GRANT', U&'AWS IAM GRANT', \"AWS\" FROM iam",
    "SELECT 1 /* AWS IAM GRANT a TO 'b' /* AWS IAM GRANT */ */ -- AWS IAM GRANT a TO 'b'",
    "SELECT 1 AS \"AWS IAM GRANT a TO 'b'\"",
    "ALTER DEFAULT PRIVILEGES FOR ROLE aws, iam GRANT SELECT ON TABLES TO aws",
    "ALTER DEFAULT PRIVILEGES FOR ROLE aws, iam REVOKE SELECT ON TABLES FROM aws",
    "GRANT aws TO iam", "REVOKE aws FROM iam", "GRANT SELECT ON aws TO iam, aws",
    "CREATE SCHEMA s CREATE VIEW v AS SELECT * FROM public.aws iam GRANT SELECT ON v TO public",
    "DROP SCHEMA s CASCADE",
    "CREATE SCHEMA s CREATE TABLE aws() CREATE VIEW v AS SELECT 1 FROM aws iam GRANT ALL ON v TO aws",
    "DROP SCHEMA s CASCADE",
    "DO LANGUAGE plpgsql 'BEGIN PERFORM aws, iam revoke FROM aws; END'",
    "DO $do$ DECLARE aws int := 1; iam int; BEGIN iam := aws + aws; aws := iam; EXECUTE "
    "'SELECT aws, iam revoke FROM aws'; RETURN; END $do$",
    "SELECT quote_ident('aws'), quote_ident('iam'), format('%I %I', 'aws', 'AWS')",
    "SELECT pg_get_viewdef('\"grant\"'), pg_get_viewdef('\"grant\"', true)",
    "SELECT * FROM pg_get_keywords() ORDER BY 1",
    "SELECT index async FROM (SELECT 1 AS index) index",
    "SELECT 1 FROM (SELECT 1) index, (SELECT 2) async",
    "SELECT index, async FROM (SELECT 1 AS index, 2 AS async) index",
    "CREATE INDEX CONCURRENTLY async ON aws (aws)", "REINDEX INDEX async",
    "CREATE INDEX IF NOT EXISTS async ON aws (aws)", "ALTER INDEX async RENAME TO index",
    "ALTER INDEX index RENAME TO async", "DROP INDEX async CASCADE",
    'CREATE INDEX "async" ON aws (aws)', "COMMENT ON INDEX async IS 'CREATE INDEX ASYNC i ON t (a)'",
    "DROP INDEX async", "CREATE UNIQUE INDEX asynchronous ON aws (aws)", "DROP INDEX asynchronous",
    "CREATE SCHEMA s CREATE TABLE t (a int) /* c */ CREATE INDEX async ON t (a)",
    "SELECT 's.async'::regclass", "DROP SCHEMA s CASCADE",
    "SELECT 'CREATE INDEX ASYNC i ON t (a)', $$CALL sys.wait_for_job('x')$$ -- CREATE INDEX ASYNC i ON t",
    "CREATE PROCEDURE public.wait_for_job(text) LANGUAGE sql AS 'SELECT 1'", "CALL wait_for_job('x')",
    "DROP PROCEDURE wait_for_job", "SELECT call sys FROM (SELECT 1 AS call) call",
]


@pytest.mark.parametrize("query", VALID)
def test_valid(servers, query):
    with both(servers) as connections:
        status = assert_same(connections, query.encode())[0]
        assert status in ("TUPLES_OK", "COMMAND_OK"), status


def test_names_that_others_quote(servers):
    """quote_identifier() asks about a string behind which freed memory stands: a statement of ours."""
    left_over = "length(repeat(repeat(' ', 60) || 'IAM GRANT a TO ''x'' ', {}))"
    query = (f"SELECT format('%I', (CASE WHEN n > 0 THEN 'aws' END)::regclass), "
             f"{left_over.format(30)}, {left_over.format(80)} FROM generate_series(1, 30) n")
    with both(servers) as connections:
        rows = assert_same(connections, query.encode())[3]
        assert {row[0] for row in rows} == {b"aws"}


def test_after_an_error(servers):
    """A parse that ended in the middle of a statement does nothing to the next in its memory."""
    with both(servers, "lexer_utf8") as connections:
        for length in (0, 10, 500, 900, 1500, 3000, 9000):
            comment = "é" * (length // 2)
            for before in (0, 5, 1100, 2300):
                for connection in connections:
                    broken = f"+ AWS /*{comment}*/ IAM GRANT a TO 'b'".encode()
                    assert ask(connection, broken)[1] == b"42601"
                for blanks in range(max(0, length - 30), length + 30, 3):
                    query = " " * blanks + "LANGUAGE" + "é" * before
                    assert_same(connections, query.encode())


def test_strings_do_not_conform(servers):
    if servers[0].version >= 19:
        pytest.skip("from 19 on all strings conform")
    with both(servers, "lexer_utf8", b"SET standard_conforming_strings = off",
              b"SET escape_string_warning = off") as connections:
        for query in (rb"SELECT 'it\'s AWS IAM GRANT a TO b'", rb"SELECT '\' AWS IAM GRANT a TO \''",
                      rb"SELECT 'a\\'; SELECT aws, iam revoke FROM aws", rb"SELECT 'open\'",
                      rb"SELECT U&'AWS IAM GRANT'", rb"SELECT '\\\' AWS IAM GRANT a TO 'b''"):
            assert_same(connections, query)


@pytest.mark.parametrize("opening", [b"'", b"E'", b"$$", b"$a$", b'"', b"U&'", b'U&"', b"/*", b"B'",
                                     b"/* /* */", b"E'\\'", b"N'", b"X'"])
def test_unterminated(servers, opening):
    with both(servers) as connections:
        for before in (b"", b"SELECT ", b"SELECT aws, iam revoke, "):
            for text in (b"AWS IAM GRANT a TO b", b"aws", b"AWS IAM GRANT"):
                assert ask(connections[0], before + opening + text)[1] == b"42601"
                assert_same(connections, before + opening + text)


def test_copy(servers):
    data = f"AWS IAM GRANT a TO '{ARN}'\naws\nAWS IAM REVOKE\n"
    with contextlib.ExitStack() as stack:
        seen = []
        for server in servers:
            connection = stack.enter_context(server.superuser(dbname="lexer_utf8"))
            connection.execute("CREATE TEMP TABLE copied (aws text)")
            with connection.cursor().copy("COPY copied (aws) FROM STDIN") as copy:
                copy.write(data)
            with connection.cursor().copy("COPY (SELECT aws iam FROM copied) TO STDOUT") as copy:
                seen.append(b"".join(copy))
        assert seen == [data.encode()] * 2


def test_functions(servers):
    """Bodies are strings until they are read, and are then read by the same parser."""
    with both(servers) as connections:
        for body in ("SELECT aws - iam revoke FROM aws", "SELECT aws, FROM", "SELECT aws iam, grant",
                     "SELECT 'AWS IAM GRANT a TO b'::text::varchar::text = '' OR aws"):
            for language in ("sql", "plpgsql"):
                text = body if language == "sql" else f"BEGIN RETURN QUERY {body}; END"
                assert_same(connections, (
                    f"CREATE FUNCTION public.lexer_f() RETURNS SETOF int LANGUAGE {language} "
                    f"AS $b$ {text} $b$").encode())
                assert_same(connections, b"SELECT * FROM public.lexer_f()")
                assert_same(connections, b"DROP FUNCTION IF EXISTS public.lexer_f()")
        assert_same(connections, b"CREATE FUNCTION public.lexer_g() RETURNS int LANGUAGE sql BEGIN "
                                 b"ATOMIC SELECT aws.iam revoke FROM aws; END")
        assert_same(connections, b"SELECT pg_get_functiondef('public.lexer_g'::regproc)")


def test_dump(servers):
    dumps = []
    for server in servers:
        command = [server.bin / "pg_dump", "--dbname", server.conninfo.replace(
            "dbname=postgres", "dbname=lexer_utf8"), "--no-owner"]
        done = subprocess.run(command, check=True, capture_output=True, text=True,
                              env=os.environ | {"PGSSLMODE": "disable"})
        # The newer ones write a random word into the file.
        dumps.append([line for line in done.stdout.splitlines() if "restrict" not in line])
    assert dumps[0] == dumps[1]
    assert any('VIEW public."grant" AS' in line for line in dumps[0])


@pytest.mark.parametrize("query", [
    b"SELECT length('%s')", b"SELECT 1 /* %s */", b"/* %s",
], ids=repr)
def test_huge(servers, query):
    with both(servers) as connections:
        assert_same(connections, query % (b"AWS IAM GRANT a TO b; " * 4_600_000))


@pytest.mark.parametrize("words", [b"aws ia,", b"aws iam,", b"aws/**/iam,", b"aws+iam,"], ids=repr)
def test_many_words(servers, words):
    """The bytes looked at for one word do not grow with the text before it in the line. As it once
    did, this took more than a minute, in which nothing could have interrupted it."""
    with both(servers) as connections:
        few = b"SELECT " + words * 1_600 + b"1 FROM aws"
        assert assert_same(connections, few)[0] in ("TUPLES_OK", b"ERROR")
        many = b"SELECT " + words * 40_000 + b"1 FROM aws"
        start = time.monotonic()
        assert_same(connections, many)
        assert time.monotonic() - start < 10


def test_many_statements_in_a_line(servers):
    """Nor with the statements before it. All are parsed, then the first one fails."""
    with both(servers) as (loaded, _):
        for between in (b"; ", b";/**/"):
            start = time.monotonic()
            found = ask(loaded, (b"AWS IAM GRANT a TO 'x'" + between) * 20_000)
            assert found[1:3] == (b"22023", b"IAM role must look like an IAM ARN")
            assert time.monotonic() - start < 10


def test_huge_statement(servers):
    """An AWS IAM statement of 100 MB, whose fault is found at its place."""
    with both(servers) as (loaded, _):
        for size, query in ((100_000_000, b"AWS %s IAM GRANT a TO @1"),
                            (5_000_000, b"AWS%sIAM GRANT a TO @1"),
                            (5_000_000, b"AWS IAM GRANT a TO %s@1")):
            text = query % (b"/*" + b"x" * size + b"*/")
            found = ask(loaded, text.replace(b"@", b""))
            assert found[1:3] == (b"42601", b'syntax error at or near "1"')
            assert int(found[5]) == text.index(b"@") + 1


# The differential test

WORDS = ["aws", "aws", "AWS", "Aws", '"aws"', "iam", "IAM", "iam", "grant", "GRANT", "revoke", "REVOKE",
         "revoke", "to", "from", "select", "as", "on", "do", "language", "end", "case", "when", "then",
         "where", "a", "all", "public", "not", "with", "uescape", "values", "1", "null", "e", "u", "$1"]
MARKS = [",", ".", ";", "(", ")", "+", "-", "*", "/", "**", "*/", "/*", "--", "=", "::", "[", "]", "'", '"',
         "''", "$$", "$a$", "E'", "U&'", 'U&"', "N'", "\\", "@", "|", ":", "<", "'x'", "$$x$$", '"x"', "E'\\''"]
SPACES = [" ", "\n", "\t", "\r", "\f", "  ", "--c\n", "/**/", "/* 'c */", " -- \"c\r\n", "/*/**/*/"]
# Of two bytes and more, with an ASCII byte behind the first in some: backslash, quote-like, letters.
CHARACTERS = [b"\x95\x5c", b"\x83\x5c", b"\x81\x7c", b"\xa5\x5c", b"\x81\x30\x81\x30", b"\x81\x40",
              b"\x88\x61", b"\x81\x41", b"\xb0\xa1", b"\x8f\xb0\xa1", b"\xc3\xa9", b"\xe2\x82\xac",
              b"\xf0\x9d\x84\x9e", b"\xe9", b"\xff", b"\x81"]
IN_A_ROW = re.compile(rb"aws.*?iam.*?(grant|revoke)", re.IGNORECASE | re.DOTALL)


def soup(chance):
    """Anything, close to the words."""
    parts = []
    for _ in range(chance.randrange(1, 14)):
        kind = chance.random()
        if kind < 0.45:
            parts.append(chance.choice(WORDS).encode())
        elif kind < 0.6:
            parts.append(chance.choice(MARKS).encode())
        elif kind < 0.63:
            parts.append(chance.choice(CHARACTERS))
        if chance.random() < 0.75:
            parts.append(chance.choice(SPACES).encode())
    return b"".join(parts)


def valid_but_for_an_accident(chance):
    """A valid statement with other blanks, and often with a piece more, less, or twice."""
    query = chance.choice(VALID[:17] + [f"AWS IAM GRANT a TO '{ARN}'", "AWS IAM REVOKE a FROM 'b'"])
    pieces = re.findall(r"\w+|\s+|.", query, re.DOTALL)
    pieces = [chance.choice(SPACES) if piece.isspace() else piece for piece in pieces]
    pieces = [piece.encode() for piece in pieces]
    for _ in range(chance.randrange(3)):
        at = chance.randrange(len(pieces))
        match chance.randrange(4):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(at, pieces[at])
            case 2:
                pieces.insert(at, chance.choice(WORDS + MARKS + SPACES).encode())
            case 3:
                pieces.insert(at, chance.choice(CHARACTERS))
        pieces = pieces or [b"aws"]
    return b"".join(pieces)


def framed(chance, query):
    """In a statement, a function's body, a block, or behind another statement."""
    match chance.randrange(8):
        case 0:
            return b"SELECT 1;" + query
        case 1:
            return b"DO $body$ BEGIN " + query + b"; END $body$"
        case 2:
            return (b"CREATE OR REPLACE FUNCTION public.lexer_f() RETURNS void LANGUAGE sql AS $body$ "
                    + query + b" $body$")
        case 3:
            return b"SELECT " + query
        case _:
            return query


ENCODINGS = [
    *(("UTF8", client) for client in
      ("UTF8", "SJIS", "BIG5", "GB18030", "GBK", "UHC", "JOHAB", "LATIN1", "EUC_JP")),
    *(("EUC_JP", client) for client in ("EUC_JP", "SJIS", "UTF8")),
    *(("LATIN1", client) for client in ("LATIN1", "UTF8")),
    *(("SQL_ASCII", client) for client in ("SQL_ASCII", "SJIS")),
]


@pytest.mark.parametrize("conforming", ["on", "off"])
@pytest.mark.parametrize(("database", "client"), ENCODINGS, ids=lambda name: name)
def test_the_same_with_and_without(servers, database, client, conforming):
    if conforming == "off" and servers[0].version >= 19:
        pytest.skip("from 19 on all strings conform")
    chance = random.Random(f"{database} {client} {conforming}")
    kept = differing = fine = 0
    with both(servers, DATABASES[database], f"SET client_encoding = '{client}'".encode(),
              f"SET standard_conforming_strings = {conforming}".encode(),
              b"SET statement_timeout = '10s'") as connections:
        for _ in range(int(os.environ.get("LEXER_QUERIES", "1500"))):
            query = framed(chance, chance.choice([soup, valid_but_for_an_accident])(chance))
            loaded, bare = (ask(connection, query) for connection in connections)
            # Not all that begins a transaction ends it.
            for connection in connections:
                if connection.transaction_status != pq.TransactionStatus.IDLE:
                    connection.exec_(b"ROLLBACK")
            fine += bare[0] in ("TUPLES_OK", "COMMAND_OK")
            if loaded == bare:
                kept += 1
                continue
            # The words of a statement of ours in a row: nothing that was valid, and an error still,
            # since there is no role `a`; but a function's body may hold one.
            differing += 1
            assert IN_A_ROW.search(query), (query, loaded, bare)
            assert bare[1] == b"42601", (query, loaded, bare)
            is_body = query.startswith(b"CREATE") and loaded[1] == b"CREATE FUNCTION"
            assert loaded[0] == b"ERROR" or is_body, (query, loaded, bare)
    assert fine > kept / 50, "hardly any of these queries is valid, so little was shown"
    assert differing < kept / 10, "hardly any of these queries is without a statement of ours"


ASYNC_WORDS = ["create", "CREATE", "unique", "index", "INDEX", "index", "async", "ASYNC", "async", "if", "not",
               "exists", "concurrently", "on", "aws", "(aws)", "(iam)", "i", '"async"', "drop", "alter", "rename",
               "to", "select", "from", "as", "call", "sys", "sys.wait_for_job", "('x')", "schema", "s", "table"]
ASYNC_VALID = ["CREATE INDEX ASYNC i ON aws (aws)", "CREATE UNIQUE INDEX ASYNC ON aws (aws)",
               "CREATE INDEX CONCURRENTLY async ON aws (aws)", "DROP INDEX async", "ALTER INDEX async RENAME TO i",
               "CREATE SCHEMA s CREATE TABLE t (a int) CREATE INDEX async ON t (a)", "SELECT 1 index, 2 async",
               "CALL sys.wait_for_job('x')", "SELECT index async FROM (SELECT 1 AS index) index"]
OURS = re.compile(rb"create.*?index.*?async|call.*?sys.*?wait_for_job", re.IGNORECASE | re.DOTALL)


def test_the_same_but_for_async(servers):
    """Of statements with the words of CREATE INDEX ASYNC only those with all of them in a row are others; and
    of these, what was valid is an index called async. No round of it is kept."""
    chance = random.Random("async")
    kept = differing = fine = 0
    with both(servers, "lexer_utf8", b"SET statement_timeout = '10s'") as connections:
        for _ in range(int(os.environ.get("LEXER_QUERIES", "3000"))):
            if chance.random() < 0.5:
                pieces = [chance.choice(ASYNC_WORDS) for _ in range(chance.randrange(1, 9))]
            else:
                pieces = re.findall(r"\w+|\S", chance.choice(ASYNC_VALID))
                for _ in range(chance.randrange(3)):
                    pieces.insert(chance.randrange(len(pieces)), chance.choice(ASYNC_WORDS + MARKS))
            blank = lambda: chance.choice(SPACES if chance.random() < 0.3 else [" "])
            query = "".join(piece + blank() for piece in pieces).encode()
            for connection in connections:
                connection.exec_(b"BEGIN")
            loaded, bare = (ask(connection, query) for connection in connections)
            for connection in connections:
                connection.exec_(b"ROLLBACK")
            fine += bare[0] in ("TUPLES_OK", "COMMAND_OK")
            if loaded == bare:
                kept += 1
                continue
            differing += 1
            assert OURS.search(query), (query, loaded, bare)
            # There is no extension in this database, and so no job: an error, and another than that of the
            # index called async, which the one without the library makes or refuses.
            assert loaded[0] == b"ERROR", (query, loaded, bare)
            if bare[0] != b"ERROR":
                assert (loaded[1], bare[1]) == (b"55000", b"CREATE INDEX"), (query, loaded, bare)
    assert fine > kept / 30 and 10 < differing < kept
