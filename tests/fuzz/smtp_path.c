/* Paths and parameters: what is accepted stays inside its limits and is accepted again. */
#include "base/utf8.h"
#include "base/xtext.h"
#include "smtp/param.h"
#include "smtp/path.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const struct smtp_path *p, struct slice all)
{
	assert(p->whole.p >= all.p && p->whole.p + p->whole.n <= all.p + all.n);
	assert(p->local.n <= SMTP_LOCAL_MAX && p->domain.n <= SMTP_DOMAIN_MAX);
	assert(p->whole.n == p->local.n + (p->domain.n ? 1 + p->domain.n : 0));
	assert(!has_control(p->whole) && utf8_valid(p->whole));
	assert(p->utf8 == !ascii_only(p->whole));
	assert(p->null_path == (p->whole.n == 0));
	assert(!p->domain.n ||
	       (p->literal ? smtp_literal_valid(p->domain) : smtp_domain_valid(p->domain)));
	assert(!p->literal || smtp_path_qualified(p));
	assert(!smtp_path_qualified(p) || p->literal || !p->domain.n ||
	       memchr(p->domain.p, '.', p->domain.n));
}

/* What is sent on must mean to the next reader what it meant here. */
static void check_again(const struct smtp_path *p, enum smtp_path_kind kind)
{
	char text[SMTP_PATH_MAX + 2];
	struct slice in = slice(text, p->whole.n + 2);
	struct smtp_path q;

	text[0] = '<';
	if (p->whole.n)
		memcpy(text + 1, p->whole.p, p->whole.n);
	text[p->whole.n + 1] = '>';
	assert(smtp_path_parse(&in, kind, &q) && in.n == 0);
	assert(slice_eq(q.local, p->local) && slice_eq(q.domain, p->domain));
	assert(q.quoted == p->quoted && q.literal == p->literal && q.utf8 == p->utf8);
}

static void check_xtext(struct slice x)
{
	struct buf b;

	if (!x.n || slice_eq(x, S("<>")))
		return;
	buf_init(&b, 1024);
	assert(xtext_decode(&b, x));
	assert(!has_control(buf_slice(&b)) && ascii_only(buf_slice(&b)));
	buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice all = slice(data, size);
	struct smtp_mail_params mail;
	struct smtp_rcpt_params rcpt;

	for (int k = 0; k < 2; k++) {
		enum smtp_path_kind kind = k ? SMTP_FORWARD_PATH : SMTP_REVERSE_PATH;
		struct slice in = all;
		struct smtp_path p;

		if (!smtp_path_parse(&in, kind, &p)) {
			assert(in.p == all.p && in.n == all.n);
			in = all; /* perhaps it is parameters alone */
		} else {
			assert(all.n - in.n <= SMTP_PATH_MAX);
			check_path(&p, all);
			check_again(&p, kind);
		}
		if (smtp_mail_params_parse(in, &mail) == SMTP_PARAM_OK) {
			check_xtext(mail.envid);
			check_xtext(mail.auth);
		}
		if (smtp_rcpt_params_parse(in, k, &rcpt) == SMTP_PARAM_OK) {
			assert(!has_control(rcpt.orcpt) && utf8_valid(rcpt.orcpt));
			assert(k || ascii_only(rcpt.orcpt));
			if (!slice_ieq(rcpt.orcpt_type, S("utf-8")))
				check_xtext(rcpt.orcpt_addr);
		}
	}
	return 0;
}
