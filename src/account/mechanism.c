/* account/mechanism.c -- see mechanism.h. */
#include "account/mechanism.h"

// clang-format off
static const struct slice names[] = {
	{ "SCRAM-SHA-256-PLUS", 18 },
	{ "SCRAM-SHA-256",      13 },
	{ "EXTERNAL",           8 },
	{ "PLAIN",              5 },
	{ "LOGIN",              5 },
	{ "CRAM-MD5",           8 },
	{ "OAUTHBEARER",        11 },
	{ "XOAUTH2",            7 },
};
// clang-format on
#define NAMES (sizeof(names) / sizeof(*names))

static bool find(struct slice name, uint32_t *ret_bit)
{
	for (size_t i = 0; i < NAMES; i++)
		if (slice_ieq(names[i], name)) {
			*ret_bit = UINT32_C(1) << i;
			return true;
		}
	return false;
}

bool mechanisms_add(struct mechanisms *m, struct slice name, struct err *e)
{
	uint32_t bit;

	if (!find(name, &bit))
		return err_set(e, ERR_INPUT, "a key cannot log in by \"%.*s\"",
			       name.n < 60 ? (int)name.n : 60, name.p);
	m->bits |= bit;
	return true;
}

bool mechanisms_parse(struct slice list, struct mechanisms *ret, struct err *e)
{
	struct mechanisms m = { 0 };
	struct slice name;

	while (list.n) {
		slice_cut(list, ' ', &name, &list);
		if (!mechanisms_add(&m, name, e))
			return false;
	}
	*ret = m;
	return true;
}

void mechanisms_text(struct mechanisms m, struct buf *out)
{
	bool first = true;

	for (size_t i = 0; i < NAMES; i++) {
		if (!(m.bits >> i & 1))
			continue;
		if (!first)
			buf_addc(out, ' ');
		buf_add(out, names[i]);
		first = false;
	}
}

bool mechanisms_allow(struct mechanisms m, struct slice name)
{
	uint32_t bit;

	return !m.bits || (find(name, &bit) && (m.bits & bit));
}
