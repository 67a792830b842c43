/* spool/spool_damage_test.c -- what a crash, a full disk or a rotten one leaves behind. */
#include "spool/spool_rig_test.h"

#include "base/fault.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- files as bytes -- */

struct bytes {
	char *p;
	size_t n;
};

static struct bytes file_get(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct bytes b = { 0 };
	struct stat st;

	assert_true(fd >= 0 && !fstat(fd, &st));
	b.n = (size_t)st.st_size;
	b.p = malloc(b.n + 1);
	assert_non_null(b.p);
	assert_true(segment_read(fd, 0, b.p, b.n));
	close(fd);
	return b;
}

static void file_set(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0 && segment_write(fd, 0, p, n));
	close(fd);
}

static void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR);
	char c;

	assert_true(fd >= 0 && segment_read(fd, at, &c, 1));
	c = (char)(c ^ 0x10);
	assert_true(segment_write(fd, at, &c, 1));
	close(fd);
}

static const char *segment_path(const struct rig *r, uint32_t number, const char *suffix)
{
	char name[32];

	segment_name(number, suffix, name);
	return rig_path(r, name);
}

static size_t files_in(const struct rig *r, const char *sub, const char *suffix)
{
	DIR *d = opendir(rig_path(r, sub));
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += e->d_name[0] != '.' && slice_ends(slice_str(e->d_name), slice_str(suffix));
	closedir(d);
	return n;
}

static bool opens(struct rig *r, struct err *e)
{
	*e = (struct err){ 0 };
	r->s = r->b->open(&r->conf, e);
	return r->s;
}

static bool same_or_gone(struct rig *r, unsigned n, size_t body_bytes, enum spool_rcpt_state *ret)
{
	struct spool_message got;
	struct sample m;
	struct arena a;
	bool has;

	sample_make(&m, n, 1, 1, 1, body_bytes);
	has = rig_has(r, m.id);
	if (has) {
		rig_load_same(r, &m, &a, &got);
		*ret = got.envelope.rcpts[0].state;
		arena_done(&a);
	}
	sample_free(&m);
	return has;
}

/* -- a crash -- */

enum tear { CUT, ZEROS, GARBAGE };

/* Restores the segment with what is behind `at` torn away. */
static void tear(const struct rig *r, struct bytes b, size_t at, size_t end, enum tear how)
{
	const char *path = segment_path(r, 1, "log");

	if (how == CUT) {
		file_set(path, b.p, at);
		return;
	}
	{
		char *p = malloc(b.n);

		assert_non_null(p);
		memcpy(p, b.p, b.n);
		memset(p + at, how == ZEROS ? 0 : 0xa5, end - at);
		file_set(path, p, b.n);
		free(p);
	}
}

static void torn_tail(void **state)
{
	struct rig r;
	struct bytes b;
	size_t from, end;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	rig_put_simple(&r, 2, "1", 100);
	from = (size_t)log_active(r.s)->end;
	rig_put_simple(&r, 3, "1", 20);
	end = (size_t)log_active(r.s)->end;
	rig_kill(&r);
	b = file_get(segment_path(&r, 1, "log"));
	for (int how = CUT; how <= GARBAGE; how++)
		for (size_t at = from; at <= end; at++) {
			bool third;

			tear(&r, b, at, end, (enum tear)how);
			rig_open(&r);
			third = rig_has(&r, sample_id(3));
			/* The record's end is padding, whose loss is none. */
			assert_true(third ? at > end - RECORD_ALIGN : at < end);
			assert_true(rig_has(&r, sample_id(1)) && rig_has(&r, sample_id(2)));
			assert_int_equal(rig_count(&r).damaged, 0);
			/* The second start finds what the first found, and what came since. */
			rig_put_simple(&r, 4, "1", at % 200);
			rig_kill(&r);
			rig_open(&r);
			assert_int_equal(rig_count(&r).messages, third ? 4 : 3);
			assert_true(rig_has(&r, sample_id(4)));
			assert_int_equal(rig_has(&r, sample_id(3)), third);
			assert_int_equal(rig_count(&r).damaged, 0);
			rig_kill(&r);
		}
	free(b.p);
	rig_end(&r);
}

