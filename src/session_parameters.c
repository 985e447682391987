/*
 * The parameters that a query sets by set_config(), as far as it spells out their names.
 */
#include "server.h"

#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* The test of a name, and the name that it refuses. */
typedef struct Search
{
	bool		(*takes) (const char *name);
	const char *refused;
} Search;

static void
look_at_call(FuncExpr *call, Search *search)
{
	Node	   *argument = (Node *) linitial(call->args);
	char	   *name;

	/* Casts between types of text, and COLLATE. */
	for (;;)
	{
		if (IsA(argument, RelabelType))
			argument = (Node *) ((RelabelType *) argument)->arg;
		else if (IsA(argument, CollateExpr))
			argument = (Node *) ((CollateExpr *) argument)->arg;
		else
			break;
	}
	if (!IsA(argument, Const) || ((Const *) argument)->constisnull)
		return;
	name = TextDatumGetCString(((Const *) argument)->constvalue);
	if (!search->takes(name))
		search->refused = name;
}

static bool
search_node(Node *node, void *context)
{
	Search	   *search = context;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_SET_CONFIG)
		look_at_call((FuncExpr *) node, search);
	if (search->refused != NULL)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, search_node, context, 0);
	return expression_tree_walker(node, search_node, context);
}

/* The first name that set_config() is given, as a constant, and that is not taken; NULL without one. */
const char *
dsql_iam_refused_by_set_config(Query *query, bool (*takes) (const char *name))
{
	Search		search = {takes, NULL};

	Node	   *searched = (Node *) query;

	/* EXPLAIN, DECLARE and CREATE TABLE AS have the query in them, and CALL its arguments. */
	if (query->commandType == CMD_UTILITY && IsA(query->utilityStmt, CallStmt))
		searched = (Node *) ((CallStmt *) query->utilityStmt)->funcexpr;
	else if (query->commandType == CMD_UTILITY)
		searched = (Node *) UtilityContainsQuery(query->utilityStmt);
	search_node(searched, &search);
	return search.refused;
}
