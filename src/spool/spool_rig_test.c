#include "spool/spool_rig_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void rig_remove_tree(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[512];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (unlink(path))
			rig_remove_tree(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

void rig_begin(struct rig *r, const struct spool_backend *b, enum bounce bounce,
	       uint64_t segment_bytes)
{
	*r = (struct rig){ .b = b, .bounce = bounce };
	snprintf(r->dir, sizeof r->dir, "%s/spool-test-XXXXXX",
		 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert_non_null(mkdtemp(r->dir));
	r->conf = (struct spool_conf){ .path = slice_str(r->dir),
				       .segment_bytes = segment_bytes,
				       .hash_key = { 1, 2 } };
	rig_open(r);
}

void rig_open(struct rig *r)
{
	struct err e = { 0 };

	r->s = r->b->open(&r->conf, &e);
	if (!r->s)
		fail_msg("open: %s", e.text);
}

void rig_close(struct rig *r)
{
	r->b->close(r->s);
	r->s = NULL;
}

void rig_kill(struct rig *r)
{
	log_free(r->s);
	r->s = NULL;
}

void rig_end(struct rig *r)
{
	if (r->s)
		rig_close(r);
	rig_remove_tree(r->dir);
}

void rig_bounce(struct rig *r)
{
	switch (r->bounce) {
	case STAY: return;
	case REOPEN: rig_close(r); break;
	case KILL: rig_kill(r); break;
	}
	rig_open(r);
}

const char *rig_path(const struct rig *r, const char *name)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", r->dir, name);
	return path;
}

struct id sample_id(unsigned n)
{
	unsigned char random[10] = { (unsigned char)(n * 167),
				     (unsigned char)(n >> 3),
				     7,
				     7,
				     7,
				     7,
				     (unsigned char)(n >> 24),
				     (unsigned char)(n >> 16),
				     (unsigned char)(n >> 8),
				     (unsigned char)n };

	return id_make(1700000000000 + n * 3, random);
}

static struct slice text(struct sample *m, unsigned at, const char *form, unsigned a, unsigned b)
{
	snprintf(m->text[at], sizeof m->text[at], "%s%u.%u", form, a, b);
	return slice_str(m->text[at]);
}

void sample_make(struct sample *m, unsigned n, uint32_t n_rcpts, uint32_t n_dests,
		 unsigned first_dest, size_t body_bytes)
{
	memset(m, 0, sizeof *m);
	m->id = sample_id(n);
	m->head = malloc(40);
	m->body = malloc(body_bytes + 1);
	assert_non_null(m->head);
	assert_non_null(m->body);
	snprintf(m->head, 40, "Subject: %020u\r\n\r\n", n);
	for (size_t i = 0; i < body_bytes; i++)
		m->body[i] = (char)(i * 31 + n * 7 + (i >> 9));
	m->body_bytes = body_bytes;
	for (uint32_t i = 0; i < n_rcpts; i++)
		m->rcpts[i] =
		    (struct spool_rcpt){ .path = text(m, i, "r@x", n, i),
					 .orcpt = i % 2 ? S("rfc822;o+2Bx@y.test") : S(""),
					 .notify = i % 3 ? NOTIFY_FAILURE : 0,
					 .delivery = i % n_dests };
	for (uint32_t i = 0; i < n_dests; i++) {
		snprintf(m->text[8 + i], sizeof m->text[0], "d%u.test", first_dest + i);
		m->dests[i] = slice_str(m->text[8 + i]);
	}
	m->envelope = (struct spool_envelope){ .id = m->id,
					       .account = 10 + n % 3,
					       .key_id = S("key-id"),
					       .accepted_ms = 1700000000000 + n,
					       .body_8bit = n % 2,
					       .smtputf8 = n % 5 == 0,
					       .ret = n % 3 == 0 ? RET_HDRS : RET_NONE,
					       .reverse_path = n % 7 ? S("sender@a.test") : S(""),
					       .envid = n % 4 ? S("") : S("env+2Did"),
					       .rcpts = m->rcpts,
					       .n_rcpts = n_rcpts,
					       .dests = m->dests,
					       .n_deliveries = n_dests };
	m->content = (struct spool_content){ .head = slice_str(m->head),
					     .body = slice(m->body, body_bytes),
					     .fd = -1 };
}

void sample_free(struct sample *m)
{
	free(m->head);
	free(m->body);
}

enum spool_result rig_put(struct rig *r, const struct sample *m, uint64_t due_ms)
{
	struct spool_envelope env = m->envelope;
	struct spool_content content = m->content;
	struct spool_op op = {
		.kind = SPOOL_PUT, .envelope = &env, .content = &content, .due_ms = due_ms
	};
	struct spool_op *ops[] = { &op };
	struct err e = { 0 };
	bool ok;

	rig_bounce(r);
	ok = r->b->commit(r->s, ops, 1, &e);
	assert_true(ok || op.result == SPOOL_FAILED);
	rig_bounce(r);
	return op.result;
}

void rig_put_simple(struct rig *r, unsigned n, const char *dest_number, size_t body_bytes)
{
	struct sample m;

	sample_make(&m, n, 1, 1, (unsigned)atoll(dest_number), body_bytes);
	assert_int_equal(rig_put(r, &m, 1000), SPOOL_OK);
	sample_free(&m);
}

enum spool_result rig_settle(struct rig *r, struct id id, uint32_t delivery,
			     const struct spool_verdict *v, uint32_t n, uint64_t next_ms)
{
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = id,
			       .delivery = delivery,
			       .verdicts = v,
			       .n_verdicts = n,
			       .next_ms = next_ms,
			       .attempted = true };
	struct spool_op *ops[] = { &op };

	rig_bounce(r);
	(void)r->b->commit(r->s, ops, 1, NULL);
	rig_bounce(r);
	return op.result;
}