/* A later record stands in an earlier one's place, as after a write that went astray: it does not
 * count there, and what stands between is not taken for old. */
static void astray(void **state)
{
	uint64_t at[4];
	char record[512];
	struct rig r;
	int fd;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 1; i <= 3; i++) {
		at[i] = log_active(r.s)->end;
		rig_put_simple(&r, i, "1", 100);
	}
	assert_true(at[3] - at[2] == at[2] - at[1] && at[2] - at[1] <= sizeof record);
	rig_kill(&r);
	fd = open(segment_path(&r, 1, "log"), O_RDWR);
	assert_true(segment_read(fd, at[3], record, at[2] - at[1]));
	assert_true(segment_write(fd, at[1], record, at[2] - at[1]));
	close(fd);
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		assert_false(rig_has(&r, sample_id(1)));
		assert_true(rig_has(&r, sample_id(2)) && rig_has(&r, sample_id(3)));
		assert_int_equal(rig_count(&r).damaged, 1);
		rig_kill(&r);
	}
	rig_end(&r);
}

/* Of one commit, the disk may have taken any part. */
static void torn_within_a_commit(void **state)
{
	struct sample m[3];
	struct spool_op op[3], *ops[3];
	struct spool_damage d[4];
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 3; i++) {
		sample_make(&m[i], i, 1, 1, 1, 100);
		op[i] = (struct spool_op){ .kind = SPOOL_PUT,
					   .envelope = &m[i].envelope,
					   .content = &m[i].content };
		ops[i] = &op[i];
	}
	assert_true(r.b->commit(r.s, ops, 3, NULL));
	{
		uint64_t second = place_at(index_find(r.s->index, m[1].id)->put);

		rig_kill(&r);
		flip(segment_path(&r, 1, "log"), second + RECORD_HEADER + 3);
	}
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		assert_true(rig_has(&r, m[0].id) && rig_has(&r, m[2].id));
		assert_false(rig_has(&r, m[1].id));
		assert_int_equal(r.b->damaged(r.s, 0, d, 4), 1);
		assert_non_null(strstr(d[0].reason, "cut short by a crash"));
		rig_put_simple(&r, 10 + (unsigned)start, "1", 10);
		rig_kill(&r);
	}
	for (unsigned i = 0; i < 3; i++)
		sample_free(&m[i]);
	rig_end(&r);
}

/* -- the bytes of an outcome -- */

/* What spools hold on disk since the first of them, and what came later in bits that were 0. */
static void states_as_bytes(void **state)
{
	static const struct {
		unsigned char byte;
		bool sound;
		enum spool_rcpt_state state;
		bool told;
	} cases[] = {
		{ 0, true, RCPT_PENDING, false },    { 1, true, RCPT_DELIVERED, false },
		{ 2, true, RCPT_FAILED, false },     { 3, true, RCPT_CANCELLED, false },
		{ 4, true, RCPT_BOUNCED, false },    { 5, false, RCPT_PENDING, false },
		{ 0x80, true, RCPT_PENDING, true },  { 0x84, true, RCPT_BOUNCED, true },
		{ 0x85, false, RCPT_PENDING, true }, { 0x40, false, RCPT_PENDING, false },
	};
	enum { STATE_AT = 16 + 4 + 4 + 8 + 4 + 4 + 4 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct spool_verdict v = { 0, cases[i].state, S("550 no"), cases[i].told };
		struct record_state s = { .id = sample_id(1), .verdicts = &v, .n_verdicts = 1 },
				    got;
		struct arena a;
		struct buf b;

		arena_init(&a, 4096);
		buf_init(&b, 4096);
		record_state_write(&b, &s);
		if (cases[i].sound)
			assert_int_equal((unsigned char)b.p[STATE_AT], cases[i].byte);
		b.p[STATE_AT] = (char)cases[i].byte;
		assert_int_equal(record_state_read(buf_slice(&b), &a, &got), cases[i].sound);
		if (cases[i].sound) {
			assert_int_equal(got.verdicts[0].state, cases[i].state);
			assert_int_equal(got.verdicts[0].told_delay, cases[i].told);
		}
		buf_done(&b);
		arena_done(&a);
	}
}

/* -- rot -- */

enum { ROT_MESSAGES = 24, ROT_BYTES = 700 };

