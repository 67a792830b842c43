/* api/backup.c -- the server's part of a backup: what is to be copied stands still.
 *
 * The spool's cut comes first, the database second: every account that a message of the cut
 * belongs to is in the copy of the database, and what was revoked in between stays revoked. */
#include "api/api_impl.h"

#include <stdio.h>
#include <stdlib.h>

static bool copy_store(struct api_run *r, struct slice spool, struct err *e)
{
	struct slice path;
	struct buf b;
	bool ok;

	buf_init(&b, 4096);
	buf_add(&b, spool);
	buf_add(&b, S("/" SPOOL_CUT_DIR "/signet.db"));
	path = arena_dup(&r->arena, buf_slice(&b));
	ok = !b.failed && path.p;
	buf_done(&b);
	return ok ? store_copy(r->call->ctx->store, path, e)
		  : err_set(e, ERR_LATER, "out of memory");
}

static void write_cut(struct api_run *r, const struct spool_cut *c)
{
	struct json_out *j = &r->out;

	json_open(j);
	json_knum(j, "messages", c->messages);
	json_knum(j, "format", r->call->ctx->spool_backend->format);
	json_ktime(j, "time", r->call->now_ms);
	json_key(j, "segments");
	json_open_list(j);
	for (size_t i = 0; i < c->n_segments; i++) {
		json_open(j);
		json_kstr(j, "name", slice_str(c->segments[i].name));
		json_knum(j, "bytes", c->segments[i].bytes);
		json_close(j);
	}
	json_close_list(j);
	json_close(j);
}

bool api_backup_begin(struct api_run *r, struct err *e)
{
	const struct api_context *ctx = r->call->ctx;
	struct spool_cut c = { 0 };
	bool ok;

	if (!ctx->spool_backend->cut(ctx->spool, &c, e))
		return false;
	ok = copy_store(r, ctx->conf->spool.path, e);
	if (ok)
		write_cut(r, &c);
	else
		ctx->spool_backend->uncut(ctx->spool);
	free(c.segments);
	return ok;
}

bool api_backup_end(struct api_run *r, struct err *e)
{
	(void)e;
	r->call->ctx->spool_backend->uncut(r->call->ctx->spool);
	json_open(&r->out);
	json_close(&r->out);
	return true;
}
