/* tests/fuzz/spool_recovery.c -- any bytes as a segment and its summary: opening must not crash,
 * hang or take memory without bound, and what it finds can be listed, loaded, settled, compacted
 * away and found again; a call that fails meanwhile loses nothing, and what is acknowledged is
 * there at the next start.
 *
 * Byte 0, bit 0: with a summary; bit 1: with a second segment; bit 2: salvage instead; bit 3:
 * leave checksums as they are; bit 4: the last two bytes say which call fails, and how; bit 5: a
 * body in a file of its own; bit 6: settle, and put one more (salvage: into a new spool); bit
 * 7: the call fails then, not before. Byte 1: what else lies in the directory (strew). Then the
 * length of the summary (2 bytes, little-endian), the summary, and the segment. Checksums are put
 * right before use, record by record, as far as the lengths lead: else nothing would ever be
 * looked at behind them. A type of 0xd0 and more has one of them put wrong, and so a summary's
 * first byte; 0xb0 to 0xbf has a sequence number that was before. */
#include "base/crc32c.h"
#include "base/map.h"
#include "memfs.h"
#include "spool/log_impl.h"
#include "spool/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OLD  MEMFS_ROOT "old"
#define NEW  MEMFS_ROOT "new"
#define SEG1 OLD "/seg-00000001.log"
#define SEG2 OLD "/seg-00000002.log"

/* In a put's meta. */
enum { PUT_FLAGS = 40, PUT_FILE_AT = 50, FLAG_FILE = 4 };

static const uint64_t key[2] = { 1, 2 };
static const char body_text[] = "the body\r\n";

static void put_back(char *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (char)(v >> (8 * i));
}

static void segment_header(char *to, uint32_t number, uint64_t first, int uuid)
{
	memset(to, 0, 64);
	memcpy(to, "SIGNETSG", 8);
	put_back(to + 8, 2, 4);
	put_back(to + 12, number, 4);
	put_back(to + 16, key[0], 8);
	put_back(to + 24, key[1], 8);
	put_back(to + 32, first, 8);
	memset(to + 40, uuid, 16); /* the spool's id */
	put_back(to + 60, crc32c(0, slice(to, 60)), 4);
	memcpy(to + 512, to, 64);
}

/* A put that says its body is in a file: the file that is there. */
static void mend_file(char *meta, size_t n)
{
	char path[80] = OLD "/large/", name[32];
	struct id id;

	if (n < PUT_FILE_AT + 20 || !(meta[PUT_FLAGS] & FLAG_FILE))
		return;
	put_back(meta + PUT_FILE_AT, 0, 8);
	put_back(meta + PUT_FILE_AT + 8, sizeof body_text - 1, 8);
	put_back(meta + PUT_FILE_AT + 16, crc32c(0, slice(body_text, sizeof body_text - 1)), 4);
	memcpy(id.b, meta, sizeof id.b);
	log_large_name(id, name);
	strcat(path, name);
	memfs_put(path, body_text, sizeof body_text - 1);
}

/* Makes each record's checksums right, where its lengths stay within the file. */
static void mend_records(char *p, size_t n, bool file)
{
	uint64_t sequence = 1;

	for (size_t at = SEGMENT_DATA; at + RECORD_HEADER <= n;) {
		struct slice in = slice(p + at, RECORD_HEADER);
		unsigned type = (unsigned char)p[at + 4];
		uint32_t meta;
		uint64_t body, skip, bytes;

		slice_take(&in, 8);
		if (!get_u32(&in, &meta) || !get_int(&in, 4, &skip) || !get_int(&in, 8, &body))
			return;
		meta &= 0xfff;
		body &= 0xfff;
		bytes = (RECORD_HEADER + meta + body + 7) / 8 * 8;
		if (at + bytes > n)
			return;
		if (file && type % 3 == 0)
			mend_file(p + at + RECORD_HEADER, meta);
		put_back(p + at, RECORD_MAGIC, 4);
		p[at + 4] = (char)(1 + type % 3);
		put_back(p + at + 8, meta, 4);
		put_back(p + at + 12, crc32c(0, slice(p + at + RECORD_HEADER, meta)), 4);
		put_back(p + at + 16, body, 8);
		put_back(p + at + 24, type >> 4 == 0xb ? sequence / 2 : sequence++, 8);
		put_back(p + at + 32, crc32c(0, slice(p + at + RECORD_HEADER + meta, body)), 4);
		if (type >= 0xd0)
			p[at + (type >= 0xf0 ? 40 : type >= 0xe0 ? 32 : 12)] ^= 1;
		if (type < 0xf0)
			put_back(p + at + 40, record_tag(slice(p + at, 40), key, at), 8);
		at += bytes;
	}
}

