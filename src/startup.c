/*
 * The checks for which PostgreSQL refuses a session after authentication, made before. Otherwise the log
 * and the audit file would record a login as admitted that the server then refuses.
 */
#include "server.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/postmaster.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/*
 * The row of a database. As GetDatabaseTuple() in postinit.c, which is static: until the shared caches are
 * there, as in the first session after a start, an index cannot be opened.
 */
static HeapTuple
database_tuple(const char *name)
{
	Relation	databases = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(databases, DatabaseNameIndexId, criticalSharedRelcachesBuilt, NULL,
							  1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(databases, AccessShareLock);
	return tuple;
}

static bool
may_connect(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

/* The message if the connections that are left are not for this role. */
static const char *
reserved_slots(Oid role)
{
#if PG_VERSION_NUM >= 160000
	int			reserved = SuperuserReservedConnections + ReservedConnections;
	int			free_slots;

	if (reserved == 0 || HaveNFreeProcs(reserved, &free_slots))
		return NULL;
	if (free_slots < SuperuserReservedConnections)
		return "remaining connection slots are reserved for roles with the SUPERUSER attribute";
	if (!has_privs_of_role(role, ROLE_PG_USE_RESERVED_CONNECTIONS))
		return "remaining connection slots are reserved for roles with privileges of the "
			"\"pg_use_reserved_connections\" role";
#else
	if (ReservedBackends > 0 && !HaveNFreeProcs(ReservedBackends))
		return "remaining connection slots are reserved for non-replication superuser connections";
#endif
	return NULL;
}

/*
 * The SQLSTATE with which PostgreSQL would refuse a role that is no superuser a session in a database, in
 * its own order and words; NULL if it would not.
 *
 * As in InitializeSessionUserId(), InitPostgres() and CheckMyDatabase(), where the session itself is
 * counted by then. Works before a database is open. Others may come between this and that.
 */
const char *
dsql_iam_startup_fault(Oid role, const char *database, const char **message)
{
	Oid			oid;
	HeapTuple	tuple;
	int			limit;
	bool		is_closed;

	*message = NULL;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);

		if (form->rolconnlimit >= 0 && CountUserBackends(role) >= form->rolconnlimit)
			*message = psprintf("too many connections for role \"%s\"", NameStr(form->rolname));
		ReleaseSysCache(tuple);
	}
	if (*message == NULL)
		*message = reserved_slots(role);
	if (*message != NULL)
		return "53300";

	tuple = database_tuple(database);
	if (!HeapTupleIsValid(tuple))
	{
		*message = psprintf("database \"%s\" does not exist", database);
		return "3D000";
	}
	oid = ((Form_pg_database) GETSTRUCT(tuple))->oid;
	is_closed = !((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
	limit = ((Form_pg_database) GETSTRUCT(tuple))->datconnlimit;
	heap_freetuple(tuple);
	if (is_closed)
	{
		*message = psprintf("database \"%s\" is not currently accepting connections", database);
		return "55000";
	}
	if (!may_connect(oid, role))
	{
		*message = psprintf("permission denied for database \"%s\"", database);
		return "42501";
	}
	if (limit >= 0 && CountDBConnections(oid) >= limit)
	{
		*message = psprintf("too many connections for database \"%s\"", database);
		return "53300";
	}
	return NULL;
}

static Oid	judged_role = InvalidOid;
static void (*refuse_other) (void);

/*
 * InitializeSessionUserId() looks the role up a second time, by its name, which may be another role's by
 * then. Both happen in InitPostgres()'s transaction; this is its end.
 */
static void
check_session_role(XactEvent event, void *unused)
{
	Oid			judged = judged_role;

	if (event != XACT_EVENT_PRE_COMMIT || !OidIsValid(judged))
		return;
	judged_role = InvalidOid;
	if (GetSessionUserId() != judged)
	{
		refuse_other();
		abort();				/* it does not come back */
	}
}

/* Has the session that begins be this role's. Calls `otherwise` if it is another's, to end it. */
void
dsql_iam_expect_role(Oid role, void (*otherwise) (void))
{
	judged_role = role;
	refuse_other = otherwise;
	RegisterXactCallback(check_session_role, NULL);
}