static void make_log(struct rig *r)
{
	struct spool_verdict later = { 0, RCPT_PENDING, S("451 later"), true },
			     no = { 0, RCPT_FAILED, S("550") };

	rig_begin(r, &spool_segments, STAY, 8 << 10);
	for (unsigned i = 0; i < ROT_MESSAGES; i++) {
		rig_put_simple(r, i, "1", ROT_BYTES);
		if (i % 5 == 1)
			assert_int_equal(rig_settle(r, sample_id(i), 0, &later, 1, 5), SPOOL_OK);
		if (i % 5 == 2)
			assert_int_equal(rig_settle(r, sample_id(i), 0, &no, 1, 0), SPOOL_OK);
	}
	rig_close(r);
}

static void check_rotten(struct rig *r)
{
	struct spool_message got;
	unsigned lost = 0;

	for (unsigned i = 0; i < ROT_MESSAGES; i++) {
		enum spool_rcpt_state s = RCPT_PENDING;

		if (!same_or_gone(r, i, ROT_BYTES, &s))
			lost++;
		else
			assert_true(s == RCPT_PENDING || (s == RCPT_FAILED && i % 5 == 2));
	}
	(void)got;
	assert_true(lost <= 1);
	assert_true(!lost || rig_count(r).damaged);
	assert_int_equal(rig_count(r).messages, ROT_MESSAGES - lost);
}

/* One bit of any file: never a wrong recipient or body, and at most that message is lost. */
static void bit_flips(void **state)
{
	static const char *const suffixes[] = { "log", "sum" };
	struct rig r;
	uint32_t last;
	size_t tried = 0;

	(void)state;
	make_log(&r);
	rig_open(&r);
	last = log_active(r.s)->number;
	assert_true(last >= 3);
	rig_close(&r);
	for (uint32_t number = 1; number <= last; number++)
		for (size_t k = 0; k < 2; k++) {
			const char *path = segment_path(&r, number, suffixes[k]);
			struct bytes b;

			if (access(path, F_OK))
				continue;
			b = file_get(path);
			for (size_t at = 0; at < b.n; at += k ? 13 : 97) {
				struct err e;

				path = segment_path(&r, number, suffixes[k]);
				flip(path, at);
				if (!opens(&r, &e))
					fail_msg("segment %u.%s at %zu: %s", number, suffixes[k],
						 at, e.text);
				check_rotten(&r);
				rig_kill(&r);
				rig_open(&r);
				check_rotten(&r);
				rig_kill(&r);
				file_set(segment_path(&r, number, suffixes[k]), b.p, b.n);
				rig_remove_tree(rig_path(&r, "damaged"));
				tried++;
			}
			free(b.p);
		}
	assert_true(tried > 200);
	rig_end(&r);
}

