/* serve/smtp_out_mail.c -- the delivery that a connection has in hand. */
#include "ops/clock.h"
#include "ops/log.h"
#include "ops/metrics.h"
#include "serve/smtp_out_impl.h"

#include <unistd.h>

#define LOAD_MAX (160u << 20)

static void put_down(struct out *o)
{
	if (o->loaded && o->message.content.fd >= 0)
		close(o->message.content.fd);
	arena_done(&o->arena);
	o->busy = o->loaded = false;
	o->mail = (struct smtp_client_mail){ 0 };
	o->rcpts = NULL;
	o->answers = NULL;
	o->n_rcpts = 0;
	o->block = NULL;
	o->block_n = 0;
}

void smtp_out_settle(struct out *o)
{
	struct deliver_facts f = { .route = o->route,
				   .dest = o->message.envelope.dests[o->ticket.delivery],
				   .remote = slice_str(o->remote),
				   .tls = stream_tls_info(&o->stream).cipher,
				   .mta = smtp_out_host(o),
				   .dsn = smtp_client_offers_dsn(o->client) };

	metrics_add(M_ATTEMPTS, metrics_word(LABEL_ATTEMPT, S("settled")), 0, 1);
	deliver_settle(o->deliver, &o->ticket, &o->message.envelope, o->answers, o->n_rcpts, &f);
	put_down(o);
}

/* Copies an answer's text into the arena: events live only until the next step. */
void smtp_out_note(struct out *o, uint32_t i, const struct smtp_client_event *ev)
{
	o->answers[i].code = ev->reply.code;
	o->answers[i].remote = ev->remote;
	o->answers[i].text = arena_dup(&o->arena, slice(ev->reply.text, ev->reply.n));
}

void smtp_out_note_rest(struct out *o, const struct smtp_client_event *ev)
{
	for (uint32_t i = 0; i < o->n_rcpts; i++)
		if (o->answers[i].code < 0)
			smtp_out_note(o, i, ev);
}

static void load_run(struct job *job, void *ctx)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	struct server *s = o->home->server;

	(void)ctx;
	o->loaded =
	    s->spool_backend->load(s->spool, o->ticket.id, &o->arena, &o->message, &o->error);
}

/* Does the content need an 8-bit path? What was taken as 7-bit may still hold such bytes. */
static bool high(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 0x7f)
			return true;
	return false;
}

static bool make_mail(struct out *o)
{
	struct spool_envelope *env = &o->message.envelope;
	struct spool_content *c = &o->message.content;

	o->rcpts = ARENA_ARRAY(&o->arena, struct smtp_client_rcpt, env->n_rcpts);
	o->answers = ARENA_ARRAY(&o->arena, struct outcome_answer, env->n_rcpts);
	o->block = c->fd >= 0 ? arena_alloc(&o->arena, SMTP_OUT_RUN) : NULL;
	if (!o->rcpts || !o->answers || (c->fd >= 0 && !o->block))
		return false;
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		const struct spool_rcpt *r = &env->rcpts[i];

		if (r->delivery != o->ticket.delivery || r->state != RCPT_PENDING)
			continue;
		o->answers[o->n_rcpts] = (struct outcome_answer){ .rcpt = i, .code = -1 };
		o->rcpts[o->n_rcpts++] = (struct smtp_client_rcpt){ r->path, r->notify, r->orcpt };
	}
	o->head_left = c->head;
	o->body_left = c->fd < 0 ? c->body : S("");
	o->file_at = c->fd_offset;
	o->file_left = c->fd >= 0 ? c->fd_bytes : 0;
	o->mail = (struct smtp_client_mail){
		.reverse_path = env->reverse_path,
		.body_8bit = env->body_8bit,
		.high = (!env->smtputf8 && high(c->head)) ||
			(c->fd < 0 ? high(c->body) : env->body_8bit),
		.smtputf8 = env->smtputf8,
		.size = env->size,
		.ret = env->ret == RET_FULL   ? SMTP_RET_FULL
		       : env->ret == RET_HDRS ? SMTP_RET_HDRS
					      : SMTP_RET_UNSAID,
		.envid = env->envid,
		.rcpts = o->rcpts,
		.n_rcpts = o->n_rcpts,
	};
	return o->n_rcpts > 0;
}

