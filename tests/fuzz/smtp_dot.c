/* The DATA decoder and the line check: any cutting of the bytes tells the same story, and what
 * passes as well-formed has no lone CR or LF and no NUL. Byte 0: the size of the pieces; bit 7:
 * each lies on the heap, where one byte too far is seen. */
#include "base/buf.h"
#include "smtp/dot.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct story {
	struct buf content;
	bool ended, ok;
	size_t left;
	uint64_t longest;
};

static void run(struct slice in, size_t step, bool heap, struct story *ret)
{
	struct dot d = { 0 };

	*ret = (struct story){ 0 };
	buf_init(&ret->content, in.n + 1);
	while (in.n && !ret->ended) {
		size_t n = step && step < in.n ? step : in.n;
		char *exact = heap ? malloc(n) : NULL;
		struct slice part = slice(heap ? exact : in.p, n), span;
		const char *from = part.p;
		enum dot_got got;

		assert(from);
		if (heap)
			memcpy(exact, in.p, n);
		while ((got = dot_next(&d, &part, &span)) == DOT_SPAN) {
			assert(span.n && span.p >= from && span.p + span.n <= part.p);
			buf_add(&ret->content, span);
		}
		ret->ended = got == DOT_END;
		assert(ret->ended || part.n == 0);
		slice_take(&in, n - part.n);
		free(exact);
	}
	ret->left = in.n;
	ret->ok = lines_end(&d.lines);
	ret->longest = lines_longest(&d.lines);
}

static bool only_crlf(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		bool cr = i > 0 && s.p[i - 1] == '\r', lf = i + 1 < s.n && s.p[i + 1] == '\n';

		if (s.p[i] == '\0' || (s.p[i] == '\n' && !cr) || (s.p[i] == '\r' && !lf))
			return false;
	}
	return true;
}

static uint64_t longest_line(struct slice s)
{
	uint64_t longest = 0;

	while (s.n) {
		const char *lf = memchr(s.p, '\n', s.n);
		size_t n = lf ? (size_t)(lf - s.p) + 1 : s.n, text = lf ? n - 2 : n;

		if (text > longest)
			longest = text;
		slice_take(&s, n);
	}
	return longest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in;
	struct story whole, cut;
	struct lines l = { 0 };
	struct slice content;

	if (size < 1)
		return 0;
	in = slice(data + 1, size - 1);
	run(in, 0, true, &whole);
	run(in, (data[0] & 127u) % 9u + 1, data[0] & 128, &cut);
	assert(whole.ended == cut.ended && whole.left == cut.left && whole.ok == cut.ok);
	assert(slice_eq(buf_slice(&whole.content), buf_slice(&cut.content)));
	content = buf_slice(&whole.content);
	/* A ".CR" that turns out to be no end has lost its CR, so only one direction holds. */
	if (whole.ok) {
		assert(only_crlf(content));
		assert(whole.longest == longest_line(content) && cut.longest == whole.longest);
	}
	if (whole.ended && whole.ok)
		assert(content.n == 0 || slice_ends(content, S("\r\n")));
	/* The check for BDAT, on any bytes. */
	lines_feed(&l, slice(in.p, in.n / 2));
	lines_feed(&l, slice_from(in, in.n / 2));
	assert(lines_end(&l) == only_crlf(in));
	if (lines_end(&l))
		assert(lines_longest(&l) == longest_line(in));
	buf_done(&whole.content);
	buf_done(&cut.content);
	return 0;
}