static void set_aside_at_load(void **state)
{
	struct spool_message got;
	struct spool_damage d[4];
	struct err e = { 0 };
	struct arena a;
	struct rig r;
	uint64_t at;
	uint32_t number;

	(void)state;
	make_log(&r);
	rig_open(&r);
	at = place_at(index_find(r.s->index, sample_id(3))->put);
	number = index_find(r.s->index, sample_id(3))->put.segment;
	flip(segment_path(&r, number, "log"), at + 300);
	arena_init(&a, 1 << 20);
	assert_false(r.b->load(r.s, sample_id(3), &a, &got, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	arena_done(&a);
	for (int start = 0; start < 3; start++) {
		/* Not only found unsound again. */
		assert_int_equal(rig_count(&r).messages, ROT_MESSAGES - 1);
		assert_false(rig_has(&r, sample_id(3)));
		assert_true(rig_has(&r, sample_id(4)));
		assert_int_equal(r.b->damaged(r.s, 0, d, 4), 1);
		assert_int_equal(r.b->damaged(r.s, 1, d + 1, 3), 0);
		assert_true(id_eq(d[0].id, sample_id(3)));
		assert_true(d[0].found_ms > 0);
		rig_kill(&r);
		rig_open(&r);
	}
	assert_int_equal(files_in(&r, "damaged", ".note"), 1);
	assert_int_equal(files_in(&r, "damaged", ""), 2);
	rig_end(&r);
}

static void summaries_are_not_needed(void **state)
{
	struct rig r;
	size_t n;

	(void)state;
	make_log(&r);
	n = files_in(&r, ".", ".sum");
	assert_true(n >= 2);
	for (uint32_t i = 1; i <= n; i++)
		unlink(segment_path(&r, i, "sum"));
	rig_open(&r);
	check_rotten(&r);
	assert_int_equal(rig_count(&r).damaged, 0);
	rig_close(&r);
	assert_int_equal(files_in(&r, ".", ".sum"), n); /* written anew */
	rig_end(&r);
}

/* In damaged/: how many hold exactly these bytes. */
static size_t set_aside_as(const struct rig *r, struct bytes b)
{
	DIR *d = opendir(rig_path(r, "damaged"));
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while ((e = readdir(d))) {
		char name[300];
		struct bytes got;

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "damaged/%s", e->d_name);
		got = file_get(rig_path(r, name));
		n += got.n == b.n && !memcmp(got.p, b.p, b.n);
		free(got.p);
	}
	closedir(d);
	return n;
}

static void foreign_files(void **state)
{
	struct rig r, other;
	struct spool_damage d[8];
	struct bytes b, strange;
	uint32_t next;

	(void)state;
	make_log(&r);
	make_log(&other);
	/* Another spool's next one: its number is right, and it is not ours. */
	rig_open(&r);
	next = log_active(r.s)->number + 1;
	rig_close(&r);
	rig_open(&other);
	for (unsigned i = 100; log_active(other.s)->number <= next; i++)
		rig_put_simple(&other, i, "1", 900);
	rig_close(&other);
	strange = file_get(segment_path(&other, next, "log"));
	file_set(segment_path(&r, next, "log"), strange.p, strange.n);
	file_set(rig_path(&r, "notes.txt"), "hello", 5);
	b = file_get(segment_path(&r, 1, "log"));
	file_set(rig_path(&r, "seg-00000001.log.bak"), b.p, b.n);
	file_set(segment_path(&r, 99, "log"), b.p, b.n); /* a copy under another number */
	free(b.p);
	file_set(rig_path(&r, "large/AAAAAAAAAAAAAAAAAAAAAA"), "x", 1);
	for (int start = 0; start < 2; start++) {
		rig_open(&r);
		check_rotten(&r);
		assert_int_equal(r.b->damaged(r.s, 0, d, 8), 4);
		rig_close(&r);
	}
	/* It may hold somebody's mail: it is still there when its number is ours. */
	rig_open(&r);
	for (unsigned i = 200; log_active(r.s)->number <= next; i++)
		rig_put_simple(&r, i, "1", 900);
	rig_close(&r);
	assert_int_equal(set_aside_as(&r, strange), 1);
	free(strange.p);
	rig_end(&other);
	rig_end(&r);
}

/* A message may hold a copy of another's record: the search for sound records passes over it. */
static void record_in_a_body(void **state)
{
	struct sample m;
	struct rig r;
	struct bytes b;
	uint64_t first, second, body;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	first = SEGMENT_DATA;
	second = log_active(r.s)->end;
	b = file_get(segment_path(&r, 1, "log"));
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_OK);
	second = log_active(r.s)->end;
	sample_make(&m, 2, 1, 1, 1, 2000);
	/* At each alignment, so that one of them is a record's. */
	for (size_t at = 0; at + 500 <= 2000; at += 441)
		memcpy(m.body + at, b.p + first, 400);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	body = second;
	sample_free(&m);
	rig_put_simple(&r, 3, "1", 10);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), body + 9);
	rig_open(&r);
	assert_false(rig_has(&r, sample_id(1)));
	assert_true(rig_has(&r, sample_id(3)));
	assert_int_equal(rig_count(&r).messages, 1);
	assert_int_equal(rig_count(&r).damaged, 1);
	free(b.p);
	rig_end(&r);
}

/* -- structure -- */

struct seen {
	unsigned n;
	struct spool_damage last;
};

static void see(void *arg, const struct spool_damage *d)
{
	struct seen *s = arg;

	s->n++;
	s->last = *d;
}

