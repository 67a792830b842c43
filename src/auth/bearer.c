/* auth/bearer.c -- bearer tokens: the port that issuers are connected to.
 *
 * What arrives is a token and, perhaps empty, the user that it is claimed to be for. As long as no
 * issuer is configured nobody can judge it; the mechanisms that carry tokens are not offered
 * then, so nobody comes here but by an issuer that went while a session was open. */
#include "auth/login_impl.h"

bool auth_by_token(struct store_handle *h, const struct auth_attempt *at, struct principal *ret,
		   struct auth_finding *f, struct err *e)
{
	(void)h;
	(void)at;
	(void)ret;
	return auth_refuse(f, REASON_NO_ISSUER, e);
}
