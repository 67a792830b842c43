/* auth/ban.h -- bans as rows, so that they outlive a restart. In the store of the authentication
 * log. Who is held when: policy/bans. */
#ifndef AUTH_BAN_H
#define AUTH_BAN_H

#include "policy/bans.h"
#include "store/store.h"

/* Writes it in the place of the one for the same prefix, if there is one. */
bool ban_save(struct store_handle *, const struct ban *, struct err *e);
/* Lifting what is not there is fine. */
bool ban_forget(struct store_handle *, const struct net *, struct err *e);
/* Those that still hold go into the set; rows of those that are over are removed. */
bool ban_load(struct store_handle *, uint64_t now_ms, struct bans *, struct err *e);

#endif
