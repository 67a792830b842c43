#include "relay/schedule_rig_test.h"

/* No jitter: 1 s, 2 s, 4 s, ... 60 s. */
const struct schedule_conf rig_conf = { .retry = { 1000, 2000, 60000, 0, 432000000 },
					.hash_key = { 1, 2 } };
const struct slice rig_to_a[] = { S("a.test"), S("more.test") };
const struct slice rig_to_b[] = { S("b.test") };
static const struct slice to_c[] = { S("c.test") };
const struct slice rig_to_world[] = { S("world"), S("[192.0.2.1]") };
const struct route rig_table[RIG_ROUTES] = {
	{ .name = S("a"), .domains = rig_to_a, .n_domains = 2, .connections = 3 },
	{ .name = S("b"), .domains = rig_to_b, .n_domains = 1, .connections = 1 },
	{ .name = S("c"), .domains = to_c, .n_domains = 1, .connections = 2 },
	{ .name = { "world", 5 },
	  .type = ROUTE_MX,
	  .domains = rig_to_world,
	  .n_domains = 2,
	  .connections = 2 },
};
const struct routes rig_routes = { rig_table, RIG_ROUTES };

const struct spool_backend *const rig_backend = &spool_memory;

int rig_begin(void **state)
{
	static const struct spool_conf sc = { .hash_key = { 1, 2 } };
	static struct fix f;

	f = (struct fix){ .spool = rig_backend->open(&sc, NULL) };
	f.s = f.spool ? schedule_new(rig_backend, f.spool, &rig_routes, &rig_conf) : NULL;
	*state = &f;
	return f.s ? 0 : -1;
}

int rig_end(void **state)
{
	struct fix *f = *state;

	memory_fails_at(0);
	schedule_free(f->s);
	rig_backend->close(f->spool);
	return 0;
}

/* A message of one recipient; its number, from 1, is in its id. */
unsigned rig_put_from(struct fix *f, uint64_t account, const char *key, const char *dest,
		      uint64_t due_ms)
{
	unsigned n = ++f->puts;
	/* The end of an id is what the spool's index takes for random. */
	const unsigned char random[10] = { [7] = (unsigned char)(n >> 16),
					   [8] = (unsigned char)(n >> 8),
					   [9] = (unsigned char)n };
	struct spool_rcpt rcpt = { .path = S("x@y.test") };
	struct slice dests[] = { slice_str(dest) };
	struct spool_envelope env = { .id = id_make(T0, random),
				      .account = account,
				      .key_id = slice_str(key),
				      .accepted_ms = T0,
				      .rcpts = &rcpt,
				      .n_rcpts = 1,
				      .dests = dests,
				      .n_deliveries = 1 };
	struct spool_content content = { .head = S("X: y\r\n\r\n"), .fd = -1 };
	struct spool_op op = {
		.kind = SPOOL_PUT, .envelope = &env, .content = &content, .due_ms = due_ms
	};
	struct spool_op *ops[] = { &op };

	assert_true(rig_backend->commit(f->spool, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
	return n;
}

unsigned rig_put(struct fix *f, const char *dest, uint64_t due_ms)
{
	return rig_put_from(f, 7, "k", dest, due_ms);
}

unsigned rig_number_of(struct id id)
{
	return (unsigned)id.b[13] << 16 | (unsigned)id.b[14] << 8 | id.b[15];
}

void rig_put_many(struct fix *f, const char *dest, unsigned n)
{
	while (n--)
		rig_put(f, dest, T0);
}

/* next_ms 0: delivered. */
void rig_settle(struct fix *f, struct id id, uint64_t next_ms)
{
	struct spool_verdict v = { 0, next_ms ? RCPT_PENDING : RCPT_DELIVERED, S("") };
	struct spool_op op = { .kind = SPOOL_SETTLE,
			       .id = id,
			       .verdicts = &v,
			       .n_verdicts = 1,
			       .next_ms = next_ms,
			       .attempted = true };
	struct spool_op *ops[] = { &op };

	assert_true(rig_backend->commit(f->spool, ops, 1, NULL));
	assert_int_equal(op.result, SPOOL_OK);
}

struct site *rig_site_named(struct fix *f, const char *name)
{
	struct site *site = NULL;

	while ((site = schedule_site(f->s, site)))
		if (slice_eq(site->route->name, slice_str(name)))
			return site;
	return NULL;
}

/* The number of the next message, 0: none. */
unsigned rig_take(struct fix *f, struct site *site, uint64_t now_ms, struct id *ret_id)
{
	struct spool_ticket t;

	if (!schedule_take(f->s, site, now_ms, &t))
		return 0;
	if (ret_id)
		*ret_id = t.id;
	return rig_number_of(t.id);
}
