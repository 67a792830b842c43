#include "path_twin.h"

#include "base/must.h"
#include "keyring/keyring.h"
#include "loop/loop.h"
#include "loop/stream.h"
#include "loop/work.h"
#include "ops/clock.h"
#include "serve/capture.h"
#include "serve/deliver.h"
#include "serve/mx.h"
#include "serve/server.h"
#include "serve/smtp_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As loop/stream.c reads. */
#define READ_STEP 16384

/* -- time and chance -- */

static uint64_t now_ms = 1700000000000;
static uint64_t chance;

void twin_tick(void)
{
	now_ms++;
}

uint64_t clock_mono_ms(void)
{
	return now_ms;
}

uint64_t clock_mono_ns(void)
{
	return clock_mono_ms() * 1000000;
}

uint64_t clock_wall_ms(void)
{
	return now_ms;
}

uint64_t clock_steady_ms(void)
{
	return now_ms;
}

/* The linker sends keyring_random() here (--wrap). */
void __wrap_keyring_random(void *p, size_t n);
void __wrap_keyring_random(void *p, size_t n)
{
	unsigned char *to = p;

	for (size_t i = 0; i < n; i++) {
		chance = chance * 6364136223846793005u + 1442695040888963407u;
		to[i] = (unsigned char)(chance >> 56);
	}
}

/* -- the loop -- */

/* The one task there is, delivery's wake, is posted once at a time. */
struct loop {
	struct loop_task *task;
};

static struct loop the_loop;

struct loop *loop_new(struct err *e)
{
	(void)e;
	return &the_loop;
}

void loop_free(struct loop *l)
{
	(void)l;
}

uint64_t loop_now(const struct loop *l)
{
	(void)l;
	return now_ms;
}

void loop_post(struct loop *l, struct loop_task *t)
{
	MUST(!l->task);
	l->task = t;
}

static bool run_task(void)
{
	struct loop_task *t = the_loop.task;

	the_loop.task = NULL;
	if (t)
		t->run(t);
	return t;
}

/* Nobody is late here, so no timer fires. */
void loop_timer_init(struct loop_timer *t, struct loop *l, void (*fire)(void *arg), void *arg)
{
	*t = (struct loop_timer){ .loop = l, .fire = fire, .arg = arg, .due = UINT64_MAX };
}

void loop_timer_set(struct loop_timer *t, uint64_t ms)
{
	t->due = now_ms + ms;
}

void loop_timer_cancel(struct loop_timer *t)
{
	t->due = UINT64_MAX;
}

/* -- lanes and batches -- */

struct list {
	struct job *first, **end;
};

struct lane {
	struct lane *next;
	struct list jobs;
	void *ctx;
	void (*close)(void *ctx);
};

struct batch {
	struct list jobs;
	void (*run)(struct job **jobs, size_t n, void *ctx);
	void *ctx;
};

static struct lane *lanes;
static struct batch *the_batch;

static void add(struct list *l, struct job *j)
{
	j->next = NULL;
	*(l->first ? l->end : &l->first) = j;
	l->end = &j->next;
}

static struct job *take(struct list *l)
{
	struct job *j = l->first;

	if (j)
		l->first = j->next;
	return j;
}

struct lane *lane_new(const struct lane_conf *c, struct err *e)
{
	struct lane *l = calloc(1, sizeof *l);

	MUST(l);
	l->close = c->close;
	l->ctx = c->open ? c->open(c->arg, e) : NULL;
	l->next = lanes;
	lanes = l;
	return l;
}

/* All at once: they go at the end of the program. */
void lane_free(struct lane *l)
{
	lanes = NULL;
	if (l && l->close)
		l->close(l->ctx);
	free(l);
}

bool lane_post(struct lane *l, struct job *j)
{
	add(&l->jobs, j);
	return true;
}

/* Nothing is ever too much here. */
void job_return(struct job *j)
{
	(void)j;
	MUST(false);
}

