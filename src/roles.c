/*
 * Reads roles in the shared catalogs, as of this moment and not as of the transaction's snapshot.
 * The caller decides what follows.
 */
#include "server.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_shseclabel.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * Whether a role (any one, for InvalidOid) has a security label whose provider starts with `prefix`.
 *
 * A query would see what the transaction's snapshot shows, which in REPEATABLE READ is not what has
 * been committed since. The scan of a catalog takes a new snapshot.
 */
bool
dsql_iam_has_label(Oid role, const char *prefix)
{
	Relation	labels = table_open(SharedSecLabelRelationId, AccessShareLock);
	ScanKeyData keys[2];
	int			n = 0;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	/* In the order of the index. */
	if (OidIsValid(role))
		ScanKeyInit(&keys[n++], Anum_pg_shseclabel_objoid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(role));
	ScanKeyInit(&keys[n++], Anum_pg_shseclabel_classoid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(AuthIdRelationId));
	scan = systable_beginscan(labels, SharedSecLabelObjectIndexId, OidIsValid(role), NULL, n, keys);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		is_null;
		/*
		 * Not heap_getattr(): in the headers of newer minor versions that calls a function which older
		 * servers of the same major version do not have, and the library would not load there.
		 */
		Datum		provider = fastgetattr(tuple, Anum_pg_shseclabel_provider,
										   RelationGetDescr(labels), &is_null);

		found = !is_null &&
			strncmp(TextDatumGetCString(provider), prefix, strlen(prefix)) == 0;
	}
	systable_endscan(scan);
	table_close(labels, AccessShareLock);
	return found;
}

/* Mirrors `port::ReachedRole`. */
typedef struct DsqlIamReachedRole
{
	char		name[NAMEDATALEN];
	bool		is_superuser;
	bool		is_predefined;
	bool		can_replicate;
	bool		bypasses_rls;
} DsqlIamReachedRole;

/*
 * A role, and the roles that it may act as by its memberships, one behind the other: itself first. Gives
 * their number; `reached` gets an array of them in the current memory context.
 *
 * As roles_is_member_of() in acl.c, which is static. Works before a database is open.
 */
int
dsql_iam_reached_roles(Oid role, DsqlIamReachedRole **reached)
{
	List	   *roles = list_make1_oid(role);
	ListCell   *cell;
	int			length = 8;
	int			n = 0;

	*reached = palloc(length * sizeof(DsqlIamReachedRole));
	/* The list grows meanwhile. */
	foreach(cell, roles)
	{
		Oid			member = lfirst_oid(cell);
		HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(member));
		CatCList   *memberships;

		if (HeapTupleIsValid(tuple))
		{
			Form_pg_authid form = (Form_pg_authid) GETSTRUCT(tuple);
			DsqlIamReachedRole *out;

			if (n == length)
			{
				length *= 2;
				*reached = repalloc(*reached, length * sizeof(DsqlIamReachedRole));
			}
			out = &(*reached)[n++];
			strlcpy(out->name, NameStr(form->rolname), NAMEDATALEN);
			out->is_superuser = form->rolsuper;
			out->is_predefined = IsReservedName(NameStr(form->rolname));
			out->can_replicate = form->rolreplication;
			out->bypasses_rls = form->rolbypassrls;
			ReleaseSysCache(tuple);
		}
		memberships = SearchSysCacheList1(AUTHMEMMEMROLE, ObjectIdGetDatum(member));
		for (int i = 0; i < memberships->n_members; i++)
		{
			Form_pg_auth_members form = (Form_pg_auth_members)
				GETSTRUCT(&memberships->members[i]->tuple);

#if PG_VERSION_NUM >= 160000
			/* With ADMIN alone a member has to grant the role first, and that is guarded. */
			if (!form->inherit_option && !form->set_option)
				continue;
#endif
			roles = list_append_unique_oid(roles, form->roleid);
		}
		ReleaseSysCacheList(memberships);
	}
	list_free(roles);
	return n;
}
