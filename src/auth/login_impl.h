/* auth/login_impl.h -- what the ways to log in share.
 *
 *   login.c        passwords, and what is judged in the end
 *   exchange.c     SCRAM and CRAM-MD5: the user name is a key's id
 *   certificate.c  client certificates
 *   bearer.c       tokens */
#ifndef AUTH_LOGIN_IMPL_H
#define AUTH_LOGIN_IMPL_H

#include "account/identity.h"
#include "auth/login.h"

/* What a check of the rows found: all of it is gathered before anything is judged. */
struct auth_rows {
	bool key_there, account_there;
	bool from_there; /* the key may be used from where the client is */
	struct key key;
	struct account account;
};

bool auth_refuse(struct auth_finding *f, enum auth_reason r, struct err *e);
/* The store's own error stays in *e. */
bool auth_down(struct auth_finding *f);
/* True when the lookup answered, be it that nothing is there. */
bool auth_there(bool got, const struct err *why, bool *ret_there, struct err *e);
/* Four lookups, whatever they find, in the open transaction. client: its address. */
bool auth_look_up(struct store_handle *, struct slice id, struct slice client, struct auth_rows *,
		  struct err *e);
/* Who has shown that the key is theirs: may they act as they say, and may the key be used? Fills
 * *ret. */
bool auth_admit(const struct auth_attempt *, const struct auth_rows *, uint64_t generation,
		struct principal *ret, struct auth_finding *, struct err *e);

/* The login ends with the token it rests on, too. */
void auth_rests_on(struct principal *, uint64_t issuer, uint64_t ends_ms);

/* The keys that a certificate or a token is known by. */
struct auth_found {
	char ids[KEY_IDENTITIES_MAX + 1][KEY_ID_LEN + 1];
	size_t n;
};

/* In the open transaction. */
bool auth_find(struct store_handle *, const struct auth_attempt *, struct auth_found *ret,
	       struct err *e);

/* As auth_login(), whose finding is empty yet. */
bool auth_by_exchange(struct store_handle *, const struct auth_attempt *, struct principal *ret,
		      struct auth_finding *, struct err *e);
bool auth_by_certificate(struct store_handle *, const struct auth_attempt *, struct principal *ret,
			 struct auth_finding *, struct err *e);
bool auth_by_token(struct store_handle *, const struct auth_attempt *, struct principal *ret,
		   struct auth_finding *, struct err *e);

#endif
