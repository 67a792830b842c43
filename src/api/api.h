/* api/api.h -- the HTTP endpoints: one function each, in one table.
 *
 * Straight-line code on a worker: a request comes in whole, a reply goes out whole. Now these are
 * the calls of the local control socket, where the kernel says who is calling; the public API
 * joins the table, with the scope each call needs. */
#ifndef API_API_H
#define API_API_H

#include "account/trail.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "ops/conf.h"
#include "relay/schedule.h"
#include "spool/spool.h"
#include "store/store.h"
#include "json/json.h"

struct gate;

#define API_RELOAD_WARNINGS 8

/* What came of the last reload, and what is in use since. */
struct api_reload {
	uint64_t at_ms;    /* 0: there was none yet */
	const char *cause; /* "control", "signal", "certificates" */
	bool ok;           /* else nothing has changed, for this reason: */
	enum err_kind kind;
	char error[sizeof((struct err *)0)->text];
	uint64_t generation;     /* in use; 1: what the server started with */
	uint64_t opened, closed; /* addresses, when it entered */
	char waiting[256]; /* options that are not in effect before a restart: "user, threads" */
	char warnings[API_RELOAD_WARNINGS][sizeof((struct err *)0)->text];
	unsigned n_warnings;
};

struct history;

struct api_status {
	uint64_t started_ms, connections, accepted, memory, log_dropped, sites, sites_failing,
	    certificate_until_ms; /* Unix time when the first of those in use ends */
	bool spool_broken, stopping;
	struct api_reload reload;
	struct slice dnssec; /* how the validation of DNS answers fares */
};

/* Where mail for a destination goes, and how that is. */
struct api_site {
	char name[128];         /* empty: not known */
	char reason[240];       /* of its last failure */
	uint64_t not_before_ms; /* left alone until then, on the clock of deliveries; 0: not */
	unsigned failures, connections;
};

/* What a call may ask of the server; each waits for its answer. */
struct api_doors {
	void *arg;
	bool (*commit)(void *arg, struct spool_op *const *ops, size_t n);
	/* A recipient was cancelled. */
	void (*cancelled)(void *arg, const struct spool_envelope *, uint32_t rcpt,
			  const struct actor *, struct slice note);
	/* False: it does not answer now. */
	bool (*sites)(void *arg, const struct slice *dests, size_t n, struct api_site *ret);
	/* Forgets the trouble of the destinations' sites: they are tried at once. n may be 0. */
	void (*wake)(void *arg, const struct slice *dests, size_t n);
};

struct keyring;

/* What a call may use. */
struct api_context {
	const struct keyring *keyring;
	struct store_handle *store;
	const struct spool_backend *spool_backend;
	struct spool *spool;
	const struct api_status *status;
	const struct conf *conf;
	struct gate *gate;
	const struct api_doors *doors;
	struct history *history; /* NULL: none is kept */
};

struct api_call {
	const struct api_context *ctx;
	struct slice method, path, query; /* encoded, as they came */
	struct slice body;
	struct slice actor; /* "uid:0" */
	uint64_t now_ms;

	unsigned status;
	bool reload; /* a reload is asked for: its verdict is the reply (api_reload_reply) */
	struct slice content_type; /* static text */
	struct buf reply; /* JSON mostly; the caller inits it with a ceiling and wipes it: it may
			     show a key */
};

/* Fills status and reply. */
void api_run(struct api_call *);
/* The same for /healthz, whose answer is not made on a worker: 200 when reason is "ok", else 503.
 */
void api_health(struct api_call *, const char *reason, struct slice detail);
/* The reply to a call that asked for a reload. */
void api_reload_reply(struct api_call *, const struct api_reload *);

#endif
