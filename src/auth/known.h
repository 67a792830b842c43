/* auth/known.h -- logins that were right, remembered while nothing has changed.
 *
 * auth_login() is a function of the attempt, the store and the time. A success is kept under a
 * keyed digest of every input of the decision (mechanism, both identities, password, client), so
 * nobody is let in by another's login, and it counts only while the store is at the generation of
 * the lookup and the key has not expired: a revocation ends it as it ends a session at its next
 * MAIL. A failure is never kept; it costs its lookups each time. Neither is what rests on anything
 * but a password: a proof is another one each time, and what a token or a certificate is worth is
 * not the store's to say.
 *
 * One thread's own: no locks. What is held is no secret, nor can one be told from it. */
#ifndef AUTH_KNOWN_H
#define AUTH_KNOWN_H

#include "auth/login.h"

#define AUTH_KNOWN_KEY 32 /* bytes */

struct auth_known;

/* Room for `slots` logins (a power of two); a later one takes the place of an older one. NULL
 * when out of memory. key: random, of this process. */
struct auth_known *auth_known_new(size_t slots, const unsigned char key[AUTH_KNOWN_KEY]);
void auth_known_free(struct auth_known *); /* NULL is fine */

/* True: auth_login() would let it in as *ret. generation: of the store, now. */
bool auth_known_get(const struct auth_known *, const struct auth_attempt *, uint64_t generation,
		    struct principal *ret);
/* After auth_login() has let it in as *p. */
void auth_known_put(struct auth_known *, const struct auth_attempt *, const struct principal *p);

#endif