static bool told_delay(struct rig *r, unsigned i)
{
	struct spool_message got;
	struct arena a;
	bool told;

	arena_init(&a, 1 << 20);
	assert_true(r->b->load(r->s, sample_id(i), &a, &got, NULL));
	told = got.envelope.rcpts[0].told_delay;
	arena_done(&a);
	return told;
}

static void salvage_into_new(struct rig *r, unsigned least, unsigned lost)
{
	struct spool_salvage done = { 0 };
	struct rig to;
	struct seen seen = { 0 };
	struct err e = { 0 };
	unsigned there = 0;
	char path[80];

	snprintf(path, sizeof path, "%s-new", r->dir);
	if (!spool_salvage(r->conf.path, &(struct spool_conf){ .path = slice_str(path) }, see,
			   &seen, &done, &e))
		fail_msg("%s", e.text);
	assert_int_equal(seen.n, done.lost);
	assert_int_equal(done.lost, lost);
	to = (struct rig){ .b = &spool_segments };
	snprintf(to.dir, sizeof to.dir, "%s", path);
	to.conf = (struct spool_conf){ .path = slice_str(to.dir), .segment_bytes = 8 << 10 };
	rig_open(&to);
	for (unsigned i = 0; i < ROT_MESSAGES; i++) {
		enum spool_rcpt_state s = RCPT_PENDING;

		if (!same_or_gone(&to, i, ROT_BYTES, &s))
			continue;
		assert_int_equal(told_delay(&to, i), i % 5 == 1);
		there++;
		assert_int_equal(s, i % 5 == 2 ? RCPT_FAILED : RCPT_PENDING);
	}
	assert_int_equal(there, done.copied);
	assert_true(there >= least);
	assert_int_equal(rig_count(&to).damaged, 0);
	/* It must be new. */
	assert_false(spool_salvage(r->conf.path, &to.conf, NULL, NULL, &done, &e));
	rig_end(&to);
}

static void unsound_header(void **state)
{
	struct rig r;
	struct err e;

	(void)state;
	make_log(&r);
	flip(segment_path(&r, 2, "log"), 20);
	rig_open(&r);
	check_rotten(&r);
	assert_int_equal(rig_count(&r).damaged, 1); /* the second header serves */
	rig_close(&r);
	flip(segment_path(&r, 2, "log"), 512 + 20);
	assert_false(opens(&r, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "signet spool salvage"));
	salvage_into_new(&r, ROT_MESSAGES * 2 / 3, 3); /* two about the header, one the gap */
	assert_false(opens(&r, &e));
	rig_end(&r);
}

/* The newest segment there is a stranger's: whose spool it is, is written down. */
static void salvage_beside_a_stranger(void **state)
{
	struct rig r, other;
	struct bytes b;

	(void)state;
	rig_begin(&other, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&other, 1, "1", 100);
	rig_kill(&other);
	b = file_get(segment_path(&other, 1, "log"));
	rig_end(&other);
	make_log(&r);
	rig_close(&r);
	flip(segment_path(&r, 2, "log"), 20);
	flip(segment_path(&r, 2, "log"), 512 + 20);
	file_set(segment_path(&r, 99, "log"), b.p, b.n);
	free(b.p);
	salvage_into_new(&r, ROT_MESSAGES * 2 / 3, 4); /* two about the header, gap, stranger */
	rig_end(&r);
}

static void missing_segment(void **state)
{
	struct rig r;
	struct err e;

	(void)state;
	make_log(&r);
	unlink(segment_path(&r, 2, "log"));
	assert_false(opens(&r, &e));
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "signet spool salvage"));
	salvage_into_new(&r, ROT_MESSAGES / 2,
			 2); /* the gap, and that records are missing before it */
	rig_end(&r);
}

static void salvage_of_a_sound_one(void **state)
{
	struct spool_salvage done;
	struct err e = { 0 };
	struct rig r;

	(void)state;
	make_log(&r);
	salvage_into_new(&r, ROT_MESSAGES, 0);
	rig_open(&r);
	assert_false(spool_salvage(r.conf.path, &(struct spool_conf){ .path = S("/nonexistent/x") },
				   NULL, NULL, &done, &e));
	assert_int_equal(e.kind, ERR_CONFLICT); /* in use */
	rig_end(&r);
}

