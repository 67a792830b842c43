#include "spool/spool_files_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct bytes file_get(const char *path)
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

void file_set(const char *path, const char *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0 && segment_write(fd, 0, p, n));
	close(fd);
}

void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR);
	char c;

	assert_true(fd >= 0 && segment_read(fd, at, &c, 1));
	c = (char)(c ^ 0x10);
	assert_true(segment_write(fd, at, &c, 1));
	close(fd);
}

const char *segment_path(const struct rig *r, uint32_t number, const char *suffix)
{
	char name[32];

	segment_name(number, suffix, name);
	return rig_path(r, name);
}

size_t files_in(const struct rig *r, const char *sub, const char *suffix)
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

bool opens(struct rig *r, struct err *e)
{
	*e = (struct err){ 0 };
	r->s = r->b->open(&r->conf, e);
	return r->s;
}

bool same_or_gone(struct rig *r, unsigned n, size_t body_bytes, enum spool_rcpt_state *ret)
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

void make_log(struct rig *r)
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

void check_rotten(struct rig *r)
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
