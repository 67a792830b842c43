/* A notice about a message, with anything for what others said: the remote's reply, recipients,
 * ORCPT, ENVID, names, the message itself. The structure stays ours. First byte: bit 0 full, bit 1
 * the text is the remote's, bit 2 expired, bits 3 and 4 the action; then texts divided by "\xfe".
 */
#include "base/must.h"
#include "base/utf8.h"
#include "mime/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is returned must be as our own door lets it in: lines end in CRLF, no NUL. */
static bool lines_fine(struct slice s)
{
	struct slice line;

	if (s.n && memchr(s.p, '\0', s.n))
		return false;
	while (slice_cut(s, '\n', &line, &s))
		if (!line.n || line.p[line.n - 1] != '\r' || memchr(line.p, '\r', line.n - 1))
			return false;
	return !line.n || !memchr(line.p, '\r', line.n);
}

static struct slice part_behind(struct slice *all, struct slice boundary)
{
	const char *at = memmem(all->p, all->n, boundary.p, boundary.n);
	struct slice part;

	MUST(at);
	part = slice(all->p, (size_t)(at - all->p));
	slice_take(all, part.n + boundary.n);
	return part;
}

static void check_fields(struct slice part, bool eightbit)
{
	struct slice line;
	size_t actions = 0, statuses = 0;

	while (slice_cut(part, '\n', &line, &part)) {
		MUST(line.n && line.n <= 999 && line.p[line.n - 1] == '\r');
		line.n--;
		MUST(!has_control(line));
		MUST(eightbit ? utf8_valid(line) : ascii_only(line));
		MUST(!line.n || line.p[0] != ' ' || slice_trim(line).n);
		actions += slice_starts(line, S("Action: "));
		statuses += slice_starts(line, S("Status: "));
	}
	MUST(actions == 2 && statuses == 2);
}

static void check(const struct dsn *d, struct slice all, const struct dsn_made *made)
{
	struct slice boundary, rest, head, part;

	head = part_behind(&all, S("boundary=\""));
	MUST(slice_starts(head, S("Date: ")));
	MUST(slice_cut(all, '"', &boundary, &rest));
	MUST(boundary.n > 2 && boundary.n <= 70);
	(void)part_behind(&rest, boundary);
	part = part_behind(&rest, boundary);
	MUST(memmem(part.p, part.n, S("text/plain").p, 10));
	part = part_behind(&rest, boundary);
	check_fields(part, made->eightbit);
	part = part_behind(&rest, boundary);
	MUST(slice_eq(rest, S("--\r\n")));
	if (d->full)
		MUST(memmem(part.p, part.n, d->head.p, d->head.n));
}

static struct slice long_head(struct slice once)
{
	static char all[DSN_HEAD + 2048];
	size_t n = 0;

	while (once.n && n <= DSN_HEAD) {
		memcpy(all + n, once.p, once.n);
		n += once.n;
	}
	return slice(all, n);
}

static bool marked(struct slice *part)
{
	return part->n && slice_starts(*part, S("\xfd")) && slice_take(part, 1).n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice(data, size), part[9];
	struct dsn_rcpt r[2];
	struct dsn d;
	struct dsn_made made;
	struct err e = { 0 };
	unsigned flags;
	struct buf out;
	bool little;

	if (!size || size > 2048)
		return 0;
	flags = data[0];
	slice_take(&in, 1);
	for (size_t i = 0; i < 9; i++)
		slice_cut(in, (char)0xfe, &part[i], &in);
	if (marked(&part[7]))
		part[7] = long_head(part[7]);
	little = marked(&part[8]);
	for (size_t i = 0; i < 2; i++)
		r[i] = (struct dsn_rcpt){ .path = part[i],
					  .orcpt = part[2 + i],
					  .action = (enum dsn_action)(flags >> 3 & 3),
					  .remote = flags & 2,
					  .expired = flags & 4,
					  .code = flags & 2 ? 550 : 0,
					  .text = part[4],
					  .mta = part[5] };
	d = (struct dsn){ .hostname = S("relay.example"),
			  .from = S("Mail <m@relay.example>"),
			  .to = flags & 32 ? part[0] : S("a@b.example"),
			  .token = S("token"),
			  .id = part[5],
			  .now_ms = 1700000060000,
			  .arrival_ms = 1700000000000,
			  .lifetime_ms = 1000ull << (flags >> 6 & 3) * 8,
			  .envid = part[6],
			  .rcpts = r,
			  .n_rcpts = 2,
			  .head = part[7].n ? part[7] : S("A: b\r\n\r\n"),
			  .body = part[8],
			  .full = flags & 1 };
	buf_init(&out, little ? 600 + size : 1 << 20);
	if (dsn_compose(&d, &out, &made, &e)) {
		check(&d, buf_slice(&out), &made);
		MUST(made.eightbit || ascii_only(buf_slice(&out)));
		MUST(!lines_fine(d.head) || (d.full && !lines_fine(d.body)) ||
		     lines_fine(buf_slice(&out)));
	} else {
		MUST((e.kind == ERR_INPUT && flags & 32) || (e.kind == ERR_LATER && little));
	}
	buf_done(&out);
	return 0;
}
