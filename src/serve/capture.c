#include "serve/capture.h"

#include "base/auto.h"
#include "ops/clock.h"
#include "ops/metrics.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* Deliveries a job takes along: one sync of the directory for all of them. */
#define HANDFUL 32

struct item {
	struct spool_ticket ticket;
	struct arena arena;
	struct spool_message message;
	bool loaded, written;
	struct err error;
};

struct capture {
	struct job job;
	struct deliver *deliver;
	struct site *site;
	struct generation *generation; /* held, for its route */
	const struct route *route;
	struct item items[HANDFUL];
	size_t n;
};

static bool failed(struct err *e, const char *what)
{
	return err_set(e, ERR_LATER, "capture: %s: %s", what, strerror(errno));
}

static bool write_all(int fd, struct slice s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		slice_take(&s, (size_t)n);
	}
	return true;
}

static bool copy_file(int to, const struct spool_content *c)
{
	uint64_t at = c->fd_offset, end = c->fd_offset + c->fd_bytes;
	char block[65536];

	while (at < end) {
		size_t want = end - at < sizeof block ? (size_t)(end - at) : sizeof block;
		ssize_t n = pread(c->fd, block, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !write_all(to, slice(block, (size_t)n)))
			return false;
		at += (uint64_t)n;
	}
	return true;
}

/* Return-Path is written by whoever delivers finally (RFC 5321 4.4), and here that is us. The
 * envelope's recipients go along: a captured Bcc would otherwise be lost. */
static void top(struct buf *out, const struct item *it)
{
	const struct spool_envelope *env = &it->message.envelope;

	buf_add(out, S("Return-Path: <"));
	buf_add(out, env->reverse_path);
	buf_add(out, S(">\r\n"));
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		if (env->rcpts[i].delivery != it->ticket.delivery)
			continue;
		buf_add(out, S("Delivered-To: "));
		buf_add(out, env->rcpts[i].path);
		buf_add(out, S("\r\n"));
	}
}

static bool write_message(int dir, const char *tmp, struct item *it)
{
	const struct spool_content *c = &it->message.content;
	AUTO_FD fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct buf first;
	bool ok;

	if (fd < 0)
		return failed(&it->error, "open");
	buf_init(&first, 1 << 20);
	top(&first, it);
	ok = !first.failed && write_all(fd, buf_slice(&first)) && write_all(fd, c->head);
	buf_done(&first);
	ok = ok && (c->fd >= 0 ? copy_file(fd, c) : write_all(fd, c->body));
	if (!ok)
		return failed(&it->error, "write");
	if (fdatasync(fd))
		return failed(&it->error, "sync");
	return true;
}

/* The name is made of the message and the delivery: one that is written again after a crash
 * replaces itself instead of appearing twice. */
static bool deliver_one(int dir, struct item *it)
{
	char tmp[96], to[96];
	struct buf id;
	int n;

	buf_init(&id, 64);
	id_add(&id, it->ticket.id);
	n = snprintf(tmp, sizeof tmp, "tmp/%.*s.%u", SLICE_ARG(buf_slice(&id)),
		     it->ticket.delivery);
	if (n > 0 && (size_t)n < sizeof tmp)
		n = snprintf(to, sizeof to, "new/%.*s.%u", SLICE_ARG(buf_slice(&id)),
			     it->ticket.delivery);
	buf_done(&id);
	if (!write_message(dir, tmp, it)) {
		unlinkat(dir, tmp, 0);
		return false;
	}
	if (renameat(dir, tmp, dir, to))
		return failed(&it->error, "rename");
	return true;
}

/* A directory that was made must not vanish with the messages in it. */
static bool sync_parent(const char *name, struct err *e)
{
	char parent[4096];
	const char *slash = strrchr(name, '/');
	size_t n = slash ? (size_t)(slash - name) + (slash == name) : 0;
	AUTO_FD fd = -1;

	memcpy(parent, n ? name : ".", n ? n : 1);
	parent[n ? n : 1] = '\0';
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		return failed(e, parent);
	return true;
}

static int open_maildir(struct slice path, struct err *e)
{
	char name[4096];
	AUTO_FD dir = -1;
	static const char *const subs[] = { "tmp", "new", "cur" };
	bool made = false;

	if (path.n >= sizeof name) {
		err_set(e, ERR_INPUT, "capture: path too long");
		return -1;
	}
	memcpy(name, path.p, path.n);
	name[path.n] = '\0';
	if (mkdir(name, 0700)) {
		if (errno != EEXIST) {
			failed(e, name);
			return -1;
		}
	} else if (!sync_parent(name, e)) {
		rmdir(name);
		return -1;
	}
	dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		failed(e, name);
		return -1;
	}
	for (size_t i = 0; i < sizeof subs / sizeof *subs; i++)
		if (!mkdirat(dir, subs[i], 0700)) {
			made = true;
		} else if (errno != EEXIST) {
			failed(e, subs[i]);
			return -1;
		}
	if (made && fsync(dir)) {
		failed(e, "sync of the directory");
		for (size_t i = 0; i < sizeof subs / sizeof *subs; i++)
			unlinkat(dir, subs[i], AT_REMOVEDIR);
		return -1;
	}
	return fd_steal(&dir);
}