static void load_done(struct job *job)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	struct server *s = o->home->server;

	o->job_out = false;
	if (!o->loaded) {
		if (o->error.kind == ERR_DAMAGED || o->error.kind == ERR_ABSENT)
			deliver_unreadable(o->deliver, &o->ticket, &o->error);
		else
			s->spool_backend->release(s->spool, &o->ticket, clock_steady_ms() + 60000);
		put_down(o);
	} else if (!make_mail(o)) {
		s->spool_backend->release(s->spool, &o->ticket, clock_steady_ms() + 60000);
		put_down(o);
	} else if (o->stage == STAGE_LOAD) {
		smtp_client_send(o->client, &o->mail);
	}
	if (o->stage == STAGE_LOAD)
		o->stage = STAGE_TALK;
	smtp_out_pump(o);
}

static void block_run(struct job *job, void *ctx)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));
	size_t want = o->file_left < SMTP_OUT_RUN ? (size_t)o->file_left : SMTP_OUT_RUN;
	ssize_t n = pread(o->message.content.fd, o->block, want, (off_t)o->file_at);

	(void)ctx;
	o->block_n = n > 0 ? (size_t)n : 0;
}

static void block_done(struct job *job)
{
	struct out *o = (struct out *)(void *)((char *)job - offsetof(struct out, job));

	o->job_out = false;
	if (o->stage == STAGE_LOAD)
		o->stage = STAGE_TALK;
	if (!o->block_n)
		smtp_client_lost(o->client, S("the message cannot be read"));
	o->file_at += o->block_n;
	o->file_left -= o->block_n;
	o->body_left = slice(o->block, o->block_n);
	smtp_out_pump(o);
}

static bool post(struct out *o, void (*run)(struct job *, void *), void (*done)(struct job *))
{
	o->job = (struct job){ .run = run, .done = done, .home = o->home->loop };
	o->job_out = lane_post(o->home->server->files, &o->job);
	return o->job_out;
}

bool smtp_out_spent(const struct out *o)
{
	return o->site->retired || (o->route->messages_per_connection &&
				    o->messages >= o->route->messages_per_connection);
}

bool smtp_out_next(struct out *o)
{
	struct server *s = o->home->server;
	uint64_t now = clock_steady_ms();

	if (!o->proven) {
		o->proven = true;
		o->site->unproven--;
		schedule_site_ok(o->site);
		deliver_wake(o->deliver); /* another connection may be wanted beside this one */
	}
	if (deliver_stopping(o->deliver) || smtp_out_spent(o) ||
	    !schedule_take(deliver_schedule(o->deliver), o->site, now, &o->ticket))
		return false;
	o->messages++;
	o->busy = true;
	arena_init(&o->arena, LOAD_MAX);
	o->stage = STAGE_LOAD;
	if (post(o, load_run, load_done))
		return true;
	o->stage = STAGE_TALK;
	s->spool_backend->release(s->spool, &o->ticket, now + 1000);
	put_down(o);
	return false;
}

bool smtp_out_feed(struct out *o)
{
	struct slice *from = o->head_left.n ? &o->head_left : &o->body_left;
	struct slice run = slice_take(from, from->n < SMTP_OUT_RUN ? from->n : SMTP_OUT_RUN);
	bool last = !o->head_left.n && !o->body_left.n && !o->file_left;

	if (!run.n && o->file_left) {
		o->stage = STAGE_LOAD;
		if (post(o, block_run, block_done))
			return false;
		o->stage = STAGE_TALK;
		smtp_client_lost(o->client, S("the message cannot be read now"));
		return true;
	}
	smtp_client_body(o->client, run, last, &o->out);
	return true;
}

void smtp_out_give_back(struct out *o)
{
	struct server *s = o->home->server;

	s->spool_backend->release(s->spool, &o->ticket, clock_steady_ms());
	put_down(o);
}
