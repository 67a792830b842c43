#include "relay/bounce.h"

#include "base/map.h"
#include "mime/dsn.h"
#include "relay/submit.h"

#include <errno.h>
#include <unistd.h>

#define HOUR_MS 3600000u
#define PROBES  8

const char *bounce_kind_name(enum bounce_kind k)
{
	switch (k) {
	case BOUNCE_NONE: return "none";
	case BOUNCE_FAILED: return "failed";
	case BOUNCE_DELAYED: return "delayed";
	case BOUNCE_SUCCESS: return "success";
	}
	return "";
}

/* -- the rules -- */

uint64_t bounce_delay_at(const struct bounce_conf *c, struct slice reverse_path,
			 const struct spool_rcpt *r, uint64_t accepted_ms)
{
	bool wanted = r->notify ? (r->notify & NOTIFY_DELAY) != 0 : c->delay_warning;

	if (!c->enabled || !reverse_path.n || !wanted || r->told_delay)
		return UINT64_MAX;
	return accepted_ms + c->delay_ms;
}

static enum bounce_kind judge_failed(const struct bounce_conf *c, struct slice reverse_path,
				     const struct spool_rcpt *r, struct spool_verdict *v,
				     const char **ret_why)
{
	if (!c->enabled)
		return BOUNCE_NONE;
	v->state = RCPT_BOUNCED;
	/* RFC 5321 6.1: no notice about a notice. */
	if (!reverse_path.n)
		*ret_why = "null_sender";
	else if (r->notify && !(r->notify & NOTIFY_FAILURE))
		*ret_why = "not_wanted";
	else
		return BOUNCE_FAILED;
	return BOUNCE_NONE;
}

enum bounce_kind bounce_judge(const struct bounce_conf *c, struct slice reverse_path,
			      const struct spool_rcpt *r, enum bounce_hop hop, uint64_t accepted_ms,
			      uint64_t now_ms, struct spool_verdict *v, const char **ret_why)
{
	*ret_why = NULL;
	switch (v->state) {
	case RCPT_DELIVERED:
		return c->enabled && reverse_path.n && (r->notify & NOTIFY_SUCCESS) &&
			       hop != HOP_DSN
			   ? BOUNCE_SUCCESS
			   : BOUNCE_NONE;
	case RCPT_FAILED: return judge_failed(c, reverse_path, r, v, ret_why);
	case RCPT_PENDING:
		v->told_delay = now_ms >= bounce_delay_at(c, reverse_path, r, accepted_ms);
		return v->told_delay ? BOUNCE_DELAYED : BOUNCE_NONE;
	case RCPT_CANCELLED:
	case RCPT_BOUNCED: break;
	}
	return BOUNCE_NONE;
}

/* -- how many -- */

bool bounce_rate_take(struct bounce_rate *rate, struct slice reverse_path, uint64_t now_ms,
		      uint64_t max)
{
	uint64_t hash = siphash(rate->key, reverse_path);
	uint32_t hour = (uint32_t)(now_ms / HOUR_MS);
	size_t best = hash % BOUNCE_RATE_SLOTS;

	if (!max)
		return true;
	for (size_t i = 0; i < PROBES; i++) {
		size_t at = (hash + i) % BOUNCE_RATE_SLOTS;
		bool old = rate->at[at].hour != hour;

		if (!old && rate->at[at].hash == hash) {
			if (rate->at[at].n >= max)
				return false;
			rate->at[at].n++;
			return true;
		}
		if (rate->at[best].hour == hour && (old || rate->at[at].n < rate->at[best].n))
			best = at;
	}
	rate->at[best].hash = hash;
	rate->at[best].hour = hour;
	rate->at[best].n = 1;
	return true;
}

/* -- the notice -- */

static enum dsn_action action_of(enum bounce_kind kind, enum bounce_hop hop)
{
	switch (kind) {
	case BOUNCE_FAILED: return DSN_FAILED;
	case BOUNCE_DELAYED: return DSN_DELAYED;
	case BOUNCE_NONE:
	case BOUNCE_SUCCESS: break;
	}
	return hop == HOP_FINAL ? DSN_DELIVERED : DSN_RELAYED;
}

static bool list_rcpts(const struct bounce_about *b, struct arena *a, struct dsn *d)
{
	struct dsn_rcpt *rcpts = ARENA_ARRAY(a, struct dsn_rcpt, b->n ? b->n : 1);

	if (!rcpts)
		return false;
	d->rcpts = rcpts;
	for (size_t i = 0; i < b->n; i++) {
		const struct outcome_answer *answer = &b->answers[i];
		const struct spool_rcpt *r = &b->message->envelope.rcpts[answer->rcpt];

		if (b->kinds[i] != b->kind)
			continue;
		rcpts[d->n_rcpts++] =
		    (struct dsn_rcpt){ .path = r->path,
				       .orcpt = r->orcpt,
				       .action = action_of(b->kind, b->hop),
				       .expired = outcome_expired(answer, &b->verdicts[i]),
				       .remote = answer->remote,
				       .code = answer->code,
				       .text = answer->text,
				       .mta = b->mta };
	}
	return d->n_rcpts;
}

