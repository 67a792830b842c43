#include "history/event.h"

#include <endian.h>

#define TEXTS 8
/* Length and check; id, three times, attempt, code; how long each text is; then the texts. */
#define FIXED (sizeof(struct id) + 3 * 8 + 4 + 2 + 2 * TEXTS)

/* Written on the way of a message: whole words, no call for each. */
static char *put64(char *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof v);
	return to + sizeof v;
}

static char *put32(char *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof v);
	return to + sizeof v;
}

static char *put16(char *to, unsigned v)
{
	uint16_t le = htole16((uint16_t)v);

	memcpy(to, &le, sizeof le);
	return to + sizeof le;
}

static uint64_t get64(const char **from)
{
	uint64_t v;

	memcpy(&v, *from, sizeof v);
	*from += sizeof v;
	return le64toh(v);
}

static uint32_t get32(const char **from)
{
	uint32_t v;

	memcpy(&v, *from, sizeof v);
	*from += sizeof v;
	return le32toh(v);
}

static unsigned get16(const char **from)
{
	uint16_t v;

	memcpy(&v, *from, sizeof v);
	*from += sizeof v;
	return le16toh(v);
}

uint32_t event_check(struct slice s)
{
	uint64_t h = s.n, w;

	for (; s.n >= sizeof w; slice_take(&s, sizeof w)) {
		memcpy(&w, s.p, sizeof w);
		h = (h ^ le64toh(w)) * 0x9e3779b97f4a7c15u;
	}
	w = 0;
	if (s.n)
		memcpy(&w, s.p, s.n);
	h = (h ^ le64toh(w)) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32);
}

void event_write(struct buf *b, const struct history_event *v)
{
	const struct slice texts[TEXTS] = { v->outcome, v->key_id, v->from, v->to,
					    v->route,   v->remote, v->tls,  v->reply };
	size_t bytes[TEXTS], n = FIXED;
	char *head, *to, *text;

	for (size_t i = 0; i < TEXTS; i++) {
		bytes[i] = texts[i].n < EVENT_TEXT ? texts[i].n : EVENT_TEXT;
		n += bytes[i];
	}
	head = buf_room_for(b, EVENT_HEAD + n);
	if (!head)
		return;
	to = head + EVENT_HEAD;
	memcpy(to, v->id.b, sizeof v->id.b);
	to = put64(to + sizeof v->id.b, v->at_ms);
	to = put64(to, v->account);
	to = put64(to, v->accepted_ms);
	to = put32(to, v->attempt);
	to = put16(to, v->code);
	text = to + 2 * (size_t)TEXTS;
	for (size_t i = 0; i < TEXTS; text += bytes[i++]) {
		to = put16(to, (unsigned)bytes[i]);
		if (bytes[i])
			memcpy(text, texts[i].p, bytes[i]);
	}
	to = put32(head, (uint32_t)n);
	put32(to, event_check(slice(head + EVENT_HEAD, n)));
	buf_grew(b, EVENT_HEAD + n);
}

/* The body's n bytes, which have the right check. */
static bool read_body(struct slice in, struct history_event *v)
{
	struct slice *const texts[TEXTS] = { &v->outcome, &v->key_id, &v->from, &v->to,
					     &v->route,   &v->remote, &v->tls,  &v->reply };
	const char *at = in.p + sizeof v->id.b;

	if (in.n < FIXED)
		return false;
	memcpy(v->id.b, in.p, sizeof v->id.b);
	v->at_ms = get64(&at);
	v->account = get64(&at);
	v->accepted_ms = get64(&at);
	v->attempt = get32(&at);
	v->code = get16(&at);
	slice_take(&in, FIXED);
	for (size_t i = 0; i < TEXTS; i++) {
		size_t n = get16(&at);

		if (n > in.n)
			return false;
		*texts[i] = slice_take(&in, n);
	}
	return !in.n;
}

enum event_read event_read(struct slice *in, struct history_event *ret)
{
	struct history_event v = { 0 };
	const char *at = in->p;
	struct slice body;
	uint32_t n, check;

	if (in->n < EVENT_HEAD)
		return EVENT_MORE;
	n = get32(&at);
	check = get32(&at);
	if (n < FIXED || n > EVENT_MAX)
		return EVENT_BAD;
	if (in->n - EVENT_HEAD < n)
		return EVENT_MORE;
	body = slice(at, n);
	if (event_check(body) != check || !read_body(body, &v))
		return EVENT_BAD;
	slice_take(in, EVENT_HEAD + n);
	*ret = v;
	return EVENT_OK;
}