static void locked(void **state)
{
	struct err e = { 0 };
	char pid[32];
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	assert_null(r.b->open(&r.conf, &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	snprintf(pid, sizeof pid, "process %d", (int)getpid());
	assert_non_null(strstr(e.text, pid));
	rig_kill(&r);
	rig_open(&r);
	rig_end(&r);
}

/* -- space -- */

static void reserve_is_for_outcomes(void **state)
{
	struct sample m;
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 80; i++)
		rig_put_simple(&r, i, "1", 100);
	rig_close(&r);
	r.conf.reserve_bytes = UINT64_MAX / 2;
	rig_open(&r);
	sample_make(&m, 100, 1, 1, 1, 10);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	for (unsigned i = 0; i < 80; i++)
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	assert_int_equal(rig_count(&r).messages, 0);
	rig_close(&r);
	r.conf.reserve_bytes = 0;
	rig_open(&r);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	sample_free(&m);
	rig_end(&r);
}

static void full_disk(void **state)
{
	struct rlimit old, small;
	struct sample big;
	struct rig r;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	for (unsigned i = 0; i < 10; i++)
		rig_put_simple(&r, i, "1", 100);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = log_active(r.s)->end + 3000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	sample_make(&big, 50, 1, 1, 1, 20000);
	{
		/* A put that does not fit and an outcome in one commit: the outcome is kept. */
		struct spool_verdict v = { 0, RCPT_DELIVERED, S("250") };
		struct spool_op put = { .kind = SPOOL_PUT,
					.envelope = &big.envelope,
					.content = &big.content };
		struct spool_op done = {
			.kind = SPOOL_SETTLE, .id = sample_id(0), .verdicts = &v, .n_verdicts = 1
		};
		struct spool_op *ops[] = { &put, &done };

		assert_true(r.b->commit(r.s, ops, 2, NULL));
		assert_int_equal(put.result, SPOOL_FULL);
		assert_int_equal(done.result, SPOOL_OK);
	}
	assert_false(rig_has(&r, big.id));
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_OK);
	/* Not a byte is left: the outcome comes again, and the spool is none the worse. */
	small.rlim_cur = log_active(r.s)->end;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_FULL);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_FULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(rig_deliver(&r, sample_id(2)), SPOOL_OK);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).messages, 7);
	assert_int_equal(rig_count(&r).damaged, 0);
	assert_false(rig_has(&r, big.id));
	assert_int_equal(rig_put(&r, &big, 0), SPOOL_OK);
	sample_free(&big);
	rig_end(&r);
}

static void broken_until_reopened(void **state)
{
	struct sample m;
	struct rig r;
	int full;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	rig_put_simple(&r, 1, "1", 100);
	sample_make(&m, 2, 1, 1, 1, 10);
	full = open("/dev/full", O_RDWR);
	assert_true(full >= 0);
	assert_true(dup2(full, log_active(r.s)->fd) >= 0); /* neither takes bytes nor gives back */
	close(full);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_FAILED);
	rig_close(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(1)));
	assert_false(rig_has(&r, m.id));
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	sample_free(&m);
	rig_end(&r);
}

static void failed_sync(void **state)
{
	struct sample m;
	struct rig r;

	(void)state;
	setenv("SIGNET_FAULT", "spool_sync_fails", 1);
	if (!FAULT("spool_sync_fails"))
		skip();
	unsetenv("SIGNET_FAULT");
	rig_begin(&r, &spool_segments, STAY, 32 << 10);
	rig_put_simple(&r, 1, "1", 100);
	sample_make(&m, 2, 1, 1, 1, 10);
	setenv("SIGNET_FAULT", "spool_sync_fails", 1);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	unsetenv("SIGNET_FAULT");
	/* Not as if nothing had happened. */
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FAILED);
	assert_int_equal(rig_deliver(&r, sample_id(1)), SPOOL_FAILED);
	rig_kill(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(1)));
	assert_false(rig_has(&r, m.id)); /* taken back: the client was told to come again */
	sample_free(&m);
	rig_end(&r);
}

