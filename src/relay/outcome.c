#include "relay/outcome.h"

static enum spool_rcpt_state state_of(int code, bool expired)
{
	if (code >= 200 && code < 300)
		return RCPT_DELIVERED;
	if (code >= 500 && code < 600)
		return RCPT_FAILED;
	return expired ? RCPT_FAILED : RCPT_PENDING;
}

uint32_t outcome_judge(const struct outcome_answer *answers, size_t n, uint64_t accepted_ms,
		       uint64_t now_ms, const struct retry_config *retry,
		       struct spool_verdict *verdicts)
{
	bool expired = retry_expired(accepted_ms, now_ms, retry);
	uint32_t pending = 0;

	for (size_t i = 0; i < n; i++) {
		struct slice text = answers[i].text;

		verdicts[i] = (struct spool_verdict){
			.rcpt = answers[i].rcpt,
			.state = state_of(answers[i].code, expired),
			.reply = slice(text.p, text.n < OUTCOME_TEXT ? text.n : OUTCOME_TEXT),
		};
		pending += verdicts[i].state == RCPT_PENDING;
	}
	return pending;
}