static void mend_summary(char *p, size_t n, size_t segment)
{
	unsigned spoil = n ? (unsigned char)p[0] : 0;

	if (n < 56)
		return;
	memcpy(p, "SIGNETSM", 8);
	put_back(p + 8, spoil == 0xd0 ? 1 : 2, 4);
	put_back(p + 12, spoil == 0xd1 ? 2 : 1, 4);
	put_back(p + 16, siphash(key, S("summary")), 8);
	put_back(p + 24, segment + (spoil == 0xd2), 8);
	put_back(p + 32, 1000, 8);
	put_back(p + 40, n - 56 + (spoil == 0xd3), 8);
	put_back(p + 48, crc32c(0, slice(p + 56, n - 56)) ^ (spoil == 0xd4), 4);
	put_back(p + 52, crc32c(0, slice(p, 52)) ^ (spoil == 0xd5), 4);
}

/* What else may lie in a spool's directory. */
static void strew(unsigned how)
{
	char second[1600] = "", *first;
	size_t n;

	switch (how & 7) {
	case 0: break;
	case 1:
		memfs_put(OLD "/stray\x01 name\xff", "x", 1);
		memfs_put(OLD "/seg-0000000G.log", "x", 1);
		memfs_put(OLD "/xeg-00000001.log", "x", 1);
		memfs_put(OLD "/seg-00000001xlog", "x", 1);
		memfs_put(OLD "/seg-0000abcd.sum", "x", 1);
		break;
	case 2:
		segment_header(second, 2, 1000, 0x22);
		memfs_put(SEG2, second, sizeof second);
		break;
	case 3: memfs_copy(SEG1, SEG2); break;
	case 4:
		segment_header(second, 3, 1000, 0x11);
		memfs_put(OLD "/seg-00000003.log", second, sizeof second);
		break;
	case 5: memfs_put(OLD "/spool.id", "11111111111111111111111111111111\n", 33); break;
	case 6: memfs_put(OLD "/spool.id", "2222222222222222222222222222222x\n", 33); break;
	case 7: memfs_put(OLD "/spool.id", "22222222222222222222222222222222\n", 33); break;
	}
	first = memfs_at(SEG1, &n);
	if (how & 8)
		first[9] ^= 1;
	if (how & 16)
		first[520] ^= 1;
	if (how & 32)
		memfs_put(OLD "/damaged/seg-00000001-1024.note",
			  "5 AAAAAAAAAAAAAAAAAAAAAA seg-00000001-1024\nit was so\n", 53);
	if (how & 64)
		memfs_put(OLD "/large/AAAAAAAAAAAAAAAAAAAAAA", "x", 1);
	if (how & 64)
		memfs_put(OLD "/large/no-id", "x", 1);
	if (how & 128) {
		memfs_put(OLD "/spare-0.log", second, sizeof second);
		memfs_put(OLD "/new.log", "half", 4);
		memfs_put(OLD "/damaged/empty.note", "", 0);
		memfs_put(OLD "/damaged/bad.note", "no", 2);
	}
}

/* When it may fail it may: a broken spool refuses everything. */
static enum spool_result commit_one(struct spool *s, struct spool_op *op, bool may_fail)
{
	struct err e = { 0 };
	bool ok = spool_segments.commit(s, &op, 1, &e);

	if (!ok && (!may_fail || e.kind == ERR_NONE || op->result != SPOOL_FAILED))
		abort();
	return op->result;
}

static void settle_one(struct spool *s, struct id id, bool may_fail)
{
	struct spool_verdict v = { 0, id.b[15] & 1 ? RCPT_DELIVERED : RCPT_BOUNCED, S("250") };
	struct spool_op op = {
		.kind = SPOOL_SETTLE, .id = id, .verdicts = &v, .n_verdicts = 1, .next_ms = 5
	};
	struct spool_op hold = { .kind = SPOOL_SETTLE,
				 .id = id,
				 .by_hand = true,
				 .hold = id.b[15] & 4 ? HOLD_CLEAR : HOLD_SET,
				 .at_ms = 1,
				 .by = S("somebody") };

	if (id.b[15] & 2)
		(void)commit_one(s, &hold, may_fail);
	(void)commit_one(s, &op, may_fail);
}