static void drained_leaves_nothing(void **state)
{
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	for (unsigned i = 0; i < 300; i++)
		rig_put_simple(&r, i, i % 2 ? "1" : "2", 400);
	assert_true(files_in(&r, ".", ".log") > 15);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	assert_true(files_in(&r, ".", ".log") <= 2 + SEGMENT_SPARES);
	assert_true(files_in(&r, ".", ".sum") <= 1);
	assert_true(rig_count(&r).bytes_disk <= 3 * (8 << 10));
	assert_int_equal(rig_count(&r).destinations, 0);
	assert_true(index_memory(r.s->index) < 600000); /* a chunk of each kind */
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(rig_count(&r).messages, 0);
	rig_end(&r);
}

/* 100 bytes a message while it waits, and given back: also while a few others stay. */
static void memory_of_the_index(void **state)
{
	enum { N = 200000 };
	static const uint64_t hash_key[2] = { 5, 6 };
	struct index *x = index_new(hash_key);
	struct slice dest = S("dead.test");
	uint32_t one = 1;

	(void)state;
	assert_non_null(x);
	for (unsigned i = 0; i < N; i++) {
		struct index_message m = { .id = sample_id(i),
					   .due_ms = i,
					   .n_rcpts = 1,
					   .n_deliveries = 1,
					   .dests = &dest,
					   .rcpts = &one };
		struct entry *e = index_add(x, &m);

		assert_non_null(e);
		index_publish(x, e);
	}
	assert_true(index_memory(x) / N <= 100);
	for (unsigned i = 10; i < N; i++)
		index_remove(x, index_find(x, sample_id(i)));
	assert_true(index_memory(x) < 1 << 20);
	assert_int_equal(index_messages(x), 10);
	for (unsigned i = 0; i < 10; i++)
		assert_non_null(index_find(x, sample_id(i)));
	index_free(x);
}

/* The few messages of a dead site do not pin what has long been delivered to others. */
static void compaction(void **state)
{
	struct spool_verdict later = { 0, RCPT_PENDING, S("451 dead") };
	struct rig r;
	uint64_t most = 0;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t disk;

		rig_put_simple(&r, i, i % 100 ? "2" : "1", 500);
		if (i % 100)
			assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
		else
			assert_int_equal(rig_settle(&r, sample_id(i), 0, &later, 1, 7000 + i),
					 SPOOL_OK);
		disk = rig_count(&r).bytes_disk;
		most = disk > most ? disk : most;
		if (i % 333 == 0) {
			rig_kill(&r);
			rig_open(&r);
		}
	}
	assert_true(most < 9 * (16 << 10)); /* of 2,000 times 700 bytes */
	assert_true(log_active(r.s)->number > 50);
	for (unsigned i = 0; i < 2000; i += 100) {
		struct spool_message got;
		struct sample m;
		struct arena a;

		sample_make(&m, i, 1, 1, 1, 500);
		rig_load_same(&r, &m, &a, &got);
		assert_true(slice_eq(got.envelope.rcpts[0].reply, S("451 dead")));
		assert_int_equal(got.attempts[0], 1);
		assert_int_equal(got.next_ms[0], 7000 + i);
		arena_done(&a);
		sample_free(&m);
	}
	assert_int_equal(rig_count(&r).messages, 20);
	assert_int_equal(rig_count(&r).damaged, 0);
	rig_end(&r);
}

/* A caller that still reads a body's descriptor is not given another message's bytes. */
static void handed_out_is_not_recycled(void **state)
{
	struct spool_message got;
	struct sample m;
	struct arena a;
	struct rig r;
	char *now;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 2 << 20);
	sample_make(&m, 1, 1, 1, 1, (1 << 20) + 500);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	arena_init(&a, 16 << 20);
	assert_true(r.b->load(r.s, m.id, &a, &got, NULL));
	assert_true(got.content.fd >= 0);
	assert_int_equal(rig_deliver(&r, m.id), SPOOL_OK);
	for (unsigned i = 2; i < 12; i++) {
		rig_put_simple(&r, i, "1", 1 << 20);
		assert_int_equal(rig_deliver(&r, sample_id(i)), SPOOL_OK);
	}
	assert_true(log_active(r.s)->number > 3);
	now = malloc(m.body_bytes);
	assert_non_null(now);
	assert_true(segment_read(got.content.fd, got.content.fd_offset, now, m.body_bytes));
	assert_memory_equal(now, m.body, m.body_bytes);
	free(now);
	close(got.content.fd);
	arena_done(&a);
	sample_free(&m);
	rig_end(&r);
}