static bool run_lanes(void)
{
	for (struct lane *l = lanes; l; l = l->next) {
		struct job *j = take(&l->jobs);

		if (!j)
			continue;
		j->run(j, l->ctx);
		j->done(j);
		return true;
	}
	return false;
}

struct batch *batch_new(const char *name, size_t queue_max,
			void (*run)(struct job **jobs, size_t n, void *ctx), void *ctx,
			struct err *e)
{
	(void)name, (void)queue_max, (void)e;
	the_batch = calloc(1, sizeof *the_batch);
	MUST(the_batch);
	the_batch->run = run;
	the_batch->ctx = ctx;
	return the_batch;
}

void batch_free(struct batch *b)
{
	free(b);
}

bool batch_post(struct batch *b, struct job *j)
{
	add(&b->jobs, j);
	return true;
}

static bool run_batch(unsigned max)
{
	struct job *jobs[TWIN_PEERS];
	size_t n = 0;

	MUST(max && max <= TWIN_PEERS);
	while (n < max && (jobs[n] = take(&the_batch->jobs)))
		n++;
	if (!n)
		return false;
	the_batch->run(jobs, n, the_batch->ctx);
	for (size_t i = 0; i < n; i++)
		jobs[i]->done(jobs[i]);
	return true;
}

void twin_work(unsigned batch)
{
	while (run_lanes() || run_task() || run_batch(batch))
		;
}

/* -- streams: the descriptor is the peer's number -- */

static struct peer {
	struct stream *stream;
	struct slice says;
	struct buf hears;
	bool heard, tls;
} peers[TWIN_PEERS];

void twin_say(int peer, struct slice bytes)
{
	struct peer *p = &peers[peer];

	MUST(p->stream && !p->says.n);
	p->says = bytes;
	p->stream->ready(p->stream->arg);
}

struct slice twin_heard(int peer)
{
	peers[peer].heard = true;
	return buf_slice(&peers[peer].hears);
}

bool stream_init(struct stream *s, struct loop *l, int fd, void (*ready)(void *arg), void *arg)
{
	(void)l;
	*s = (struct stream){ .fd = fd, .ready = ready, .arg = arg };
	peers[fd] = (struct peer){ .stream = s };
	buf_init(&peers[fd].hears, 65536);
	return true;
}

void stream_rank(struct stream *s, enum loop_dear_rank rank)
{
	(void)s;
	(void)rank;
}

void stream_close(struct stream *s)
{
	buf_done(&peers[s->fd].hears);
	peers[s->fd] = (struct peer){ 0 };
}

enum stream_result stream_read(struct stream *s, struct buf *in, size_t max)
{
	struct peer *p = &peers[s->fd];
	size_t n;
	char *to;

	max = max < buf_left(in) ? max : buf_left(in);
	max = max < READ_STEP ? max : READ_STEP;
	n = p->says.n < max ? p->says.n : max;
	if (!n)
		return STREAM_AGAIN;
	to = buf_room_for(in, max);
	if (!to)
		return STREAM_ERROR;
	memcpy(to, slice_take(&p->says, n).p, n);
	buf_grew(in, n);
	return STREAM_OK;
}

enum stream_result stream_write(struct stream *s, struct buf *out)
{
	struct peer *p = &peers[s->fd];

	if (p->heard)
		buf_clear(&p->hears);
	p->heard = false;
	buf_add(&p->hears, buf_slice(out));
	MUST(!p->hears.failed);
	buf_clear(out);
	return STREAM_OK;
}

void stream_want(struct stream *s, bool read, bool write)
{
	(void)s, (void)read, (void)write;
}

bool stream_start_server(struct stream *s, struct tls_server *t, struct err *e)
{
	(void)t, (void)e;
	peers[s->fd].tls = true;
	return true;
}

enum stream_result stream_handshake(struct stream *s, struct err *e)
{
	(void)s, (void)e;
	return STREAM_OK;
}

