/*
 * The result of CREATE INDEX ASYNC: a row with the id of a job, which is over when the row comes.
 *
 * How does a CREATE INDEX come to give a row? When it has been analysed, and before anybody asks what
 * columns there will be, it is put into a CALL of a procedure whose one output argument is called job_id.
 * To the server that is a utility statement that returns rows, in each of its protocols. Nobody calls the
 * procedure: the utility hook (statement.rs) takes the CREATE INDEX out again, and has the next hook
 * or the server carry it out.
 *
 * And what can be forged? The row of a job is written as the server writes its catalogs, into a table that
 * has to belong to the extension, and so to a superuser; nobody else may write to it.
 */
#include "server.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* The extension's objects in its schema, as its script makes them. */
#define SCHEMA "sys"
#define ANSWER "create_index_async"
#define TABLE "recorded_jobs"
#define TABLE_COLUMNS 9
/* The length of a job's id. */
#define ID_LEN 26
/* How long sys.jobs has a job after its end, as its view says. */
#define REMEMBERED_MINUTES 30

extern void dsql_iam_log_ddl(const char *query, int location, int len);

typedef void (*Utility) (UTILITY_PARAMETERS);

/* The job of the CREATE INDEX ASYNC that was carried out last; empty if there is none. */
static char last_job[ID_LEN + 1] = "";

/* The first relation that is made while a CREATE INDEX ASYNC is carried out. */
static bool watches = false;
static Oid	first_made = InvalidOid;

static object_access_hook_type next_object_access = NULL;

static void
note_made(ObjectAccessType access, Oid class, Oid object, int part, void *argument)
{
	if (next_object_access)
		next_object_access(access, class, object, part, argument);
	if (watches && access == OAT_POST_CREATE && class == RelationRelationId && part == 0 &&
		!OidIsValid(first_made))
		first_made = object;
}

/* To be called once, while the server starts. */
void
dsql_iam_watch_new_indexes(void)
{
	next_object_access = object_access_hook;
	object_access_hook = note_made;
}

/* An object of the extension's, or an ERROR if the extension is not in this database. */
static Oid
of_extension(Oid class, Oid object)
{
	Oid			extension = get_extension_oid("dsql_iam", true);

	if (!OidIsValid(extension) || !OidIsValid(object) ||
		getExtensionOfObject(class, object) != extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("CREATE INDEX ASYNC needs the extension dsql_iam in this database"),
				 errhint("Let a superuser run: CREATE EXTENSION dsql_iam")));
	return object;
}

static Oid
answer_procedure(void)
{
	Oid			text = TEXTOID;
	Oid			procedure = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
											CStringGetDatum(ANSWER),
											PointerGetDatum(buildoidvector(&text, 1)),
											ObjectIdGetDatum(get_namespace_oid(SCHEMA, true)));

	return of_extension(ProcedureRelationId, procedure);
}

static Oid
job_table(void)
{
	return of_extension(RelationRelationId,
						get_relname_relid(TABLE, get_namespace_oid(SCHEMA, true)));
}

/* Puts an analysed CREATE INDEX into a CALL that announces the row of its job. */
void
dsql_iam_announce_job(Query *query)
{
	CallStmt   *call = makeNode(CallStmt);

	call->funccall = makeFuncCall(list_make1(makeString(pstrdup(ANSWER))),
								  list_make1(query->utilityStmt), COERCE_EXPLICIT_CALL, -1);
	call->funcexpr = makeFuncExpr(answer_procedure(), RECORDOID, NIL, InvalidOid, InvalidOid,
								  COERCE_EXPLICIT_CALL);
	call->outargs = list_make1(makeNullConst(TEXTOID, -1, InvalidOid));
	query->utilityStmt = (Node *) call;
}

/* The CREATE INDEX in such a CALL; NULL if it is somebody's own, whose arguments are expressions. */
static IndexStmt *
announced_index(Node *statement)
{
	CallStmt   *call = (CallStmt *) statement;

	if (!IsA(statement, CallStmt) || call->funccall == NULL ||
		list_length(call->funccall->args) != 1 || !IsA(linitial(call->funccall->args), IndexStmt))
		return NULL;
	return linitial_node(IndexStmt, call->funccall->args);
}

bool
dsql_iam_is_announced(Node *statement)
{
	return announced_index(statement) != NULL;
}

/* A statement as another is, with `node` in its place. */
static PlannedStmt *
with_node(const PlannedStmt *planned, Node *node)
{
	PlannedStmt *copy = makeNode(PlannedStmt);

	memcpy(copy, planned, sizeof(PlannedStmt));
	copy->utilityStmt = node;
	return copy;
}

