"""Servers on which `AWS IAM …` cannot be had: all but the statement works, and the log says why.

Each is made by a library of C that is loaded beside dsql_iam and meddles with the server's table of
keywords, as another extension might, or with its memory, as some systems do.
"""

import os
import re
import shlex
import shutil
import subprocess

import psycopg
import pytest

from support import EXAMPLE_ARN
from test_doctor import only

# `CC`, with its options, as make has it: for a server of another architecture.
CC = shlex.split(os.environ.get("CC", "cc"))
pytestmark = pytest.mark.skipif(not shutil.which(CC[0]), reason="there is no C compiler")

HEAD = r"""
#include "postgres.h"
#include "fmgr.h"
#include "common/keywords.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
"""

# Takes the place of the function that the lexer asks about each word.
REPLACE = r"""
static ScanKeywordHashFunc before;
static int instead(const void *word, size_t len);

void
_PG_init(void)
{
	ScanKeywordHashFunc *slot = (ScanKeywordHashFunc *) &ScanKeywords.hash;
	uintptr_t	page = (uintptr_t) slot & ~((uintptr_t) sysconf(_SC_PAGESIZE) - 1);

	before = *slot;
	if (mprotect((void *) page, sizeof(*slot) + ((uintptr_t) slot - page), PROT_READ | PROT_WRITE) != 0)
		elog(ERROR, "mprotect");
	*(volatile ScanKeywordHashFunc *) slot = instead;
}
"""

# A server without DO, which is what the statement becomes.
WITHOUT_DO = HEAD + REPLACE + r"""
static int
instead(const void *word, size_t len)
{
	return len == 2 && pg_strncasecmp(word, "do", 2) == 0 ? -1 : before(word, len);
}
"""

# Asks about a copy of each word, in which nobody can see what follows it.
COPIES = HEAD + REPLACE + r"""
static int
instead(const void *word, size_t len)
{
	char		copy[NAMEDATALEN] = "";

	if (len >= sizeof(copy))
		return -1;
	memcpy(copy, word, len);
	return before(copy, len);
}
"""

# A system on which constant data stays constant: the kernel refuses to make the table's page writable.
CONSTANT = HEAD + r"""
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))

void
_PG_init(void)
{
	uint64		page = (uintptr_t) &ScanKeywords.hash & ~((uint64) sysconf(_SC_PAGESIZE) - 1);
	struct sock_filter filter[] = {
		LOAD(nr),
		UNLESS(SYS_mprotect, 5),
		/* The halves of the address; all systems that this runs on have the lower one first. */
		LOAD(args[0]),
		UNLESS((uint32) page, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 4),
		UNLESS((uint32) (page >> 32), 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		elog(LOG, "this kernel has no filter of system calls");
}
"""


