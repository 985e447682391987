/*
 * Check hooks of the server's own settings. Extensions may not put one before those that there are; so it is put
 * there, in the server's own table of settings, while the server starts.
 */
#include "server.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

/* NULL if the server has no such setting. */
static struct config_string *
find_string_setting(const char *name)
{
	struct config_generic *setting = NULL;

#if PG_VERSION_NUM >= 160000
	setting = find_option(name, false, true, LOG);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = GetNumConfigOptions() - 1; i >= 0 && setting == NULL; i--)
		if (strcmp(settings[i]->name, name) == 0)
			setting = settings[i];
#endif
	if (setting == NULL || setting->vartype != PGC_STRING)
		return NULL;
#if PG_VERSION_NUM >= 190000
	return &setting->_string;
#else
	return (struct config_string *) setting;
#endif
}

/*
 * The setting `role`, which makes a role the current one: where the role is `admin`, and where no session may
 * become another role but by SET LOCAL.
 *
 * A utility hook sees SET ROLE, and nothing of set_config(), of a function's SET clause, of
 * ALTER ROLE … SET, or of the options that a client connects with. All of them end in the setting's
 * check hook.
 */
static GucStringCheckHook next_check_role = NULL;

/* Whether this session takes no other role, and whether a statement runs that may set one all the same. */
static bool (*refuses_role) (void) = NULL;
static bool takes_role = false;

/* Only a session of `admin`'s, or of a superuser's, may become `admin`; membership does not count. */
static bool
check_role(char **value, void **extra, GucSource source)
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
	/*
	 * A function's SET clause is checked here as the function is made, and again as it is called. The server itself
	 * sets it to none as a session begins.
	 */
	if (*value != NULL && IsTransactionState() && !InitializingParallelWorker && !takes_role &&
		!(source < PGC_S_INTERACTIVE && strcmp(*value, "none") == 0) && refuses_role())
	{
		GUC_check_errcode(ERRCODE_FEATURE_NOT_SUPPORTED);
		GUC_check_errmsg("setting configuration parameter \"role\" not supported");
		return false;
	}
	return next_check_role == NULL || next_check_role(value, extra, source);
}

/* Carries out a SET LOCAL ROLE. */
void
dsql_iam_take_role(void (*next) (UTILITY_PARAMETERS), UTILITY_PARAMETERS)
{
	takes_role = true;
	PG_TRY();
	{
		next(UTILITY_ARGUMENTS);
	}
	PG_FINALLY();
	{
		takes_role = false;
	}
	PG_END_TRY();
}

/* Gives false if the server has no such setting, which no version lacks. */
bool
dsql_iam_guard_role_setting(bool (*refuses) (void))
{
	struct config_string *role = find_string_setting("role");

	if (role == NULL)
		return false;
	refuses_role = refuses;
	next_check_role = role->check_hook;
	role->check_hook = check_role;
	return true;
}

/*
 * The setting `hba_file`, while the library's own file is in force.
 *
 * postgresql.conf may name the user's file, as Debian's does. At each reload the server compares the two, after
 * the check hook: it would log that hba_file cannot be changed without a restart, and that postgresql.conf
 * contains errors. So there the user's file stands for ours. Any other value is a change that waits for
 * a restart, as ever.
 */
static GucStringCheckHook next_check_hba_file = NULL;
static char *users_hba_file = NULL;
static char *own_hba_file = NULL;

#if PG_VERSION_NUM >= 160000
#define copy_value(text) guc_strdup(LOG, text)
#define free_value(text) guc_free(text)
#else
#define copy_value(text) strdup(text)
#define free_value(text) free(text)
#endif

static bool
check_hba_file(char **value, void **extra, GucSource source)
{
	if (source == PGC_S_FILE && *value != NULL && strcmp(*value, users_hba_file) == 0)
	{
		char	   *ours = copy_value(own_hba_file);

		if (ours == NULL)
			return false;
		free_value(*value);
		*value = ours;
	}
	return next_check_hba_file == NULL || next_check_hba_file(value, extra, source);
}

/* The two paths are copied. Gives false if there is no memory, or no such setting, which no version lacks. */
bool
dsql_iam_note_users_hba_file(const char *users, const char *own)
{
	struct config_string *hba_file = find_string_setting("hba_file");

	users_hba_file = strdup(users);
	own_hba_file = strdup(own);
	if (hba_file == NULL || users_hba_file == NULL || own_hba_file == NULL)
		return false;
	next_check_hba_file = hba_file->check_hook;
	hba_file->check_hook = check_hba_file;
	return true;
}
