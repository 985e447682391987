/*
 * The server's base header. From 19 on it goes by the compiler and the libc that it was built with. Here they
 * may be older: gcc has `typeof_unqual` since 14, glibc strlcpy() since 2.38.
 */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14
#define typeof_unqual __typeof__
#endif

#include "postgres.h"

#ifndef strlcpy
extern size_t strlcpy(char *dst, const char *src, size_t siz);
#endif

/*
 * libpq-be.h, which others include, would drag in the headers of OpenSSL and Kerberos. Without these
 * macros it keeps its layout (what they add it holds as void pointers, or at its end) and needs neither.
 */
#undef ENABLE_GSS
#undef ENABLE_SSPI
#ifdef USE_OPENSSL
#define SERVER_HAS_OPENSSL
#undef USE_OPENSSL
#endif

/* The arguments of a utility hook; tcop/utility.h has their types. */
#define UTILITY_PARAMETERS \
	PlannedStmt *planned, const char *query, bool read_only_tree, ProcessUtilityContext context, \
	ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver, \
	QueryCompletion *completion
#define UTILITY_ARGUMENTS \
	planned, query, read_only_tree, context, params, environment, receiver, completion