static void large_files(void **state)
{
	char name[32], path[64];
	struct sample m;
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 8 << 10);
	sample_make(&m, 1, 1, 1, 1, 5000);
	m.content.fd = spool_body_file(r.conf.path, NULL);
	assert_true(m.content.fd >= 0 && segment_write(m.content.fd, 0, m.body, 5000));
	m.content.fd_bytes = 5000;
	log_large_name(m.id, name);
	snprintf(path, sizeof path, "large/%s", name);
	file_set(rig_path(&r, path), "left by a crash", 15);
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_OK);
	/* Refused as a second one: the first one's file stays. */
	assert_int_equal(rig_put(&r, &m, 0), SPOOL_FULL);
	close(m.content.fd);
	assert_true(rig_has(&r, m.id));
	log_large_name(sample_id(9), name);
	snprintf(path, sizeof path, "large/%s", name);
	file_set(rig_path(&r, path), "an orphan", 9);
	rig_kill(&r);
	rig_open(&r);
	assert_int_equal(files_in(&r, "large", ""), 1);
	log_large_name(m.id, name);
	snprintf(path, sizeof path, "large/%s", name);
	flip(rig_path(&r, path), 4000);
	assert_false(rig_has(&r, m.id));
	assert_int_equal(rig_count(&r).damaged, 1);
	assert_int_equal(files_in(&r, "large", ""), 0);
	assert_int_equal(files_in(&r, "damaged", ""), 3); /* note, record, body */
	sample_free(&m);
	rig_end(&r);
}

/* The log was lost, or taken away, and the list of what was unsound in it was not: a new segment of
 * the same number has nothing to do with that. */
static void notes_of_a_former_life(void **state)
{
	struct rig r;

	(void)state;
	rig_begin(&r, &spool_segments, STAY, 16 << 10);
	rig_put_simple(&r, 1, "1", 100);
	rig_put_simple(&r, 2, "1", 100);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), SEGMENT_DATA + RECORD_HEADER);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 1);
	assert_false(rig_has(&r, sample_id(1)));
	rig_kill(&r);
	assert_int_equal(unlink(segment_path(&r, 1, "log")), 0);
	rig_open(&r);
	rig_put_simple(&r, 3, "1", 100);
	rig_kill(&r);
	rig_open(&r);
	assert_true(rig_has(&r, sample_id(3)));
	/* And the same place may be found unsound once more, evidence and all. */
	rig_put_simple(&r, 4, "1", 100);
	rig_kill(&r);
	flip(segment_path(&r, 1, "log"), SEGMENT_DATA + RECORD_HEADER);
	rig_open(&r);
	assert_int_equal(rig_count(&r).damaged, 2);
	assert_int_equal(files_in(&r, "damaged", ".note"), 2);
	rig_end(&r);
}

int spool_damage_cases(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(states_as_bytes),
					    cmocka_unit_test(torn_tail),
					    cmocka_unit_test(torn_within_a_commit),
					    cmocka_unit_test(astray),
					    cmocka_unit_test(bit_flips),
					    cmocka_unit_test(set_aside_at_load),
					    cmocka_unit_test(summaries_are_not_needed),
					    cmocka_unit_test(foreign_files),
					    cmocka_unit_test(notes_of_a_former_life),
					    cmocka_unit_test(record_in_a_body),
					    cmocka_unit_test(unsound_header),
					    cmocka_unit_test(salvage_beside_a_stranger),
					    cmocka_unit_test(missing_segment),
					    cmocka_unit_test(salvage_of_a_sound_one),
					    cmocka_unit_test(locked),
					    cmocka_unit_test(reserve_is_for_outcomes),
					    cmocka_unit_test(full_disk),
					    cmocka_unit_test(broken_until_reopened),
					    cmocka_unit_test(failed_sync),
					    cmocka_unit_test(drained_leaves_nothing),
					    cmocka_unit_test(memory_of_the_index),
					    cmocka_unit_test(compaction),
					    cmocka_unit_test(handed_out_is_not_recycled),
					    cmocka_unit_test(large_files) };

	return cmocka_run_group_tests_name("spool damage", tests, NULL, NULL);
}