/* The body for RET=FULL, wherever it lies. */
static bool whole_body(const struct spool_content *c, struct arena *a, struct slice *ret)
{
	char *p;
	size_t n = 0, want = (size_t)c->fd_bytes;

	*ret = c->body;
	if (c->fd < 0)
		return true;
	p = arena_alloc(a, want ? want : 1);
	while (p && n < want) {
		ssize_t got = pread(c->fd, p + n, want - n, (off_t)(c->fd_offset + n));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	*ret = slice(p, n);
	return p;
}

static bool address(const struct spool_envelope *about, const struct bounce_about *b,
		    struct arena *a, struct spool_envelope *ret, struct err *e)
{
	struct spool_rcpt *rcpt = ARENA_NEW(a, struct spool_rcpt);
	struct slice *dest = ARENA_NEW(a, struct slice);
	struct slice local, domain;

	if (!rcpt || !dest)
		return err_set(e, ERR_LATER, "out of memory");
	slice_rcut(about->reverse_path, '@', &local, &domain);
	*dest = submit_destination(a, domain);
	if (!dest->n)
		return err_set(e, a->failed ? ERR_LATER : ERR_INPUT,
			       "the reverse-path has no domain to send to");
	/* Nobody is to be told about this one: NEVER says so to those behind us, too. */
	*rcpt = (struct spool_rcpt){ .path = arena_dup(a, about->reverse_path),
				     .notify = NOTIFY_NEVER };
	*ret = (struct spool_envelope){ .id = b->id,
					.account = about->account,
					.accepted_ms = b->now_ms,
					.rcpts = rcpt,
					.n_rcpts = 1,
					.dests = dest,
					.n_deliveries = 1 };
	return !a->failed || err_set(e, ERR_LATER, "out of memory");
}

static bool write_notice(struct dsn *d, size_t returned, struct arena *a, struct slice *ret,
			 struct dsn_made *made, struct err *e)
{
	struct buf out;
	bool ok;

	buf_init(&out, returned + 4096 + d->n_rcpts * 8192);
	ok = dsn_compose(d, &out, made, e);
	if (ok) {
		*ret = arena_dup(a, buf_slice(&out));
		ok = ret->p || err_set(e, ERR_LATER, "out of memory");
	}
	buf_done(&out);
	return ok;
}

bool bounce_compose(const struct bounce_conf *c, const struct bounce_about *b, struct arena *a,
		    struct spool_envelope *ret_envelope, struct spool_content *ret_content,
		    struct err *e)
{
	const struct spool_envelope *about = &b->message->envelope;
	const struct spool_content *content = &b->message->content;
	char id[ID_TEXT + 1];
	struct buf id_text = { .p = id, .cap = sizeof id, .max = sizeof id };
	struct dsn d = { .hostname = c->hostname,
			 .from = c->from,
			 .to = about->reverse_path,
			 .token = b->token,
			 .now_ms = b->now_ms,
			 .arrival_ms = about->accepted_ms,
			 .lifetime_ms = c->lifetime_ms,
			 .envid = about->envid,
			 .head = content->head };
	struct dsn_made made;
	struct slice all, empty_line = S("\r\n\r\n");
	const char *end;

	id_add(&id_text, about->id);
	d.id = buf_slice(&id_text);
	/* RFC 3461 4.3: RET=FULL counts for failures only. */
	d.full = b->kind == BOUNCE_FAILED && about->ret == RET_FULL && about->size <= c->full_max;
	if (!address(about, b, a, ret_envelope, e))
		return false;
	if (!list_rcpts(b, a, &d) || (d.full && !whole_body(content, a, &d.body)))
		return err_set(e, ERR_LATER, "the message cannot be read now");
	if (!write_notice(&d, d.head.n * 3 + d.body.n, a, &all, &made, e))
		return false;
	end = memmem(all.p, all.n, empty_line.p, empty_line.n);
	ret_envelope->smtputf8 = made.smtputf8;
	ret_envelope->body_8bit = made.eightbit;
	*ret_content = (struct spool_content){ .fd = -1 };
	ret_content->head = slice(all.p, (size_t)(end - all.p) + empty_line.n);
	ret_content->body = slice_from(all, ret_content->head.n);
	return true;
}