bool stream_wants_write(const struct stream *s)
{
	(void)s;
	return false;
}

struct stream_tls stream_tls_info(const struct stream *s)
{
	if (!peers[s->fd].tls)
		return (struct stream_tls){ 0 };
	return (struct stream_tls){ S("TLSv1.3"), S("TLS_AES_256_GCM_SHA384"), false };
}

void stream_relax(struct stream *s)
{
	(void)s;
}

bool stream_holds(const struct stream *s)
{
	(void)s;
	return true;
}

void stream_half_close(struct stream *s)
{
	(void)s;
}

enum stream_result stream_discard(struct stream *s, size_t max, size_t *ret)
{
	(void)s, (void)max;
	*ret = 0;
	return STREAM_EOF;
}

/* -- the next hop: reads what it is given, says yes -- */

#define HANDFUL 16

struct hop {
	struct job job;
	struct deliver *deliver;
	struct site *site;
	struct item {
		struct spool_ticket ticket;
		struct arena arena;
		struct spool_message message;
	} items[HANDFUL];
	size_t n;
};

static void hop_run(struct job *j, void *ctx)
{
	struct hop *h = (struct hop *)(void *)j;
	struct server *s = deliver_home(h->deliver)->server;
	struct err e;

	(void)ctx;
	for (size_t i = 0; i < h->n; i++) {
		struct item *it = &h->items[i];

		arena_init(&it->arena, 1 << 20);
		MUST(s->spool_backend->load(s->spool, it->ticket.id, &it->arena, &it->message, &e));
		if (it->message.content.fd >= 0)
			close(it->message.content.fd);
	}
}

static void hop_done(struct job *j)
{
	struct hop *h = (struct hop *)(void *)j;
	struct outcome_answer answer = { .code = 250, .text = S("2.0.0 Ok: queued as 12345") };
	struct deliver_facts facts = { .route = h->site->route, .remote = S("192.0.2.2:25") };

	for (size_t i = 0; i < h->n; i++) {
		struct item *it = &h->items[i];

		MUST(it->message.envelope.n_rcpts == 1);
		deliver_settle(h->deliver, &it->ticket, &it->message.envelope, &answer, 1, &facts);
		arena_done(&it->arena);
	}
	schedule_site_ok(h->site);
	deliver_ended(h->deliver, h->site);
	free(h);
}

bool capture_start(struct deliver *d, struct site *site)
{
	struct hop *h = calloc(1, sizeof *h);

	MUST(h);
	h->deliver = d;
	h->site = site;
	h->job.run = hop_run;
	h->job.done = hop_done;
	while (h->n < HANDFUL &&
	       schedule_take(deliver_schedule(d), site, now_ms, &h->items[h->n].ticket))
		h->n++;
	if (h->n)
		return lane_post(deliver_home(d)->server->files, &h->job);
	free(h);
	return false;
}

bool smtp_out_start(struct deliver *d, struct site *site)
{
	(void)d, (void)site;
	return false;
}

bool smtp_out_resume(struct site *site)
{
	(void)site;
	return false;
}

void smtp_out_hurry(struct site *site)
{
	(void)site;
}

void smtp_out_shutdown(struct site *site)
{
	(void)site;
}

void smtp_out_abort(struct site *site)
{
	(void)site;
}

/* -- there are no mail exchangers -- */

struct mx *mx_new(struct deliver *d)
{
	static char none;

	(void)d;
	return (struct mx *)(void *)&none;
}

void mx_free(struct mx *mx)
{
	(void)mx;
}

bool mx_start(struct mx *mx, struct site *site)
{
	(void)mx, (void)site;
	return false;
}

void mx_rerouted(struct mx *mx)
{
	(void)mx;
}

void mx_hurry(struct mx *mx)
{
	(void)mx;
}

void mx_shutdown(struct mx *mx)
{
	(void)mx;
}