static const struct id new_id = { "one more and new" };

/* True: acknowledged. */
static bool put_one(struct spool *s, bool in_file, bool may_fail)
{
	static const struct slice dests[] = { S("b.test"), S("c.test") };
	struct spool_rcpt rcpts[] = { { .path = S("x@b.test"), .delivery = 0 },
				      { .path = S("y@c.test"), .delivery = 1 } };
	struct spool_envelope env = { .id = new_id,
				      .account = 1,
				      .key_id = S("k"),
				      .accepted_ms = 1,
				      .reverse_path = S("a@a.test"),
				      .body_8bit = in_file,
				      .rcpts = rcpts,
				      .n_rcpts = 2,
				      .dests = dests,
				      .n_deliveries = 2 };
	struct spool_content c = { .head = S("A: b\r\n\r\n"), .body = S("body\r\n"), .fd = -1 };
	struct spool_op op = { .kind = SPOOL_PUT, .envelope = &env, .content = &c, .due_ms = 1 };
	enum spool_result got;

	if (in_file)
		c.fd = spool_body_file(S(OLD), NULL);
	if (in_file && c.fd < 0)
		return false;
	if (in_file) {
		(void)segment_write(c.fd, 0, "body\r\n", 6);
		c.fd_bytes = 6;
	}
	got = commit_one(s, &op, may_fail);
	if (c.fd >= 0)
		close(c.fd);
	return got == SPOOL_OK;
}

static void load_one(struct spool *s, struct id id)
{
	struct spool_message m;
	struct arena a;

	arena_init(&a, 1 << 20);
	if (spool_segments.load(s, id, &a, &m, NULL)) {
		if (m.content.fd >= 0)
			close(m.content.fd);
		if (m.envelope.n_rcpts < 1 || m.envelope.n_deliveries < 1)
			abort();
		for (uint32_t i = 0; i < m.envelope.n_rcpts; i++)
			if (m.envelope.rcpts[i].state > RCPT_BOUNCED)
				abort();
	}
	arena_done(&a);
}

/* What was acknowledged is there, every byte of it. */
static void find_new(void)
{
	struct spool_conf conf = { .path = S(OLD), .segment_bytes = 2048 };
	struct spool_message m;
	struct err e = { 0 };
	struct spool *s = spool_segments.open(&conf, &e);
	struct arena a;

	arena_init(&a, 1 << 20);
	if (!s || !spool_segments.load(s, new_id, &a, &m, &e) || m.envelope.n_rcpts != 2 ||
	    !slice_eq(m.envelope.rcpts[1].path, S("y@c.test")) ||
	    !slice_eq(m.content.head, S("A: b\r\n\r\n")))
		abort();
	if (m.content.fd < 0 ? !slice_eq(m.content.body, S("body\r\n")) : m.content.fd_bytes != 6)
		abort();
	if (m.content.fd >= 0)
		close(m.content.fd);
	arena_done(&a);
	log_free(s);
}

/* Uses what was found. */
static void use(struct spool *s, bool settle, bool may_fail)
{
	const struct spool_backend *b = &spool_segments;
	struct spool_row rows[16];
	size_t n = spool_list(b, s, &(struct spool_filter){ 0 }, NULL, rows, 16);
	uint64_t wait;
	struct spool_dest d;
	struct spool_ticket t[4];
	bool more;

	for (size_t i = 0; i < n; i++) {
		load_one(s, rows[i].id);
		if (settle)
			settle_one(s, rows[i].id, may_fail);
	}
	while (b->next(s, UINT64_MAX - 1, &d, 1, &wait)) {
		(void)b->take(s, d.flow, UINT64_MAX - 1, t, 4, &more);
		b->park(s, d.flow, UINT64_MAX);
	}
}

/* Opens it, loads what is there, and is killed. False: it does not open. */
static bool look(struct spool_count *ret)
{
	struct spool_conf conf = { .path = S(OLD), .segment_bytes = 2048 };
	struct err e = { 0 };
	struct spool *s = spool_segments.open(&conf, &e);

	if (!s && (e.kind == ERR_NONE || !e.text[0]))
		abort();
	if (!s)
		return false;
	use(s, false, false);
	spool_segments.count(s, ret);
	log_free(s);
	return true;
}