def compile_c(*arguments):
    headers = subprocess.run([os.environ["PG_CONFIG"], "--includedir-server"], text=True, check=True,
                             capture_output=True).stdout.strip()
    return subprocess.run([*CC, "-Wall", "-Werror", "-isystem", headers, *arguments], text=True,
                          check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def folder(own):
    path = own.folder("meddlers")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def beside(own, folder):
    """Compiles a library, and restarts the server with it before or after dsql_iam."""
    settings = []

    def load(name, source, order):
        code, library = folder / f"{name}.c", folder / f"{name}.so"
        code.write_text(source)
        compile_c("-shared", "-fPIC", "-o", library, code)
        library.chmod(0o755)
        names = [f"'{library}'", "dsql_iam"]
        libraries = ", ".join(names if order == "before" else reversed(names))
        mark = own.log_mark()
        setting = own.settings(shared_preload_libraries=libraries, restart=True)
        setting.__enter__()
        settings.append(setting)
        return own.log_since(mark)

    yield load
    for setting in settings:
        setting.__exit__(None, None, None)
    # Without the library all is as it was.
    with own.connect() as admin, pytest.raises(psycopg.errors.UndefinedObject):
        admin.execute(f"AWS IAM GRANT nobody TO '{EXAMPLE_ARN}'")


def assert_all_but_the_statement_works(own, role):
    found, remedy = only(own, "syntax", "fault")
    assert found == ("the parser rejects AWS IAM GRANT; sys.iam_grant and sys.iam_revoke do "
                     "the same")
    assert remedy == "look into the server's log, at its start, for the reason"
    name = role("without_syntax", on=own)
    grant, revoke = f"GRANT {name} TO '{EXAMPLE_ARN}'", f"REVOKE {name} FROM '{EXAMPLE_ARN}'"
    with own.connect() as admin:
        for statement in (grant, revoke):
            for prepare in (False, True):
                with pytest.raises(psycopg.errors.SyntaxError) as raised:
                    admin.execute(f"AWS IAM {statement}", prepare=prepare)
                diagnosis = raised.value.diag
                assert diagnosis.message_primary == 'syntax error at or near "AWS"'
                assert (diagnosis.statement_position, diagnosis.message_hint) == ("1", None)
        # Valid SQL stays valid.
        assert admin.execute("SELECT aws iam FROM (VALUES (1)) AS aws(aws)").fetchone() == (1,)

        assert own.refusal(name, own.token("example")).sqlstate == "28000"
        admin.execute("SELECT sys.iam_grant(%s, %s)", (name, EXAMPLE_ARN))
        own.connect(name).close()
        mapped = "SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'without_syntax'"
        assert admin.execute(mapped).fetchall() == [(EXAMPLE_ARN,)]
        admin.execute("SELECT sys.iam_revoke(%s, %s)", (name, EXAMPLE_ARN))
        assert own.refusal(name, own.token("example")).sqlstate == "28000"


def the_warning(log):
    line, = [line for line in log.splitlines() if "AWS IAM GRANT" in line]
    return line.partition("WARNING:  ")[2]


def test_the_self_test_fails(own, role, beside):
    log = beside("without_do", WITHOUT_DO, "before")
    assert the_warning(log) == (
        "dsql_iam: AWS IAM GRANT and REVOKE are not available: the server's parser refused a sample "
        "statement; use sys.iam_grant and sys.iam_revoke")
    assert "panicked" not in log
    # The other library's function is asked again, and by nobody but the lexer.
    with pytest.raises(psycopg.errors.SyntaxError, match='at or near "DO"'):
        own.execute("DO $$ BEGIN END $$")
    assert_all_but_the_statement_works(own, role)


def test_the_table_cannot_be_made_writable(own, role, beside):
    log = beside("constant", CONSTANT, "before")
    if "this kernel has no filter of system calls" in log:
        pytest.skip("this kernel has no filter of system calls")
    said = the_warning(log)
    assert said.startswith("dsql_iam: AWS IAM GRANT and REVOKE are not available: the keyword table "
                           "cannot be made writable: ")
    assert "Permission denied" in said
    assert said.endswith("; use sys.iam_grant and sys.iam_revoke")
    own.execute("DO $$ BEGIN END $$")
    assert_all_but_the_statement_works(own, role)


def test_a_copy_of_each_word_is_asked_about_before(own, role, beside):
    """The other library stands behind ours, which has seen the whole by then."""
    assert "AWS IAM" not in beside("copies", COPIES, "before")
    name = role("with_syntax", on=own)
    with own.connect() as admin:
        admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    own.connect(name).close()


def test_a_copy_of_each_word_is_asked_about_after(own, role, beside):
    """A library loaded after ours can break the syntax that was tried; the doctor tries again, and says so."""
    assert "AWS IAM" not in beside("copies", COPIES, "after")
    assert_all_but_the_statement_works(own, role)


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
def test_the_registers_are_on_the_stack_while_the_lexer_is_looked_for(level):
    """A tail call would give back the frame in which they were saved."""
    source = os.path.join(os.environ["WORKSPACE"], "src/lexer.c")
    code = compile_c(level, "-fPIC", "-S", "-o", "-", source)
    function = code.partition("dsql_iam_lexer:\n")[2].partition(".cfi_endproc")[0]
    assert re.search(r"^\s+(callq?|bl)\s+_?find\b", function, re.M), function
    assert not re.search(r"^\s+(jmp|b)\s+_?find\b", function, re.M)
