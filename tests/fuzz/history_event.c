/* tests/fuzz/history_event.c -- any bytes as events: what is read is inside the input, and written
 * again it is the same bytes.
 *
 * Byte 0, bit 0: checksums are put right first, as far as the lengths lead: else nothing would ever
 * be looked at behind them. */
#include "history/event.h"
#include "spool/wire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend(char *p, size_t n)
{
	for (size_t at = 0; at + EVENT_HEAD < n;) {
		struct slice in = slice(p + at, 4);
		uint32_t bytes = 0, check;

		if (!get_u32(&in, &bytes) || bytes > n - at - EVENT_HEAD)
			return;
		check = event_check(slice(p + at + EVENT_HEAD, bytes));
		for (unsigned i = 0; i < 4; i++)
			p[at + 4 + i] = (char)(check >> (8 * i));
		at += EVENT_HEAD + bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct history_event v;
	struct slice in, before;
	struct buf again;
	char *p;

	if (size < 1 || size > 60000)
		return 0;
	p = malloc(size);
	if (!p)
		abort();
	memcpy(p, data + 1, size - 1);
	if (data[0] & 1)
		mend(p, size - 1);
	in = slice(p, size - 1);
	buf_init(&again, 1 << 20);
	for (before = in; event_read(&in, &v) == EVENT_OK; before = in) {
		size_t n = before.n - in.n;

		if (v.reply.n > in.n + n || v.code > 65535)
			abort();
		buf_clear(&again);
		event_write(&again, &v);
		/* Texts that are longer than we write them are cut; the others come out as they
		 * were. */
		if (again.failed || again.n > n ||
		    (again.n == n && memcmp(again.p, before.p, n) != 0))
			abort();
	}
	if (in.n != before.n)
		abort();
	buf_done(&again);
	free(p);
	return 0;
}
