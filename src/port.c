/*
 * The parts of the server that Rust cannot see: the layout of Port and HbaLine, which differs between
 * versions, and reports with an SQLSTATE and an error position.
 *
 * Everything here is as thin as it can be and decides nothing. `port.rs` is its safe face.
 */
#include "server.h"

#include "access/parallel.h"
#include "common/ip.h"
#include "common/keywords.h"
#include "libpq/auth.h"
#include "libpq/hba.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#endif
#include "postmaster/postmaster.h"
#include "replication/walsender.h"
#if PG_VERSION_NUM >= 180000
#include "tcop/backend_startup.h"
#endif
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM < 160000
#include "utils/queryjumble.h"
#endif

#include <dlfcn.h>
#include <netdb.h>

/* Mirrors `port::Connection`. */
typedef struct DsqlIamConnection
{
	const char *user;
	const char *database;
	const char *options;
	const char *server_name;
	char		address[NI_MAXHOST];
	bool		is_trust;
	bool		is_tcp;
	bool		is_tls;
	bool		is_replication;
} DsqlIamConnection;

/*
 * The name that the client says it connects to (SNI), or NULL. The server has OpenSSL loaded if it
 * was built with it; this library does not link it.
 */
static const char *
server_name(Port *port)
{
#ifdef SERVER_HAS_OPENSSL
	const char *(*get_servername) (const void *ssl, int type);
	void	   *ssl;

	if (!port->ssl_in_use)
		return NULL;
#if PG_VERSION_NUM >= 180000
	ssl = port->ssl;
#elif PG_VERSION_NUM >= 170000
	/* Not in the struct as it is known here, but before this field. */
	ssl = *(void **) &port->raw_buf;
#else
	/* Not in the struct as it is known here, but behind its other fields. */
	ssl = *(void **) (port + 1);
#endif
	*(void **) &get_servername = dlsym(RTLD_DEFAULT, "SSL_get_servername");
	if (ssl == NULL || get_servername == NULL)
		return NULL;
	return get_servername(ssl, 0 /* TLSEXT_NAMETYPE_host_name */ );
#else
	return NULL;
#endif
}

static bool
is_trusted(Port *port)
{
	return port->hba != NULL && port->hba->auth_method == uaTrust;
}

static bool
is_tcp(Port *port)
{
	return port->raddr.addr.ss_family != AF_UNIX;
}

void
dsql_iam_connection(Port *port, DsqlIamConnection *out)
{
	memset(out, 0, sizeof(*out));
	out->user = port->user_name;
	out->database = port->database_name;
	out->options = port->cmdline_options;
	out->server_name = server_name(port);
	out->is_trust = is_trusted(port);
	out->is_tcp = is_tcp(port);
	out->is_tls = port->ssl_in_use;
	out->is_replication = am_walsender;
	if (pg_getnameinfo_all(&port->raddr.addr, port->raddr.salen,
						   out->address, sizeof(out->address), NULL, 0,
						   NI_NUMERICHOST) != 0)
		out->address[0] = '\0';
}

/* The name of the parameter at this place of the startup packet, from 0; NULL behind the last. */
const char *
dsql_iam_startup_parameter(Port *port, int at)
{
	/* Names and values by turns. */
	if (2 * at >= list_length(port->guc_options))
		return NULL;
	return list_nth(port->guc_options, 2 * at);
}

/* Mirrors `port::Received`. */
enum
{
	RECEIVED_PASSWORD,
	RECEIVED_NOTHING,			/* the client went away */
	RECEIVED_OTHER_MESSAGE,
	RECEIVED_BROKEN,			/* too long, or cut off */
	RECEIVED_BAD_SIZE			/* empty, or with a NUL in it */
};

/*
 * AuthenticationCleartextPassword, and the answer to it. `detail` is the message's type where that
 * is the fault. As recv_password_packet() in auth.c, which is static.
 */
int
dsql_iam_ask_password(int max_length, char **password, int *detail)
{
	StringInfoData buf;

	CHECK_FOR_INTERRUPTS();
	pq_beginmessage(&buf, 'R');
	pq_sendint32(&buf, AUTH_REQ_PASSWORD);
	pq_endmessage(&buf);
	pq_flush();
	CHECK_FOR_INTERRUPTS();

	pq_startmsgread();
	*detail = pq_getbyte();
	if (*detail == EOF)
		return RECEIVED_NOTHING;
	if (*detail != 'p')
		return RECEIVED_OTHER_MESSAGE;
	initStringInfo(&buf);
	/* The length counts itself and the string's NUL. */
	if (pq_getmessage(&buf, max_length + 4 + 1))
		return RECEIVED_BROKEN;
	*password = buf.data;
	*detail = buf.len;
	if (buf.len < 2 || strlen(buf.data) + 1 != (size_t) buf.len)
		return RECEIVED_BAD_SIZE;
	return RECEIVED_PASSWORD;
}

/* Overwrites a password before its memory is given back. */
void
dsql_iam_wipe(char *password, int length)
{
	explicit_bzero(password, length);
	pfree(password);
}

/*
 * The principal, as PostgreSQL knows it: log_connections, and SYSTEM_USER from 16 on. This is what
 * set_authn_id() does, which is static before 18, and which takes the method for `trust`.
 */