static bool sync_new(int dir, struct err *e)
{
	AUTO_FD fd = openat(dir, "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return failed(e, "sync of the directory");
	return true;
}

static void run(struct job *job, void *ctx)
{
	struct capture *c = (struct capture *)(void *)job;
	struct server *s = deliver_home(c->deliver)->server;
	struct err e = { 0 };
	AUTO_FD dir = open_maildir(c->route->path, &e);
	bool synced;

	(void)ctx;
	for (size_t i = 0; i < c->n; i++) {
		struct item *it = &c->items[i];

		arena_init(&it->arena, 64 << 20);
		it->loaded = s->spool_backend->load(s->spool, it->ticket.id, &it->arena,
						    &it->message, &it->error);
		if (!it->loaded)
			continue;
		if (dir < 0)
			it->error = e;
		else
			it->written = deliver_one(dir, it);
		if (it->message.content.fd >= 0)
			close(it->message.content.fd);
	}
	synced = dir >= 0 && sync_new(dir, &e);
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].written && !synced) {
			c->items[i].written = false;
			c->items[i].error = e;
		}
}

static void settle(struct capture *c, struct item *it)
{
	struct server *s = deliver_home(c->deliver)->server;
	const struct spool_envelope *env = &it->message.envelope;
	struct outcome_answer *answers;
	size_t n = 0;
	struct deliver_facts facts = { .route = c->route,
				       .dest = env->dests[it->ticket.delivery],
				       .remote = c->route->path };

	answers = ARENA_ARRAY(&it->arena, struct outcome_answer, env->n_rcpts);
	if (!answers) {
		s->spool_backend->release(s->spool, &it->ticket, clock_steady_ms() + 60000);
		return;
	}
	for (uint32_t i = 0; i < env->n_rcpts; i++) {
		if (env->rcpts[i].delivery != it->ticket.delivery ||
		    env->rcpts[i].state != RCPT_PENDING)
			continue;
		answers[n++] =
		    (struct outcome_answer){ .rcpt = i,
					     .code = it->written ? 250 : 0,
					     .text = it->written ? S("captured")
								 : slice_str(it->error.text) };
	}
	metrics_add(M_ATTEMPTS, metrics_word(LABEL_ATTEMPT, S("settled")), 0, 1);
	deliver_settle(c->deliver, &it->ticket, env, answers, n, &facts);
}

static void unread(struct deliver *d, const struct item *it)
{
	struct server *s = deliver_home(d)->server;

	if (it->error.kind == ERR_DAMAGED || it->error.kind == ERR_ABSENT)
		deliver_unreadable(d, &it->ticket, &it->error);
	else
		s->spool_backend->release(s->spool, &it->ticket, clock_steady_ms() + 60000);
}

static void done(struct job *job)
{
	struct capture *c = (struct capture *)(void *)job;
	struct deliver *d = c->deliver;
	const struct err *trouble = NULL;

	for (size_t i = 0; i < c->n; i++) {
		struct item *it = &c->items[i];

		if (!it->loaded) {
			unread(d, it);
		} else {
			settle(c, it);
			if (!it->written)
				trouble = &it->error;
		}
		if (!it->loaded || it->written)
			arena_done(&it->arena);
	}
	if (trouble) {
		deliver_site_failed(d, c->site, c->route->path, slice_str(trouble->text));
	} else {
		schedule_site_ok(c->site);
	}
	for (size_t i = 0; i < c->n; i++)
		if (c->items[i].loaded && !c->items[i].written)
			arena_done(&c->items[i].arena);
	generation_drop(c->generation, deliver_home(d));
	deliver_ended(d, c->site);
	free(c);
}

bool capture_start(struct deliver *d, struct site *site)
{
	struct capture *c = calloc(1, sizeof *c);
	struct server *s = deliver_home(d)->server;
	uint64_t now = clock_steady_ms();

	if (!c)
		return false;
	c->deliver = d;
	c->site = site;
	while (c->n < HANDFUL &&
	       schedule_take(deliver_schedule(d), site, now, &c->items[c->n].ticket))
		c->n++;
	c->job = (struct job){ .run = run, .done = done, .home = deliver_home(d)->loop };
	c->route = site->route;
	c->generation = generation_hold(deliver_home(d)->now, deliver_home(d));
	if (c->n && lane_post(s->files, &c->job))
		return true;
	generation_drop(c->generation, deliver_home(d));
	for (size_t i = 0; i < c->n; i++)
		s->spool_backend->release(s->spool, &c->items[i].ticket, now);
	free(c);
	return false;
}
