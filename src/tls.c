/*
 * Whether the server's certificate and key can be loaded, asked for by sys.doctor(). The log has why not.
 */
#include "server.h"

#include "libpq/libpq.h"

#include <dlfcn.h>

#if PG_VERSION_NUM < 190000

/* By what the postmaster does at a reload. Connections to come would use it, and here there are none. */
bool
dsql_iam_loads_tls(void)
{
	return secure_initialize(false) == 0;
}

#else

/*
 * From 19 on that gives back the memory of the time before, which the postmaster had and a session has not any
 * more. So this does the part of it that can fail by what is in the files, with the functions of OpenSSL that the
 * server has loaded; this library does not link it.
 */
bool
dsql_iam_loads_tls(void)
{
	const void *(*method) (void);
	void	   *(*new_context) (const void *method);
	void		(*free_context) (void *context);
	int			(*use_chain) (void *context, const char *file);
	int			(*use_key) (void *context, const char *file, int type);
	int			(*fits) (const void *context);
	unsigned long (*error) (void);
	const char *(*reason) (unsigned long error);
	struct
	{
		void	  **function;
		const char *name;
	}			wanted[] = {
		{(void **) &method, "TLS_server_method"},
		{(void **) &new_context, "SSL_CTX_new"},
		{(void **) &free_context, "SSL_CTX_free"},
		{(void **) &use_chain, "SSL_CTX_use_certificate_chain_file"},
		{(void **) &use_key, "SSL_CTX_use_PrivateKey_file"},
		{(void **) &fits, "SSL_CTX_check_private_key"},
		{(void **) &error, "ERR_get_error"},
		{(void **) &reason, "ERR_reason_error_string"},
	};
	void	   *context;
	const char *fault = NULL;
	const char *file = ssl_key_file;

	for (int i = 0; i < lengthof(wanted); i++)
		if ((*wanted[i].function = dlsym(RTLD_DEFAULT, wanted[i].name)) == NULL)
		{
			ereport(LOG, (errmsg("this server has no function \"%s\" of OpenSSL", wanted[i].name)));
			return false;
		}
	/* It logs by itself. */
	if (!check_ssl_key_file_permissions(ssl_key_file, false))
		return false;
	context = new_context(method());
	if (context == NULL)
		fault = "could not create SSL context for";
	else if (use_chain(context, ssl_cert_file) != 1)
	{
		fault = "could not load server certificate file";
		file = ssl_cert_file;
	}
	else if (use_key(context, ssl_key_file, 1 /* SSL_FILETYPE_PEM */ ) != 1)
		fault = "could not load private key file";
	else if (fits(context) != 1)
		fault = "check of private key failed for";
	if (fault != NULL)
	{
		const char *why = reason(error());

		ereport(LOG, (errmsg("%s \"%s\": %s", fault, file, why != NULL ? why : "no SSL error reported")));
	}
	while (error() != 0)
		;
	free_context(context);
	return fault == NULL;
}

#endif
