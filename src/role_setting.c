/*
 * The setting `role`, which makes a role the current one, where the role is `admin`.
 *
 * A utility hook sees SET ROLE, and nothing of set_config(), of a function's SET clause, of
 * ALTER ROLE … SET, or of the options that a client connects with. All of them end in the setting's
 * check hook, and extensions may not put one before it; so it is put there, in the server's own
 * table of settings, while the server starts.
 */
#include "server.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

static GucStringCheckHook next_check = NULL;

/* Only a session of `admin`'s, or of a superuser's, may become `admin`, whoever is a member. */
static bool
check_role_setting(char **value, void **extra, GucSource source)
{
	/* A parallel worker takes over what its leader has been allowed. */
	if (*value != NULL && strcmp(*value, "admin") == 0 &&
		IsTransactionState() && !InitializingParallelWorker)
	{
		Oid			admin = get_role_oid("admin", true);
		Oid			session = GetSessionUserId();

		if (OidIsValid(admin) && session != admin && !superuser_arg(session))
		{
			GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
			GUC_check_errmsg("permission denied to set role \"%s\"", *value);
			return false;
		}
	}
	return next_check == NULL || next_check(value, extra, source);
}

static struct config_generic *
find_role_setting(void)
{
#if PG_VERSION_NUM >= 160000
	return find_option("role", false, true, LOG);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = GetNumConfigOptions() - 1; i >= 0; i--)
		if (strcmp(settings[i]->name, "role") == 0)
			return settings[i];
	return NULL;
#endif
}

/* Gives false if the server has no such setting, which no version lacks. */
bool
dsql_iam_guard_role_setting(void)
{
	struct config_generic *setting = find_role_setting();
	struct config_string *role;

	if (setting == NULL || setting->vartype != PGC_STRING)
		return false;
#if PG_VERSION_NUM >= 190000
	role = &setting->_string;
#else
	role = (struct config_string *) setting;
#endif
	next_check = role->check_hook;
	role->check_hook = check_role_setting;
	return true;
}
