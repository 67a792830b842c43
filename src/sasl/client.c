#include "sasl/client.h"

/* RFC 4954: unlike the server's, these need no state but the number of the round. */
typedef enum sasl_client_got step_fn(struct sasl_client *x, const struct slice *challenge,
				     struct buf *out);

static step_fn plain_step, login_step;

struct sasl_client_mech {
	struct slice name;
	bool reveals; /* the password crosses the line: only where it is private */
	step_fn *step;
};

/* Best first. */
static const struct sasl_client_mech mechs[] = {
	{ S("PLAIN"), true, plain_step },
	{ S("LOGIN"), true, login_step },
};

static bool offers(struct slice offered, struct slice name)
{
	struct slice word;

	while (offered.n) {
		slice_cut(offered, ' ', &word, &offered);
		if (slice_ieq(word, name))
			return true;
	}
	return false;
}

bool sasl_client_pick(struct sasl_client *x, struct slice offered, bool private, struct slice user,
		      struct secret password)
{
	for (size_t i = 0; i < sizeof mechs / sizeof *mechs; i++) {
		if ((mechs[i].reveals && !private) || !offers(offered, mechs[i].name))
			continue;
		*x = (struct sasl_client){ &mechs[i], user, password, 0 };
		return true;
	}
	return false;
}

struct slice sasl_client_name(const struct sasl_client *x)
{
	return x->mech->name;
}

enum sasl_client_got sasl_client_step(struct sasl_client *x, const struct slice *challenge,
				      struct buf *out)
{
	return x->mech->step(x, challenge, out);
}

/* RFC 4616: everything in the initial response. A server that asks for it all the same (an empty
 * challenge, RFC 4954 section 4) got AUTH without it, so the caller sends it once, either way. */
static enum sasl_client_got plain_step(struct sasl_client *x, const struct slice *challenge,
				       struct buf *out)
{
	if (x->round++ > 0 || (challenge && challenge->n))
		return SASL_CLIENT_FAIL;
	buf_addc(out, '\0');
	buf_add(out, x->user);
	buf_addc(out, '\0');
	buf_add(out, x->password.bytes);
	return out->failed ? SASL_CLIENT_FAIL : SASL_CLIENT_SEND;
}

/* The prompts' wording differs between servers and says nothing; their order is fixed. */
static enum sasl_client_got login_step(struct sasl_client *x, const struct slice *challenge,
				       struct buf *out)
{
	if (!challenge)
		return x->round == 0 ? SASL_CLIENT_WAIT : SASL_CLIENT_FAIL;
	if (x->round >= 2)
		return SASL_CLIENT_FAIL;
	buf_add(out, x->round++ == 0 ? x->user : x->password.bytes);
	return out->failed ? SASL_CLIENT_FAIL : SASL_CLIENT_SEND;
}