enum spool_result rig_deliver(struct rig *r, struct id id)
{
	struct spool_verdict v = { 0, RCPT_DELIVERED, S("250 2.0.0 taken") };

	return rig_settle(r, id, 0, &v, 1, 0);
}

static void same(struct slice a, struct slice b)
{
	assert_int_equal(a.n, b.n);
	if (a.n)
		assert_memory_equal(a.p, b.p, a.n);
}

static void same_body(const struct spool_content *c, const struct sample *m)
{
	char *got;

	if (c->fd < 0) {
		same(c->body, slice(m->body, m->body_bytes));
		return;
	}
	assert_int_equal(c->fd_bytes, m->body_bytes);
	got = malloc(m->body_bytes + 1);
	assert_non_null(got);
	assert_true(segment_read(c->fd, c->fd_offset, got, m->body_bytes));
	assert_memory_equal(got, m->body, m->body_bytes);
	free(got);
}

void rig_load_same(struct rig *r, const struct sample *m, struct arena *a,
		   struct spool_message *ret)
{
	const struct spool_envelope *e = &ret->envelope, *w = &m->envelope;
	struct err why = { 0 };

	rig_bounce(r);
	arena_init(a, 64 << 20);
	if (!r->b->load(r->s, m->id, a, ret, &why))
		fail_msg("load: %s", why.text);
	assert_true(id_eq(e->id, w->id));
	assert_int_equal(e->account, w->account);
	assert_int_equal(e->accepted_ms, w->accepted_ms);
	assert_int_equal(e->body_8bit, w->body_8bit);
	assert_int_equal(e->smtputf8, w->smtputf8);
	assert_int_equal(e->ret, w->ret);
	assert_int_equal(e->size, m->content.head.n + m->body_bytes);
	same(e->key_id, w->key_id);
	same(e->reverse_path, w->reverse_path);
	same(e->envid, w->envid);
	assert_int_equal(e->n_rcpts, w->n_rcpts);
	assert_int_equal(e->n_deliveries, w->n_deliveries);
	for (uint32_t i = 0; i < e->n_rcpts; i++) {
		same(e->rcpts[i].path, w->rcpts[i].path);
		same(e->rcpts[i].orcpt, w->rcpts[i].orcpt);
		assert_int_equal(e->rcpts[i].notify, w->rcpts[i].notify);
		assert_int_equal(e->rcpts[i].delivery, w->rcpts[i].delivery);
	}
	for (uint32_t i = 0; i < e->n_deliveries; i++)
		same(e->dests[i], w->dests[i]);
	same(ret->content.head, m->content.head);
	same_body(&ret->content, m);
	if (ret->content.fd >= 0)
		close(ret->content.fd);
}

bool rig_has(struct rig *r, struct id id)
{
	struct spool_message m = { .content.fd = -1 };
	struct err e = { 0 };
	struct arena a;
	bool ok;

	arena_init(&a, 64 << 20);
	ok = r->b->load(r->s, id, &a, &m, &e);
	if (ok && m.content.fd >= 0)
		close(m.content.fd);
	assert_true(ok || e.kind == ERR_ABSENT || e.kind == ERR_DAMAGED);
	arena_done(&a);
	return ok;
}

struct spool_count rig_count(struct rig *r)
{
	struct spool_count c;

	rig_bounce(r);
	r->b->count(r->s, &c);
	return c;
}
