/* api/api_impl.h -- what the endpoint files share. */
#ifndef API_API_IMPL_H
#define API_API_IMPL_H

#include "account/account.h"
#include "account/trail.h"
#include "api/api.h"
#include "base/jsonout.h"

/* A call under way. Functions return true and have written the reply, or false and *e. */
struct api_run {
	struct api_call *call;
	struct arena arena;
	struct json *body; /* NULL: none */
	struct slice arg;  /* the path's variable segment, decoded */
	struct json_out out;
	struct actor actor;
	unsigned status; /* of success; 200 unless set */
};

typedef bool api_fn(struct api_run *, struct err *);

api_fn api_status_show, api_metrics;
api_fn api_account_add, api_account_list, api_account_suspend, api_account_resume;
api_fn api_key_create, api_key_list, api_key_show, api_key_revoke;
api_fn api_domain_add, api_domain_list, api_domain_remove;
api_fn api_backup_begin, api_backup_end;
api_fn api_ban_list, api_ban_add, api_ban_lift, api_authlog_list;
api_fn api_queue_list, api_queue_show, api_queue_count, api_queue_damaged;

api_fn api_reload_ask;
/* Members of an object that is open. */
void api_reload_show(struct json_out *, const struct api_reload *);
/* The reply is this error, with the status its kind has. */
void api_reply_error(struct api_call *, const struct err *);

/* A query parameter in the arena; empty when it is not there. */
struct slice api_query(struct api_run *, struct slice name);
/* The same as a number; false: it is none. */
bool api_query_number(struct api_run *, struct slice name, uint64_t standard, uint64_t *ret,
		      struct err *e);
/* The account that "account" (query, or body) names. */
bool api_account(struct api_run *, bool from_body, struct account *ret, struct err *e);

#endif