/* Carries out what dsql_iam_announce_job() has made: the CREATE INDEX, and then its row. */
void
dsql_iam_run_announced(UTILITY_PARAMETERS)
{
	IndexStmt  *index = announced_index(planned->utilityStmt);
	TupOutputState *output;
	Datum		values[1];
	bool		nulls[1] = {false};

	/* In the simple protocol it has been logged as what it was parsed to; in the extended one it is a CALL. */
	if (context == PROCESS_UTILITY_TOPLEVEL && ActivePortal != NULL && ActivePortal->cplan != NULL)
		dsql_iam_log_ddl(query, planned->stmt_location, planned->stmt_len);
	last_job[0] = '\0';
	/* From the first hook on: there may be one before this library's that looks at a CREATE INDEX. */
	ProcessUtility(with_node(planned, (Node *) index), query, true, context, params, environment,
				   None_Receiver, completion);
	if (last_job[0] == '\0')
		return;
	output = begin_tup_output_tupdesc(receiver,
									  CallStmtResultDesc((CallStmt *) planned->utilityStmt),
									  &TTSOpsVirtual);
	values[0] = CStringGetTextDatum(last_job);
	do_tup_output(output, values, nulls);
	end_tup_output(output);
}

/* The table that an index is made for. */
static Oid
indexed_table(const IndexStmt *statement)
{
	return RangeVarGetRelid(statement->relation, NoLock, true);
}

/*
 * Whether an error is the new index's own: duplicates in its table. An index of that name which is there, now
 * that the statement is undone, is another one, into which a function of the statement has put a duplicate. Nor
 * is it the new one's if it is of a partition: that table has no index that could be left invalid.
 */
static bool
are_own_duplicates(const ErrorData *error, Oid table)
{
	return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && OidIsValid(table) &&
		error->schema_name != NULL && error->table_name != NULL && error->constraint_name != NULL &&
		strcmp(error->schema_name, get_namespace_name(get_rel_namespace(table))) == 0 &&
		strcmp(error->table_name, get_rel_name(table)) == 0 &&
		!OidIsValid(get_relname_relid(error->constraint_name, get_rel_namespace(table)));
}

/* Carries out a CREATE UNIQUE INDEX; false, with nothing done, if there are duplicates. */
static bool
is_built_unique(Utility next, UTILITY_PARAMETERS)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool is_built = true;

	/* As PL/pgSQL does for a block with EXCEPTION. */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		next(planned, query, read_only_tree, context, params, environment, receiver, completion);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
		if (!are_own_duplicates(error, indexed_table((IndexStmt *) planned->utilityStmt)))
			ReThrowError(error);
		FreeErrorData(error);
		is_built = false;
	}
	PG_END_TRY();
	return is_built;
}

/* Whether this is an index of the table. */
static bool
is_index_of(Oid index, Oid table)
{
	char		kind = OidIsValid(index) ? get_rel_relkind(index) : '\0';

	return (kind == RELKIND_INDEX || kind == RELKIND_PARTITIONED_INDEX) &&
		IndexGetRelation(index, true) == table;
}

/*
 * The index that was made, or that was there if IF NOT EXISTS found one. An event trigger may have made
 * something else before it; then the name tells, if it has one.
 */
static Oid
index_of(const IndexStmt *statement)
{
	Oid			table = indexed_table(statement);

	if (is_index_of(first_made, table))
		return first_made;
	if (statement->idxname == NULL || !OidIsValid(table))
		return InvalidOid;
	return get_relname_relid(statement->idxname, get_rel_namespace(table));
}

/*
 * Whether this is an index of the table that this transaction has made. One that IF NOT EXISTS has found is
 * somebody else's, perhaps another table's, and stays as it is.
 */
static bool
is_made_here(Oid index, Oid table)
{
	Relation	relation;
	bool		is_made;

	if (!is_index_of(index, table))
		return false;
	relation = relation_open(index, AccessShareLock);
	is_made = relation->rd_createSubid != InvalidSubTransactionId;
	relation_close(relation, NoLock);
	return is_made;
}

/*
 * Leaves what Aurora DSQL leaves of a unique index whose table has duplicates: an index of that name which
 * is not valid, until somebody drops it.
 */
static void
leave_invalid(Utility next, UTILITY_PARAMETERS)
{
	IndexStmt  *statement = castNode(IndexStmt, copyObject(planned->utilityStmt));
	Oid			index;

	statement->unique = false;
#if PG_VERSION_NUM >= 150000
	statement->nulls_not_distinct = false;
#endif
	first_made = InvalidOid;
	next(with_node(planned, (Node *) statement), query, true, context, params, environment, receiver,
		 completion);
	CommandCounterIncrement();
	index = index_of(statement);
	if (!is_made_here(index, indexed_table(statement)))
		return;
	index_set_state_flags(index, INDEX_DROP_CLEAR_VALID);
	CacheInvalidateRelcacheByRelid(indexed_table(statement));
	CommandCounterIncrement();
}

