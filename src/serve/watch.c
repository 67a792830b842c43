#include "serve/watch.h"

#include "ops/clock.h"
#include "ops/metrics.h"
#include "serve/server.h"

#define LOOK_MS 1000

static void on_look(void *arg)
{
	struct home *h = arg;
	uint64_t now = clock_mono_ms();

	metrics_observe(M_LOOP_LAG, now > h->lag_due_ms ? (now - h->lag_due_ms) * 1000000 : 0);
	h->lag_due_ms = now + LOOK_MS;
	atomic_store_explicit(&h->beat_ms, now, memory_order_relaxed);
	loop_timer_set(&h->lag, LOOK_MS);
}

static void make_known(void)
{
	/* clang-format off */
	static const struct {
		enum metrics_label label;
		struct slice word;
	} words[] = {
		{ LABEL_SENT_AWAY, { "connections", 11 } },
		{ LABEL_SENT_AWAY, { "connections_per_address", 23 } },
		{ LABEL_SENT_AWAY, { "connections_oldest", 18 } },
		{ LABEL_SENT_AWAY, { "memory", 6 } },
		{ LABEL_SENT_AWAY, { "proxy_header", 12 } },
		{ LABEL_PROXY, { "v1", 2 } },
		{ LABEL_PROXY, { "v2", 2 } },
		{ LABEL_PROXY, { "bad", 3 } },
		{ LABEL_PROXY, { "late", 4 } },
		{ LABEL_SIDE, { "server", 6 } },
		{ LABEL_SIDE, { "client", 6 } },
		{ LABEL_OUTCOME, { "delivered", 9 } },
		{ LABEL_OUTCOME, { "deferred", 8 } },
		{ LABEL_OUTCOME, { "failed", 6 } },
		{ LABEL_ATTEMPT, { "settled", 7 } },
		{ LABEL_ATTEMPT, { "site_failed", 11 } },
		{ LABEL_CALL, { "2xx", 3 } },
		{ LABEL_CALL, { "4xx", 3 } },
		{ LABEL_CALL, { "5xx", 3 } },
		{ LABEL_REFUSED, { "spool_full", 10 } },
		{ LABEL_REFUSED, { "spool_failed", 12 } },
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		(void)metrics_word(words[i].label, words[i].word);
}

void watch_start(struct server *s)
{
	make_known();
	for (size_t i = 0; i < s->boot->n_listeners; i++)
		(void)metrics_word(LABEL_LISTENER, s->boot->listeners[i].name);
	metrics_set(M_RELOAD_OK, 1);
	metrics_set(M_RELOAD_TIME, s->started_ms / 1000);
	for (unsigned i = 0; i < s->n_homes; i++) {
		struct home *h = &s->homes[i];

		h->lag_due_ms = clock_mono_ms() + LOOK_MS;
		atomic_store(&h->beat_ms, clock_mono_ms());
		loop_timer_init(&h->lag, h->loop, on_look, h);
		loop_timer_set(&h->lag, LOOK_MS);
	}
}
