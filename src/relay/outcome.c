#include "relay/outcome.h"

#include "base/timetext.h"

static enum spool_rcpt_state state_of(int code, bool expired)
{
	if (code >= 200 && code < 300)
		return RCPT_DELIVERED;
	if (code >= 500 && code < 600)
		return RCPT_FAILED;
	return expired ? RCPT_FAILED : RCPT_PENDING;
}

bool outcome_expired(const struct outcome_answer *a, const struct spool_verdict *v)
{
	return (v->state == RCPT_FAILED || v->state == RCPT_BOUNCED) &&
	       state_of(a->code, false) == RCPT_PENDING;
}

/* Without memory the answer alone is said. */
static struct slice expired_text(const struct outcome_answer *a, const struct retry_config *retry,
				 struct arena *arena)
{
	char text[OUTCOME_TEXT];
	struct buf b = { .p = text, .cap = sizeof text, .max = sizeof text };
	struct slice said = a->text, all;

	buf_add(&b, S("expired after "));
	time_add_span(&b, retry->lifetime_ms);
	buf_add(&b, S("; last answer: "));
	if (a->remote && a->code)
		buf_addf(&b, "%d ", a->code);
	if (said.n > buf_left(&b))
		said.n = buf_left(&b);
	buf_add(&b, said);
	all = arena_dup(arena, buf_slice(&b));
	return all.p ? all : a->text;
}

uint32_t outcome_judge(const struct outcome_answer *answers, size_t n, uint64_t accepted_ms,
		       uint64_t now_ms, const struct retry_config *retry, struct arena *arena,
		       struct spool_verdict *verdicts)
{
	bool expired = retry_expired(accepted_ms, now_ms, retry);
	uint32_t pending = 0;

	for (size_t i = 0; i < n; i++) {
		struct spool_verdict *v = &verdicts[i];
		struct slice text = answers[i].text;

		*v = (struct spool_verdict){
			.rcpt = answers[i].rcpt,
			.state = state_of(answers[i].code, expired),
		};
		if (outcome_expired(&answers[i], v))
			text = expired_text(&answers[i], retry, arena);
		v->reply = slice(text.p, text.n < OUTCOME_TEXT ? text.n : OUTCOME_TEXT);
		pending += v->state == RCPT_PENDING;
	}
	return pending;
}

uint64_t outcome_next_ms(uint64_t accepted_ms, uint64_t now_ms, uint64_t notice_ms,
			 uint32_t attempts, const struct retry_config *retry, uint32_t random)
{
	uint64_t next = now_ms + retry_delay_ms(attempts, retry, random);
	uint64_t last = accepted_ms + retry->lifetime_ms;

	if (last > now_ms && next > last)
		next = last;
	if (notice_ms > now_ms && next > notice_ms)
		next = notice_ms;
	return next;
}