static void settle_all(bool in_file, unsigned fail, int why)
{
	struct spool_conf conf = { .path = S(OLD), .segment_bytes = 2048 };
	struct spool_count count;
	struct err e = { 0 };
	struct spool *s = spool_segments.open(&conf, &e);
	bool taken;

	if (!s)
		abort();
	memfs_fail(fail, why);
	taken = put_one(s, in_file, fail);
	use(s, true, fail);
	spool_segments.close(s);
	memfs_fail(0, 0);
	if (!look(&count))
		abort();
	if (taken)
		find_new();
}

static void open_often(unsigned flags, unsigned fail, int why)
{
	struct spool_count first, second, between;
	bool late = flags & 128;

	if (!look(&first))
		return;
	if (fail && !late) {
		memfs_fail(fail, why);
		(void)look(&between);
		memfs_fail(0, 0);
		/* A summary that could not be read once is not believed again: what it hid, if it
		 * was forged, shows from then on. */
		if ((flags & 1) && !look(&first))
			abort();
	}
	if (!look(&second) || first.messages != second.messages ||
	    first.damaged != second.damaged || first.failed_rcpts != second.failed_rcpts ||
	    first.pending_deliveries != second.pending_deliveries)
		abort();
	if (flags & 64)
		settle_all(flags & 32, late ? fail : 0, why);
}

static void on_damage(void *arg, const struct spool_damage *d)
{
	size_t *n = arg;

	++*n;
	if (!d->where[0] || !d->reason[0])
		abort();
}

static void salvage(bool old_one, unsigned fail, int why)
{
	struct spool_conf to = { .path = S(NEW), .segment_bytes = SEGMENT_DATA + 100 };
	struct spool_salvage done;
	struct err e = { 0 };
	size_t told = 0;

	if (old_one) {
		memfs_mkdir(NEW);
		memfs_copy(SEG1, NEW "/seg-00000001.log");
	}

	memfs_fail(fail, why);
	if (!spool_salvage(S(OLD), &to, on_damage, &told, &done, &e) && e.kind == ERR_NONE)
		abort();
	memfs_fail(0, 0);
	if (told != done.lost)
		abort();
}

static void lay_out(unsigned flags, unsigned extras, struct slice summary, struct slice records)
{
	size_t n = records.n + SEGMENT_DATA;
	char *log = calloc(1, n), *sum = malloc(summary.n + 1);
	char second[1600] = "";

	if (!log || !sum)
		abort();
	memfs_reset();
	memfs_mkdir(OLD);
	memfs_mkdir(OLD "/large");
	memfs_mkdir(OLD "/damaged");
	segment_header(log, 1, 1, 0x11);
	if (records.n)
		memcpy(log + SEGMENT_DATA, records.p, records.n);
	if (summary.n)
		memcpy(sum, summary.p, summary.n);
	if (!(flags & 8)) {
		mend_records(log, n, flags & 32);
		mend_summary(sum, summary.n, n);
	}
	memfs_put(SEG1, log, n);
	if (flags & 1)
		memfs_put(OLD "/seg-00000001.sum", sum, summary.n);
	if (flags & 2) {
		segment_header(second, 2, 1000, 0x11);
		memfs_put(SEG2, second, sizeof second);
	}
	strew(extras);
	free(sum);
	free(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int whys[4] = { EIO, ENOSPC, EINTR, 0 };
	struct slice in = slice(data, size), summary;
	unsigned fail = 0, why = 0;
	size_t n;

	if (size < 6 || size > 60000)
		return 0;
	if (data[0] & 16) {
		fail = (unsigned)(data[size - 2] | (data[size - 1] & 3) << 8);
		why = data[size - 1] >> 6;
		in.n -= 2;
	}
	slice_take(&in, 4);
	n = (size_t)(data[2] | data[3] << 8);
	summary = slice_take(&in, n < in.n ? n : in.n);
	lay_out(data[0], data[1], summary, in);
	if (data[0] & 4)
		salvage(!(data[0] & 64), fail, whys[why]);
	else
		open_often(data[0], fail, whys[why]);
	return 0;
}
