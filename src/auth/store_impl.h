/* auth/store_impl.h -- the tables of this room, in a store of their own. */
#ifndef AUTH_STORE_IMPL_H
#define AUTH_STORE_IMPL_H

#include "store/store.h"

extern const struct table authlog_table, ban_table;

#endif
