"""Who may connect as whom: the mappings of another server."""

import subprocess

from support import ACCOUNT

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
        only = "" if arguments in (["--csv"], ["--expanded"]) else " LIMIT 2"  # a bar in a name
        printed = psql(server, *arguments, "--command", MAPPINGS + only)
        path = tmp_path / "mappings.txt"
        path.write_text(printed)
        done = subprocess.run([server.command, "mappings", "--from", path],
                              text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, (arguments, done.stderr)
        for arn, name in mapped():
            server.execute(f"""SELECT sys.iam_revoke('{name.replace("'", "''")}', '{arn.replace("'", "''")}')""")
        assert mapped() == set()
        psql(server, input=done.stdout)
        wanted = {pair for pair in expected if not only or pair[1] == "access_reader"}
        assert mapped() == wanted, arguments
        for arn, name in expected - wanted:
            server.execute(f"""SELECT sys.iam_grant('{name.replace("'", "''")}', '{arn.replace("'", "''")}')""")


def test_a_mapping_that_cannot_be_told_is_an_error(server, tmp_path):
    printed = " arn | pg_role_name \n-----+---\n arn:aws:iam::012345678912:role/x | a | b\n"
    done = subprocess.run([server.command, "mappings", "--from", "-"], input=printed,
                          text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "dsql-iam: standard input: line 3: it has 3 columns, and the header has 2: "
        "have it printed as CSV (psql --csv)\n")
