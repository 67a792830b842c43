/* tests/fuzz/spool_recovery.c -- any bytes as a segment and its summary: opening must not crash,
 * hang or take memory without bound, and what it finds can be listed, loaded, settled, compacted
 * away and found again.
 *
 * First byte, bit 0: with a summary; bit 1: with a second segment; bit 2: salvage instead. Then
 * the length of the summary (2 bytes, little-endian), the summary, and the segment. Checksums are
 * put right before use, record by record, as far as the lengths lead: else nothing would ever be
 * looked at behind them. Bit 3 leaves them as they are. */
#include "base/map.h"
#include "spool/crc32c.h"
#include "spool/log_impl.h"
#include "spool/wire.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static const uint64_t key[2] = { 1, 2 };

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st, (void)kind, (void)f;
	return remove(path);
}

static void clean(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void clean_at_exit(void)
{
	clean(dir);
}

static void write_file(const char *name, const char *p, size_t n)
{
	char path[128];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || !segment_write(fd, 0, p, n))
		abort();
	close(fd);
}

static void put_back(char *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (char)(v >> (8 * i));
}

static void segment_header(char *to, uint32_t number, uint64_t first)
{
	memset(to, 0, 64);
	memcpy(to, "SIGNETSG", 8);
	put_back(to + 8, 2, 4);
	put_back(to + 12, number, 4);
	put_back(to + 16, key[0], 8);
	put_back(to + 24, key[1], 8);
	put_back(to + 32, first, 8);
	memset(to + 40, 0x11, 16); /* the spool's id */
	put_back(to + 60, crc32c(0, slice(to, 60)), 4);
	memcpy(to + 512, to, 64);
}

/* Makes each record's checksums right, where its lengths stay within the file. */
static void mend_records(char *p, size_t n)
{
	uint64_t sequence = 1;

	for (size_t at = SEGMENT_DATA; at + RECORD_HEADER <= n;) {
		struct slice in = slice(p + at, RECORD_HEADER);
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
		put_back(p + at, RECORD_MAGIC, 4);
		p[at + 4] = (char)(1 + (unsigned char)p[at + 4] % 3);
		put_back(p + at + 8, meta, 4);
		put_back(p + at + 12, crc32c(0, slice(p + at + RECORD_HEADER, meta)), 4);
		put_back(p + at + 16, body, 8);
		put_back(p + at + 24, sequence++, 8);
		put_back(p + at + 32, crc32c(0, slice(p + at + RECORD_HEADER + meta, body)), 4);
		put_back(p + at + 40, record_tag(slice(p + at, 40), key, at), 8);
		at += bytes;
	}
}

static void mend_summary(char *p, size_t n, size_t segment)
{
	if (n < 56)
		return;
	memcpy(p, "SIGNETSM", 8);
	put_back(p + 8, 1, 4);
	put_back(p + 12, 1, 4);
	put_back(p + 16, siphash(key, S("summary")), 8);
	put_back(p + 24, segment, 8);
	put_back(p + 32, 1000, 8);
	put_back(p + 40, n - 56, 8);
	put_back(p + 48, crc32c(0, slice(p + 56, n - 56)), 4);
	put_back(p + 52, crc32c(0, slice(p, 52)), 4);
}

/* Uses what was found; true: some message is there. */
static size_t use(struct spool *s, bool settle)
{
	const struct spool_backend *b = &spool_segments;
	struct spool_row rows[16];
	size_t n = b->list(s, &(struct spool_filter){ 0 }, NULL, rows, 16);
	uint64_t wait;
	struct spool_dest d;
	struct spool_ticket t[4];
	bool more;

	for (size_t i = 0; i < n; i++) {
		struct spool_verdict v = { 0, RCPT_DELIVERED, S("250") };
		struct spool_op op = { .kind = SPOOL_SETTLE,
				       .id = rows[i].id,
				       .verdicts = &v,
				       .n_verdicts = 1,
				       .next_ms = 5 };
		struct spool_op *ops[] = { &op };
		struct spool_message m;
		struct arena a;

		arena_init(&a, 1 << 20);
		if (b->load(s, rows[i].id, &a, &m, NULL)) {
			if (m.content.fd >= 0)
				close(m.content.fd);
			if (m.envelope.n_rcpts < 1 || m.envelope.n_deliveries < 1)
				abort();
		}
		arena_done(&a);
		if (settle && !b->commit(s, ops, 1, NULL))
			abort();
	}
	while (b->next(s, UINT64_MAX - 1, &d, 1, &wait)) {
		(void)b->take(s, &d, UINT64_MAX - 1, t, 4, &more);
		b->park(s, &d, UINT64_MAX);
	}
	return n;
}

static void open_twice(void)
{
	struct spool_conf conf = { .path = slice_str(dir), .segment_bytes = 4096 };
	struct spool_count first, second;
	struct err e;
	struct spool *s = spool_segments.open(&conf, &e);

	if (!s)
		return;
	spool_segments.count(s, &first);
	log_free(s); /* killed */
	s = spool_segments.open(&conf, &e);
	if (!s)
		abort();
	spool_segments.count(s, &second);
	if (first.messages != second.messages || first.damaged != second.damaged ||
	    first.pending_deliveries != second.pending_deliveries)
		abort();
	(void)use(s, true);
	spool_segments.close(s);
	s = spool_segments.open(&conf, &e);
	if (!s)
		abort();
	(void)use(s, false);
	spool_segments.close(s);
}

static void salvage(void)
{
	struct spool_salvage done;
	char to[80];

	snprintf(to, sizeof to, "%s/new", dir);
	(void)spool_salvage(slice_str(dir),
			    &(struct spool_conf){ .path = slice_str(to), .segment_bytes = 4096 },
			    NULL, NULL, &done, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t n_sum, n_log;
	char *sum, *log;
	char second[1600];

	if (size < 3 || size > 60000)
		return 0;
	if (!dir[0]) {
		snprintf(dir, sizeof dir, "%s/spool-fuzz-XXXXXX",
			 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
		if (!mkdtemp(dir))
			abort();
		atexit(clean_at_exit);
	}
	clean(dir);
	if (mkdir(dir, 0700))
		abort();
	n_sum = (size_t)(data[1] | data[2] << 8);
	if (n_sum > size - 3)
		n_sum = size - 3;
	n_log = size - 3 - n_sum + SEGMENT_DATA;
	sum = malloc(n_sum + 1);
	log = calloc(1, n_log);
	if (!sum || !log)
		abort();
	memcpy(sum, data + 3, n_sum);
	segment_header(log, 1, 1);
	memcpy(log + SEGMENT_DATA, data + 3 + n_sum, size - 3 - n_sum);
	if (!(data[0] & 8)) {
		mend_records(log, n_log);
		mend_summary(sum, n_sum, n_log);
	}
	write_file("seg-00000001.log", log, n_log);
	if (data[0] & 1)
		write_file("seg-00000001.sum", sum, n_sum);
	if (data[0] & 2) {
		memset(second, 0, sizeof second);
		segment_header(second, 2, 1000);
		write_file("seg-00000002.log", second, sizeof second);
	}
	free(sum);
	free(log);
	if (data[0] & 4)
		salvage();
	else
		open_twice();
	return 0;
}
