/*
 * What the shared catalogs know of roles beyond what pgrx can ask them, as of this moment and not as
 * of the transaction's snapshot. `mappings.rs` decides what follows from it.
 */
#include "server.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_shseclabel.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

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
		Datum		provider = heap_getattr(tuple, Anum_pg_shseclabel_provider,
											RelationGetDescr(labels), &is_null);

		found = !is_null &&
			strncmp(TextDatumGetCString(provider), prefix, strlen(prefix)) == 0;
	}
	systable_endscan(scan);
	table_close(labels, AccessShareLock);
	return found;
}