/* Why a job cannot be called completed, though nothing failed: IF NOT EXISTS may have found any relation. */
static const char *
fault_of(Oid index, const IndexStmt *statement)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	const char *fault = NULL;

	if (!HeapTupleIsValid(tuple))
		return "the relation that has the name is not an index";
	if (!((Form_pg_index) GETSTRUCT(tuple))->indisvalid)
		fault = "the index that has the name is not valid";
	else if (statement->unique && !((Form_pg_index) GETSTRUCT(tuple))->indisunique)
		fault = "the index that has the name is not unique";
	ReleaseSysCache(tuple);
	return fault;
}

/*
 * Takes away the jobs that sys.jobs will not show again. One session at a time does; others leave it to the
 * next.
 */
static void
forget_old_jobs(Relation table, TimestampTz start)
{
	TimestampTz end = start - REMEMBERED_MINUTES * (int64) SECS_PER_MINUTE * USECS_PER_SEC;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!ConditionalLockRelation(table, ShareUpdateExclusiveLock))
		return;
	scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		is_null;
		Datum		update_time = heap_getattr(tuple, TABLE_COLUMNS, RelationGetDescr(table), &is_null);

		if (!is_null && DatumGetTimestampTz(update_time) < end)
			CatalogTupleDelete(table, &tuple->t_self);
	}
	systable_endscan(scan);
}

/* Writes the row of a job that is over. */
static void
record(const char *id, const IndexStmt *statement, const char *fault, TimestampTz start)
{
	Relation	table = table_open(job_table(), RowExclusiveLock);
	Oid			index = index_of(statement);
	char	   *name = OidIsValid(index) ? get_rel_name(index) : NULL;
	Datum		values[TABLE_COLUMNS];
	bool		nulls[TABLE_COLUMNS] = {false};

	if (RelationGetNumberOfAttributes(table) != TABLE_COLUMNS)
		elog(ERROR, "sys.%s is not as dsql_iam has made it", TABLE);
	if (fault == NULL)
		fault = fault_of(index, statement);
	forget_old_jobs(table, start);
	values[0] = CStringGetTextDatum(id);
	values[1] = CStringGetTextDatum(fault ? "failed" : "completed");
	nulls[2] = fault == NULL;
	values[2] = CStringGetTextDatum(fault ? fault : "");
	values[3] = CStringGetTextDatum("INDEX_BUILD");
	values[4] = ObjectIdGetDatum(RelationRelationId);
	nulls[5] = nulls[6] = name == NULL;
	values[5] = ObjectIdGetDatum(index);
	values[6] = CStringGetTextDatum(name == NULL ? "" :
									psprintf("%s.%s", get_namespace_name(get_rel_namespace(index)),
											 name));
	values[7] = TimestampTzGetDatum(start);
	values[8] = TimestampTzGetDatum(GetCurrentTimestamp());
	CatalogTupleInsert(table, heap_form_tuple(RelationGetDescr(table), values, nulls));
	table_close(table, NoLock);
	CommandCounterIncrement();
}

/* Carries out a CREATE INDEX ASYNC by `next`, and records the job with this id. */
void
dsql_iam_build_index(const char *id, Utility next, UTILITY_PARAMETERS)
{
	IndexStmt  *statement = castNode(IndexStmt, planned->utilityStmt);
	TimestampTz start = GetCurrentTimestamp();
	const char *fault = NULL;
	bool		outer_watches = watches;
	Oid			outer_made = first_made;

	/* Before the work. */
	(void) job_table();
	/* A function of the statement may run another one, and either may end in an ERROR. */
	watches = true;
	first_made = InvalidOid;
	PG_TRY();
	{
		if (!statement->unique)
			next(planned, query, true, context, params, environment, receiver, completion);
		else if (!is_built_unique(next, planned, query, true, context, params, environment, receiver,
								  completion))
		{
			fault = "found duplicate key(s) while validating index uniqueness";
			leave_invalid(next, planned, query, true, context, params, environment, receiver,
						  completion);
		}
		watches = false;
		CommandCounterIncrement();
		record(id, statement, fault, start);
	}
	PG_FINALLY();
	{
		watches = outer_watches;
		first_made = outer_made;
	}
	PG_END_TRY();
	strlcpy(last_job, id, sizeof(last_job));
}
