/* api/api_impl.h -- what the endpoint files share. */
#ifndef API_API_IMPL_H
#define API_API_IMPL_H

#include "account/account.h"
#include "account/trail.h"
#include "api/api.h"
#include "base/jsonout.h"
#include "base/map.h"
#include "relay/operate.h"

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
api_fn api_account_add, api_account_list, api_account_hold, api_account_release, api_account_close;
api_fn api_key_create, api_key_list, api_key_show, api_key_limit, api_key_revoke;
api_fn api_domain_add, api_domain_list, api_domain_remove;
api_fn api_backup_begin, api_backup_end;
api_fn api_ban_list, api_ban_add, api_ban_lift, api_authlog_list;
api_fn api_queue_list, api_queue_show, api_queue_count, api_queue_damaged, api_queue_why;
api_fn api_queue_retry, api_queue_hold, api_queue_release, api_queue_cancel;

api_fn api_reload_ask;
/* Members of an object that is open. */
void api_reload_show(struct json_out *, const struct api_reload *);
/* The reply is this error, with the status its kind has. */
void api_reply_error(struct api_call *, const struct err *);

api_fn api_message_show;

/* A query parameter in the arena; empty when it is not there. */
struct slice api_query(struct api_run *, struct slice name);
/* The same as a number; false: it is none. */
bool api_query_number(struct api_run *, struct slice name, uint64_t standard, uint64_t *ret,
		      struct err *e);
/* The account that "account" (query, or body) names. */
bool api_account(struct api_run *, bool from_body, struct account *ret, struct err *e);

/* Whoever operates on the queue by this call. */
struct operate api_operate(struct api_run *);
/* Something may have fallen due. */
void api_wake(struct api_run *);

/* The filter of a query or a body: --account, --key, --domain, --site, --older-than, --state. what:
 * the same in words. dests: for the destinations of a site; the caller ends it (map_done). */
struct api_filter {
	struct spool_filter spool;
	struct map dests;
	struct slice what;
	struct account account; /* when there is one */
	bool only_origin;       /* an account or a key and nothing else */
};
/* from: "account", ... of the query; or of the body. */
bool api_filter_read(struct api_run *, bool from_body, struct api_filter *ret, struct err *e);
void api_filter_done(struct api_filter *);
const char *api_rcpt_state(enum spool_rcpt_state);

#endif
