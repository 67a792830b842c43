/* account/state.c -- see state.h. */
#include "account/state.h"

#include "base/must.h"

// clang-format off
static const struct state_rule accounts[] = {
	[ACCOUNT_ACTIVE] = { "account", "active", true, true, QUEUED_KEEP,
		"goes out", "`account hold`, `account close`" },
	[ACCOUNT_HELD] = { "account", "held", false, false, QUEUED_HOLD,
		"waits", "`account release`, `account close`" },
	[ACCOUNT_CLOSED] = { "account", "closed", false, false, QUEUED_HOLD,
		"waits for `queue.closed_keep`, then is cancelled", "`account release`" },
};
static const struct state_rule keys[] = {
	[STANDING_ACTIVE] = { "key", "active", true, true, QUEUED_KEEP,
		"goes out", "`key revoke`, or its time" },
	[STANDING_REVOKED] = { "key", "revoked", false, false, QUEUED_HOLD,
		"waits until `queue release` or `queue cancel`", "never" },
	[STANDING_EXPIRED] = { "key", "expired", false, false, QUEUED_KEEP,
		"goes out", "never" },
};
static const char *const names[] = {
	[QUEUED_AS_STATE] = "", [QUEUED_KEEP] = "keep", [QUEUED_HOLD] = "hold",
	[QUEUED_CANCEL] = "cancel",
};
// clang-format on

#define LEN(a) (sizeof(a) / sizeof *(a))

const struct state_rule *account_rule(enum account_state s)
{
	MUST((size_t)s < LEN(accounts));
	return &accounts[s];
}

const struct state_rule *key_rule(enum key_standing s)
{
	MUST((size_t)s < LEN(keys));
	return &keys[s];
}

const char *queued_name(enum queued q)
{
	MUST((size_t)q < LEN(names));
	return names[q];
}

bool queued_parse(struct slice text, enum queued *ret, struct err *e)
{
	for (size_t i = QUEUED_KEEP; i < LEN(names); i++)
		if (slice_eq(text, slice_str(names[i]))) {
			*ret = (enum queued)i;
			return true;
		}
	return err_set(e, ERR_INPUT, "what becomes of queued mail is none of: keep, hold, cancel");
}

static void add_row(struct buf *out, const struct state_rule *r)
{
	const char *const cells[] = {
		r->of, r->state, r->login ? "yes" : "no", r->mail ? "yes" : "no", r->about, r->ends
	};

	for (size_t i = 0; i < LEN(cells); i++) {
		buf_add(out, S("| "));
		buf_add(out, slice_str(cells[i]));
		buf_addc(out, ' ');
	}
	buf_add(out, S("|\n"));
}

void state_table(struct buf *out)
{
	buf_add(out, S("| of | state | may log in | new mail | queued mail | ends by |\n"
		       "|---|---|---|---|---|---|\n"));
	for (size_t i = 0; i < LEN(accounts); i++)
		add_row(out, &accounts[i]);
	for (size_t i = 0; i < LEN(keys); i++)
		add_row(out, &keys[i]);
}
