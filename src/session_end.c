/*
 * Ends a session that has lasted long enough, between two statements.
 *
 * PostgreSQL has no hook for "between two statements", and a client that asks nothing runs none of
 * our code. It has the "catchup" of cache invalidations: a backend that waits for its client
 * and is told to catch up starts and commits a transaction of nothing. So a timer asks for a catchup;
 * in the callback before a commit, if the server is just then waiting for a message, it is that
 * transaction of nothing, and the session can end. A transaction of the client's is committed in
 * answer to a message that has been read, and is let through.
 *
 * A transaction that is open by then has some time more; after that the session is terminated as by
 * pg_terminate_backend().
 *
 * The timer is the system's and not one of PostgreSQL's timeouts: each ERROR stops those, and behind one in
 * a transaction that has failed already no hook is called that could start them again, unless the ERROR is
 * logged.
 */
#include "server.h"

#include "access/xact.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/sinval.h"

#include <signal.h>
#include <time.h>

static timer_t timer;
static struct itimerspec overtime;
static volatile sig_atomic_t is_over = false;
static char session_detail[64];

static void
ask_for_catchup(void)
{
	catchupInterruptPending = true;
	SetLatch(MyLatch);
}

/* In a signal handler: at the end of the session first, then at the end of its overtime. */
static void
time_is_up(int signal_number)
{
	int			saved_errno = errno;

	if (!is_over)
	{
		is_over = true;
		ask_for_catchup();
		timer_settime(timer, 0, &overtime, NULL);
	}
	else
	{
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
	errno = saved_errno;
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
			if (is_over)
				ask_for_catchup();
			break;
		default:
			break;
	}
}

/*
 * Makes the timer, which sends a real-time signal that nobody in this process handles; PostgreSQL uses none of them.
 * An emulator keeps some for itself, as qemu does, and tells only when a timer is to send one. False with errno if
 * there is none.
 */
static bool
make_timer(void)
{
	struct sigaction action = {0};
	struct sigevent event = {0};

	action.sa_handler = time_is_up;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	event.sigev_notify = SIGEV_SIGNAL;
	errno = EBUSY;
	for (int number = SIGRTMAX; number >= SIGRTMIN; number--)
	{
		struct sigaction present;

		event.sigev_signo = number;
		if (sigaction(number, NULL, &present) == 0 && present.sa_handler == SIG_DFL &&
			timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
			return sigaction(number, &action, NULL) == 0;
	}
	return false;
}

static struct itimerspec
in_milliseconds(int64 milliseconds)
{
	struct itimerspec time = {0};

	/* Zero would stop the timer. */
	milliseconds = Max(milliseconds, 1);
	time.it_value.tv_sec = milliseconds / 1000;
	time.it_value.tv_nsec = milliseconds % 1000 * 1000000;
	return time;
}

/*
 * Limits the session that begins to `duration_ms`, and a transaction that is open then to
 * `overtime_ms` more. Raises an ERROR where that cannot be.
 */
void
dsql_iam_limit_session(int64 duration_ms, int64 overtime_ms, const char *detail)
{
	struct itimerspec duration = in_milliseconds(duration_ms);

	strlcpy(session_detail, detail, sizeof(session_detail));
	overtime = in_milliseconds(overtime_ms);
	if (!make_timer() || timer_settime(timer, 0, &duration, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the timer of the session: %m")));
	RegisterXactCallback(at_transaction_end, NULL);
}
