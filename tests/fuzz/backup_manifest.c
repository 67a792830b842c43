/* A backup's manifest: what is accepted holds what the header promises, and written again it is
 * read as the same; nothing that it names leads out of the backup. The first byte says whether the
 * last line is put right. */
#include "backup/manifest.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_names(const struct manifest *m)
{
	for (size_t i = 0; i < m->n_files; i++) {
		struct slice n = m->files[i].name;

		assert(manifest_name_ok(n) && n.p[0] != '/' && n.p[n.n] == '\0');
		assert(!slice_starts(n, S("../")) && !memchr(n.p, '\0', n.n));
		for (size_t k = 0; k + 3 < n.n; k++)
			assert(memcmp(n.p + k, "/../", 4) != 0);
		assert(!i || slice_cmp(m->files[i - 1].name, n) < 0);
	}
	for (size_t i = 0; i < m->n_absent; i++)
		assert(manifest_name_ok(m->absent[i].name));
}

static void write_again(const struct manifest *m)
{
	struct manifest back;
	struct err e = { 0 };
	struct arena a;
	struct buf b;

	arena_init(&a, 1 << 20);
	buf_init(&b, 1 << 20);
	manifest_begin(&b, m);
	for (size_t i = 0; i < m->n_files; i++)
		manifest_add(&b, &m->files[i]);
	for (size_t i = 0; i < m->n_absent; i++)
		manifest_add_absent(&b, &m->absent[i]);
	manifest_end(&b);
	assert(!b.failed && manifest_read(buf_slice(&b), &a, &back, &e));
	assert(back.n_files == m->n_files && back.n_absent == m->n_absent);
	assert(back.messages == m->messages && slice_eq(back.owner, m->owner));
	for (size_t i = 0; i < m->n_files; i++)
		assert(slice_eq(back.files[i].name, m->files[i].name) &&
		       back.files[i].bytes == m->files[i].bytes &&
		       !memcmp(back.files[i].sha256, m->files[i].sha256, DIGEST_SHA256));
	buf_done(&b);
	arena_done(&a);
}

static void read_one(struct slice text, size_t memory)
{
	struct manifest m;
	struct err e = { 0 };
	struct arena a;

	arena_init(&a, memory);
	if (manifest_read(text, &a, &m, &e)) {
		assert(slice_starts(text, S("signet-backup 1\n")));
		check_names(&m);
		(void)manifest_newer(m.program, S("0.1.0"));
		assert(!manifest_newer(S("0.1.0"), S("0.1.0")));
		write_again(&m);
	} else {
		assert(e.text[0]);
		assert(e.kind == ERR_DAMAGED || e.kind == ERR_CONFLICT || e.kind == ERR_LATER);
	}
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text;

	if (!size)
		return 0;
	buf_init(&text, 1 << 20);
	buf_add(&text, slice(data + 1, size - 1));
	if (data[0] != 'x')
		manifest_end(&text);
	read_one(buf_slice(&text), 1 << 20);
	read_one(buf_slice(&text), 256 + data[0] * 16u);
	buf_done(&text);
	return 0;
}
