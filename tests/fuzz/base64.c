/* Any bytes as base64 and as base64url: what is taken is spelled as we would spell it, and nothing
 * else is; what is refused leaves the output as it was; each byte string comes back. */
#include "base/b64.h"
#include "base/must.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct slice text)
{
	struct buf out, again;

	buf_init(&out, 4096);
	buf_init(&again, 8192);
	buf_add(&out, S("before"));
	if (b64_decode(&out, text)) {
		MUST(slice_starts(buf_slice(&out), S("before")));
		b64_encode(&again, slice_from(buf_slice(&out), 6));
		MUST(slice_eq(buf_slice(&again), text));
	} else {
		MUST(slice_eq(buf_slice(&out), S("before")));
	}
	buf_done(&out);
	buf_done(&again);
}

/* Room for one byte less than it takes: refused, and nothing is added. */
static void decode_without_room(struct slice text)
{
	struct buf out, whole;

	buf_init(&whole, 4096);
	if (b64_decode(&whole, text) && whole.n) {
		buf_init(&out, whole.n - 1);
		MUST(!b64_decode(&out, text) && !out.n);
		buf_done(&out);
	}
	buf_done(&whole);
}

static void decode_url(struct slice text)
{
	/* Exactly as long as what comes out: a byte beyond it is seen. */
	for (size_t n = text.n / 2; n <= text.n; n++) {
		unsigned char *bytes = malloc(n ? n : 1);
		struct buf again;

		MUST(bytes);
		buf_init(&again, 8192);
		if (b64url_decode(bytes, n, text)) {
			MUST(text.n == B64URL_LEN(n));
			b64url_encode(&again, slice(bytes, n));
			MUST(slice_eq(buf_slice(&again), text));
		}
		buf_done(&again);
		free(bytes);
	}
}

static void there_and_back(struct slice in)
{
	unsigned char *bytes = malloc(in.n ? in.n : 1);
	struct buf text, out;

	MUST(bytes);
	buf_init(&text, 8192);
	buf_init(&out, 4096);
	b64_encode(&text, in);
	MUST(text.n == B64_LEN(in.n) && b64_decode(&out, buf_slice(&text)));
	MUST(slice_eq(buf_slice(&out), in));
	buf_clear(&text);
	b64url_encode(&text, in);
	MUST(text.n == B64URL_LEN(in.n) && b64url_decode(bytes, in.n, buf_slice(&text)));
	MUST(!in.n || !memcmp(bytes, in.p, in.n));
	buf_done(&text);
	buf_done(&out);
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1);
	struct slice in = slice(copy, size);

	MUST(copy);
	if (size > 256)
		in.n = 256;
	memcpy(copy, data, in.n);
	decode(in);
	decode_without_room(in);
	decode_url(in);
	there_and_back(in);
	free(copy);
	return 0;
}
