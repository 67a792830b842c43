/* SASL, both sides. Byte 0, bit 0: LOGIN, else PLAIN; bit 1: with an initial response; bit 2: the
 * client's side; bit 3: no room to answer; bit 4: the first challenge is none. The rest are
 * responses (server) or challenges (client, the first word what the server offers) between 0xff
 * bytes. */
#include "base/utf8.h"
#include "sasl/client.h"
#include "sasl/server.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct slice exact(struct slice s)
{
	char *p = malloc(s.n ? s.n : 1);

	assert(p);
	if (s.n)
		memcpy(p, s.p, s.n);
	return slice(p, s.n);
}

static void check_field(struct slice f)
{
	assert(f.n <= SASL_FIELD_MAX && utf8_valid(f));
	assert(!f.n || !memchr(f.p, '\0', f.n));
}

static void serve(const struct sasl_mech *mech, bool initial, struct slice words)
{
	enum sasl_got got = SASL_CHALLENGE;
	struct sasl_server x;
	struct buf out;
	unsigned rounds = 0;

	buf_init(&out, 1024);
	sasl_server_init(&x, mech);
	if (!initial) {
		got = sasl_server_step(&x, NULL, &out);
		assert(got == SASL_CHALLENGE);
	}
	while (got == SASL_CHALLENGE && words.n) {
		struct slice word, in;

		slice_cut(words, '\xff', &word, &words);
		in = exact(word);
		buf_clear(&out);
		got = sasl_server_step(&x, &in, &out);
		free((void *)(uintptr_t)in.p);
		assert(++rounds <= 2);
	}
	/* Nothing where something is due. */
	if (got == SASL_CHALLENGE)
		assert(initial || sasl_server_step(&x, NULL, &out) == SASL_BAD);
	if (got == SASL_VERIFY) {
		check_field(x.request.authzid);
		check_field(x.request.authcid);
		check_field(x.request.password.bytes);
		assert(slice_eq(x.request.mechanism, mech->name));
	}
	sasl_server_done(&x);
	assert(!x.held.p && !x.request.authcid.p);
	buf_done(&out);
}

/* What the server may say it has, and what may be picked of it. */
static void check_offer(struct slice offered)
{
	const struct sasl_mech *m = sasl_mech_find(offered);
	struct sasl_client x;
	struct buf list;

	buf_init(&list, 256);
	sasl_mech_list(&list, false);
	assert(!list.n); /* both reveal the password */
	sasl_mech_list(&list, true);
	assert(list.n && !list.failed);
	if (m)
		assert(memmem(list.p, list.n, m->name.p, m->name.n));
	assert(!m || sasl_client_pick(&x, offered, true, S("user"), secret(S("pass"))));
	buf_done(&list);
}

static void claim(struct slice words, bool cramped, bool silent)
{
	enum sasl_client_got got = SASL_CLIENT_WAIT;
	struct sasl_client x;
	struct slice offered;
	struct buf out;

	slice_cut(words, '\xff', &offered, &words);
	check_offer(offered);
	if (!sasl_client_pick(&x, offered, true, S("user"), secret(S("pass"))))
		return;
	assert(!sasl_client_pick(&x, offered, false, S("user"), secret(S("pass"))));
	assert(sasl_client_name(&x).n);
	buf_init(&out, cramped ? 3 : 256);
	if (silent)
		got = sasl_client_step(&x, NULL, &out);
	for (int i = 0; words.n && got != SASL_CLIENT_FAIL; i++) {
		struct slice word;

		slice_cut(words, '\xff', &word, &words);
		got = sasl_client_step(&x, &word, &out);
		assert(i < 2 || got == SASL_CLIENT_FAIL);
		assert(out.n <= 10 && (!out.failed || got == SASL_CLIENT_FAIL));
	}
	if (got == SASL_CLIENT_SEND)
		assert(sasl_client_step(&x, NULL, &out) == SASL_CLIENT_FAIL);
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice words;

	if (size < 1)
		return 0;
	words = slice(data + 1, size - 1);
	if (data[0] & 4)
		claim(words, data[0] & 8, data[0] & 16);
	else
		serve(sasl_mech_find(data[0] & 1 ? S("LOGIN") : S("PLAIN")), data[0] & 2, words);
	return 0;
}
