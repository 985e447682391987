/*
 * The server's base header. libpq-be.h, which others include, would drag in the headers of OpenSSL
 * and Kerberos. Without these macros it keeps its layout (what they add it holds as void pointers,
 * or at its end) and needs neither.
 */
#include "postgres.h"

#undef ENABLE_GSS
#undef ENABLE_SSPI
#ifdef USE_OPENSSL
#define SERVER_HAS_OPENSSL
#undef USE_OPENSSL
#endif
