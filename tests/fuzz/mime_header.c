/* Any bytes as a message: what is accepted comes out whole, in order, and stays accepted.
 * First byte: bit 0 whole, bit 1 SMTPUTF8, bit 2 hostile facts of where it came from, taken from
 * the message, bit 3 narrow limits, bit 4 an authserv-id of its own, bit 5 one recipient, bit 6
 * little memory, bit 7 little room for the new head; how little follows from the length. */
#include "base/must.h"
#include "mime/submit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_split(struct slice in, const struct mime_header *h)
{
	const char *at = in.p;

	for (size_t i = 0; i < h->n; i++) {
		const struct mime_field *f = &h->fields[i];

		MUST(f->raw.p == at && f->name.p == at && f->name.n);
		MUST(f->value.p == f->name.p + f->name.n + 1);
		MUST(f->value.p + f->value.n + 2 == f->raw.p + f->raw.n);
		MUST(!memchr(f->raw.p, '\0', f->raw.n));
		at += f->raw.n;
	}
	MUST(h->bytes == (size_t)(at - in.p) + (h->ended ? 2 : 0));
}

/* Every field of the new head but ours is one of the old ones, in the same order. */
static void check_kept(const struct mime_header *old, const struct mime_header *new, size_t added)
{
	size_t k = 0;

	MUST(new->n > added &&new->ended);
	for (size_t i = 1; i < new->n - added; i++) {
		while (k < old->n && !slice_eq(old->fields[k].raw, new->fields[i].raw))
			k++;
		MUST(k++ < old->n);
		MUST(new->fields[i].id != MIME_BCC &&new->fields[i].id != MIME_RESENT_BCC);
		MUST(new->fields[i].id != MIME_RETURN_PATH &&new->fields[i].id != MIME_X_SMTPAPI);
	}
}

static void finish_again(const struct mime_finish *f, const struct mime_limits *limits,
			 struct slice head, const struct mime_facts *first, struct arena *a)
{
	struct mime_facts facts;
	struct mime_refusal why;
	struct buf out;

	buf_init(&out, 1 << 20);
	MUST(mime_finish(f, limits, head, false, a, &out, &facts, &why));
	MUST(!facts.date_added && !facts.message_id_added && !facts.smtpapi_removed);
	MUST(facts.received == first->received + 1 && facts.from.n == first->from.n);
	MUST(facts.high == first->high && facts.head_bytes == head.n);
	for (size_t i = 0; i < facts.from.n; i++)
		MUST(slice_eq(facts.from.at[i].whole, first->from.at[i].whole));
	MUST(slice_eq(facts.message_id, first->message_id));
	buf_done(&out);
}

/* The lines of the message, one after the other, as what the client said of itself. */
static void hostile(struct mime_finish *f, struct slice in)
{
	struct slice *const all[] = {
		&f->origin.helo, &f->origin.address, &f->origin.protocol, &f->origin.tls,
		&f->id,          &f->recipient
	};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		slice_cut(in, '\n', all[i], &in);
		if (slice_ends(*all[i], S("\r")))
			all[i]->n--;
	}
}

static void check_refused(const struct mime_refusal *why)
{
	MUST(why->problem && why->text.n && why->text.n <= MIME_REFUSAL_TEXT);
	for (size_t i = 0; i < why->text.n; i++)
		MUST(why->text.p[i] >= ' ' && why->text.p[i] <= '~');
}

static void check_finished(const struct mime_finish *f, struct mime_limits limits, struct slice in,
			   bool whole, struct slice out, const struct mime_facts *facts,
			   struct arena *a)
{
	struct mime_header old, new;

	MUST(!mime_header_split(in, whole, &limits, a, &old));
	check_split(in, &old);
	/* What we wrote is larger than what was allowed to come in. */
	limits.header_max += 2000;
	limits.fields_max += 3;
	limits.received_max++;
	MUST(!mime_header_split(out, false, &limits, a, &new));
	check_split(out, &new);
	check_kept(&old, &new, (size_t)facts->date_added + facts->message_id_added);
	finish_again(f, &limits, out, facts, a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mime_limits limits = mime_limits_default;
	struct mime_finish f = {
		.hostname = S("relay.example"),
		.origin = { S("client.example"), S("192.0.2.1"), S("ESMTPSA"), S("TLS_X") },
		.id = S("AZ"),
		.token = S("t"),
	};
	struct slice in = slice(data, size);
	struct mime_facts facts;
	struct mime_refusal why = { 0 };
	struct arena a, b;
	struct buf out;
	bool whole;

	if (!size)
		return 0;
	whole = data[0] & 1;
	f.smtputf8 = data[0] & 2;
	f.recipient = data[0] & 32 ? S("a@b") : S("");
	if (data[0] & 16)
		f.authserv_id = S("auth.example");
	slice_take(&in, 1);
	if (data[0] & 4)
		hostile(&f, in);
	if (data[0] & 8) {
		limits.header_max = 200;
		limits.fields_max = 4;
		limits.received_max = 2;
	}
	arena_init(&a, data[0] & 64 ? size * 53 % 6000 : 4 << 20);
	arena_init(&b, 4 << 20);
	buf_init(&out, data[0] & 128 ? size * 37 % 1500 : 1 << 20);
	if (mime_finish(&f, &limits, in, whole, &a, &out, &facts, &why))
		check_finished(&f, limits, in, whole, buf_slice(&out), &facts, &b);
	else
		check_refused(&why);
	buf_done(&out);
	arena_done(&a);
	arena_done(&b);
	return 0;
}