void
dsql_iam_set_principal(Port *port, const char *arn)
{
	bool		is_logged;

#if PG_VERSION_NUM >= 160000
	MyClientConnectionInfo.authn_id = MemoryContextStrdup(TopMemoryContext, arn);
	MyClientConnectionInfo.auth_method = port->hba->auth_method;
#else
	port->authn_id = MemoryContextStrdup(TopMemoryContext, arn);
#endif
#if PG_VERSION_NUM >= 180000
	is_logged = (log_connections & LOG_CONNECTION_AUTHENTICATION) != 0;
#else
	is_logged = Log_connections;
#endif
	if (is_logged)
		ereport(LOG,
				errmsg("connection authenticated: identity=\"%s\" method=dsql_iam", arn));
}

static emit_log_hook_type next_emit_log = NULL;

/* Whether the refusal that ends this process is for the client alone. */
static bool refusal_is_unlogged = false;

#if PG_VERSION_NUM >= 170000
/*
 * From 17 on log_connections has a line for whom the method `trust` lets in, before this library is
 * asked. Nobody is authenticated then, and who is refused must not be logged as if he were.
 */
static void
leave_out_trust(ErrorData *edata)
{
	static const char line[] = "connection authenticated: user=";

	if (refusal_is_unlogged && edata->elevel == FATAL)
	{
		edata->output_to_server = false;
		return;
	}
	if (ClientAuthInProgress && edata->elevel == LOG && edata->message_id != NULL &&
		strncmp(edata->message_id, line, sizeof(line) - 1) == 0 &&
		MyProcPort != NULL && is_trusted(MyProcPort) && is_tcp(MyProcPort))
	{
		edata->output_to_server = false;
		return;
	}
	if (next_emit_log)
		next_emit_log(edata);
}
#endif

#if PG_VERSION_NUM < 170000
/*
 * Before 17 a server takes the first bytes of TLS for the length of a startup packet, of more than 300 MB, and
 * the client hears nothing. The log gets a HINT.
 */
static void
explain_direct_tls(ErrorData *edata)
{
	if (refusal_is_unlogged && edata->elevel == FATAL)
	{
		edata->output_to_server = false;
		return;
	}
	if (edata->message_id != NULL && edata->hint == NULL && MyProcPort != NULL &&
		strcmp(edata->message_id, "invalid length of startup packet") == 0)
		edata->hint = MemoryContextStrdup(edata->assoc_context,
										  "A client that begins with TLS at once "
										  "(sslnegotiation=direct) needs PostgreSQL 17 or newer.");
	if (next_emit_log)
		next_emit_log(edata);
}
#endif

/*
 * Keeps the server from logging as authenticated whom the library has not seen, and has it name direct TLS
 * where it does not know it.
 */
void
dsql_iam_install_log_filter(void)
{
	next_emit_log = emit_log_hook;
#if PG_VERSION_NUM >= 170000
	emit_log_hook = leave_out_trust;
#else
	emit_log_hook = explain_direct_tls;
#endif
}

/* Ends the connection. Empty strings stand for no DETAIL and no HINT. */
void
dsql_iam_refuse(const char *sqlstate, const char *message, const char *detail, const char *hint,
				bool is_logged)
{
	refusal_is_unlogged = !is_logged;
	ereport(FATAL,
			(errcode(MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4])),
			 errmsg_internal("%s", message),
			 detail[0] ? errdetail_internal("%s", detail) : 0,
			 hint[0] ? errhint("%s", hint) : 0));
	abort();					/* ereport(FATAL) does not come back */
}

/* Ends a backend, or a parallel worker. Comes back in other processes, the postmaster above all. */
void
dsql_iam_out_of_memory(size_t size)
{
	if (IsUnderPostmaster && (MyProcPort != NULL || IsParallelWorker()))
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail_internal("dsql_iam failed on a request of size %zu.", size)));
}

/* 42601 for `len` bytes at byte `at` of `query`, as scanner_yyerror() words it. */
void
dsql_iam_syntax_error(const char *query, int at, int len)
{
	int			position = pg_mbstrlen_with_len(query, at) + 1;

	if (len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("syntax error at or near \"%.*s\"", len, query + at),
				 errposition(position)));
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("syntax error at end of input"),
			 errposition(position)));
}

/*
 * Logs the statement that log_statement = ddl asks for, in the words of exec_simple_query(). That logs a
 * string of several as a whole, once; this is called for each of them, and logs that one.
 */
void
dsql_iam_log_ddl(const char *query, int location, int len)
{
	const char *statement;

	if (log_statement != LOGSTMT_DDL && log_statement != LOGSTMT_MOD)
		return;
	statement = CleanQuerytext(query, &location, &len);
	ereport(LOG, (errmsg("statement: %.*s", len, statement), errhidestmt(true)));
}

/*
 * Reports what is not about the statement that happens to run, and without it: that may be a call of
 * sys.explain_token(), with a token in it. Raises nothing below ERROR.
 */
void
dsql_iam_report(int level, const char *message)
{
	ereport(level, (errmsg_internal("%s", message), errhidestmt(true), errhidecontext(true)));
}

/* Where the server's keyword table keeps the address of its hash function. */
void *
dsql_iam_keyword_hash_slot(void)
{
	return (void *) &ScanKeywords.hash;
}
