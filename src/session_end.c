/*
 * Ends a session that has lasted long enough, between two statements.
 *
 * PostgreSQL has no hook for "between two statements", and a client that asks nothing runs none of
 * our code. What it has is a timer, and the "catchup" of cache invalidations: a backend that waits
 * for its client and is told to catch up starts and commits a transaction of nothing. So the timer
 * asks for a catchup; in the callback before a commit, if the server is just then waiting for a
 * message, it is that transaction of nothing, and the session can end. A transaction of the
 * client's is committed in answer to a message that has been read, and is let through.
 *
 * Who does not come to an end by then has some time more; after that the session is terminated as
 * pg_terminate_backend() would.
 */
#include "server.h"

#include "access/xact.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/sinval.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

static TimeoutId over_timeout;
static TimeoutId overtime_timeout;
static TimestampTz over_at;
static TimestampTz overtime_ends_at;
static volatile sig_atomic_t is_over = false;
static char session_detail[64];

static void
ask_for_catchup(void)
{
	catchupInterruptPending = true;
	SetLatch(MyLatch);
}

/* In a signal handler. */
static void
session_is_over(void)
{
	is_over = true;
	ask_for_catchup();
}

/* In a signal handler. */
static void
overtime_is_over(void)
{
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
}

static void
start_timers(void)
{
	if (!is_over && !get_timeout_active(over_timeout))
		enable_timeout_at(over_timeout, over_at);
	if (!get_timeout_active(overtime_timeout))
		enable_timeout_at(overtime_timeout, overtime_ends_at);
}

static void
at_transaction_end(XactEvent event, void *unused)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (is_over && pq_is_reading_msg())
				ereport(FATAL,
						(errcode(ERRCODE_ADMIN_SHUTDOWN),
						 errmsg("terminating connection because it has reached its maximum duration"),
						 errdetail_internal("%s", session_detail)));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* An ERROR has stopped all timers of the backend. */
			start_timers();
			if (is_over)
				ask_for_catchup();
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *unused)
{
	/* The ERROR that brought a client back to its savepoint has stopped the timers too. */
	if (event == SUBXACT_EVENT_ABORT_SUB)
		start_timers();
}

static emit_log_hook_type previous_emit_log_hook = NULL;

/*
 * An ERROR in a transaction that has failed already ends no transaction, and so has no other hook: it
 * is reported after the timers were stopped.
 */
static void
at_report(ErrorData *error)
{
	if (error->elevel == ERROR)
		start_timers();
	if (previous_emit_log_hook)
		previous_emit_log_hook(error);
}

/*
 * Limits the session that begins to `duration_ms`, and a transaction that is open then to
 * `overtime_ms` more.
 */
void
dsql_iam_limit_session(int64 duration_ms, int64 overtime_ms, const char *detail)
{
	TimestampTz now = GetCurrentTimestamp();

	snprintf(session_detail, sizeof(session_detail), "%s", detail);
	over_at = now + duration_ms * INT64CONST(1000);
	overtime_ends_at = over_at + overtime_ms * INT64CONST(1000);
	over_timeout = RegisterTimeout(USER_TIMEOUT, session_is_over);
	overtime_timeout = RegisterTimeout(USER_TIMEOUT, overtime_is_over);
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	previous_emit_log_hook = emit_log_hook;
	emit_log_hook = at_report;
	start_timers();
}
