/* spool/recover.c -- what a start finds: summaries of the segments that are full, every record of
 * the last one; what is unsound is set aside, what is another spool's moved away.
 *
 * It changes nothing in a segment, so a second start after a crash, or a crash during a start,
 * finds the same. */
#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static bool no_memory(struct err *e)
{
	return err_set(e, ERR_LATER, "spool: out of memory");
}

/* -- records -- */

static void left(struct spool *s, struct place put)
{
	struct segment *from = log_segment(s, put.segment);

	if (from)
		from->live--;
}

/* bytes: of the record, for what is set aside. */
static bool apply_put(struct spool *s, struct segment *seg, const struct fact *f, uint64_t bytes,
		      struct err *e)
{
	struct index_message m = f->message;
	struct entry *en = index_find(s->index, m.id);

	if (log_is_aside(s, seg, f->at))
		return true;
	if (en && !f->moved) {
		log_set_aside(s, seg, f->at, bytes, &m.id, "a second record of a message");
		return true;
	}
	if (en) {
		/* Copied by compaction; the first copy's segment is not out of use yet. */
		left(s, en->put);
		en->put = place_of(seg, f->at);
	} else {
		m.put = place_of(seg, f->at);
		en = index_add(s->index, &m);
		if (!en)
			return no_memory(e);
		index_publish(s->index, en);
	}
	seg->live++;
	return true;
}

static void apply_state(struct spool *s, struct segment *seg, const struct fact *f)
{
	/* Of a message that is gone: its put lay in a segment that is out of use. */
	struct entry *en = index_find(s->index, f->id);
	struct delivery *dl = en ? index_delivery(s->index, en, f->delivery) : NULL;

	if (!dl)
		return;
	dl->state = place_of(seg, f->at);
	if (index_settle(s->index, en, f->delivery,
			 &(struct index_outcome){ .next_ms = f->next_ms,
						  .attempts = f->attempts,
						  .pending = f->pending,
						  .failed = f->failed,
						  .held = f->held })) {
		left(s, en->put);
		index_remove(s->index, en);
	}
}

static bool apply(struct spool *s, struct segment *seg, const struct fact *f, uint64_t bytes,
		  struct err *e)
{
	if (f->type == RECORD_PUT)
		return apply_put(s, seg, f, bytes, e);
	apply_state(s, seg, f);
	return true;
}

/* A body is checked when it is loaded; here only in the last segment, where a crash may have
 * left a record whose front reached the disk and whose body did not. */
static bool whole(struct scan *c, uint64_t at, const struct record_header *h, bool last)
{
	return !last || scan_body_sound(c, at, h);
}

static bool apply_record(struct spool *s, struct segment *seg, uint64_t at,
			 const struct record_header *h, struct slice meta, struct err *e)
{
	struct fact f;

	if (h->type == RECORD_CLOSED)
		return true;
	arena_done(&s->scratch);
	if (!fact_of_record(h, at, meta, &s->scratch, &f)) {
		if (s->scratch.failed)
			return no_memory(e);
		log_set_aside(s, seg, at, record_bytes(h), NULL, "a record that makes no sense");
		return true;
	}
	fact_write(&s->facts, &f);
	return apply(s, seg, &f, record_bytes(h), e);
}

static uint64_t next_sound(struct spool *s, struct scan *c, uint64_t at, bool last,
			   struct record_header *ret)
{
	do
		at = scan_seek(c, at + RECORD_ALIGN, s->sequence, ret);
	while (at != UINT64_MAX && !whole(c, at, ret, last));
	return at;
}

/* The id of a message whose record is sound in front and not behind. */
static bool id_at(struct scan *c, uint64_t at, struct id *ret)
{
	struct record_header h;
	struct slice meta;

	if (!scan_record(c, at, &h, &meta) || h.type != RECORD_PUT || meta.n < sizeof ret->b)
		return false;
	memcpy(ret->b, meta.p, sizeof ret->b);
	return true;
}

static bool cannot_read(const struct segment *seg, int why, struct err *e)
{
	char name[32];

	if (why == ENOMEM)
		return no_memory(e);
	segment_name(seg->number, "log", name);
	return err_set(e, ERR_LATER, "spool: %s: %s; if that stays so, try: signet spool salvage",
		       name, strerror(why));
}

static bool read_records(struct spool *s, struct segment *seg, struct scan *c, bool last,
			 struct err *e)
{
	uint64_t at = SEGMENT_DATA;

	for (;;) {
		struct record_header h;
		struct slice meta;
		struct id id;
		bool known;
		uint64_t next;

		/* Once more, because checking a body may take the place of the meta in the block.
		 */
		if (scan_record(c, at, &h, &meta) && h.sequence >= s->sequence &&
		    whole(c, at, &h, last) && scan_record(c, at, &h, &meta)) {
			if (!apply_record(s, seg, at, &h, meta, e))
				return false;
			s->sequence = h.sequence + 1;
			at += record_bytes(&h);
			seg->end = at;
			continue;
		}
		/* The end, or a commit that a crash cut short? Then nothing sound follows. */
		next = next_sound(s, c, at, last, &h);
		known = next != UINT64_MAX && id_at(c, at, &id);
		/* What cannot be read now may be sound: to write over it, or to set it aside, would
		 * be to lose it. */
		if (c->error)
			return cannot_read(seg, c->error, e);
		if (next == UINT64_MAX)
			return true;
		log_set_aside(
		    s, seg, at, next - at, known ? &id : NULL,
		    h.sequence - h.back <= s->sequence
			? "unsound bytes within a commit: cut short by a crash, or damaged"
			: "unsound bytes before sound records");
		at = next;
	}
}

static bool read_summary(struct spool *s, struct segment *seg, struct err *e)
{
	uint64_t next;
	struct slice in;

	if (!summary_read(s->dir, seg, &s->facts, &next))
		return false;
	for (in = buf_slice(&s->facts); in.n;) {
		struct fact f;

		arena_done(&s->scratch);
		/* It was sound, so we wrote it: only memory can fail. */
		if (!fact_read(&in, &s->scratch, &f))
			return no_memory(e);
		/* The bytes are not known here; its neighbourhood will do as evidence. */
		if (!apply(s, seg, &f, seg->end - f.at < 4096 ? seg->end - f.at : 4096, e))
			return false;
	}
	s->sequence = next;
	return true;
}

static bool read_segment(struct spool *s, struct segment *seg, bool last, struct err *e)
{
	struct err why = { 0 };
	struct scan c;
	bool ok;

	/* Salvage trusts nothing but records. */
	if (!last && !s->salvage) {
		if (read_summary(s, seg, &why))
			return true;
		if (why.kind != ERR_NONE) {
			*e = why;
			return false;
		}
	}
	buf_clear(&s->facts);
	scan_init(&c, seg);
	c.patchy = s->salvage;
	ok = read_records(s, seg, &c, last || s->salvage, e);
	scan_done(&c);
	if (ok && !last && !s->salvage)
		summary_write(s->dir, seg, s->sequence, &s->facts);
	return ok;
}

/* -- the directory -- */

static void foreign(struct spool *s, const char *name, const char *reason)
{
	char where[100];

	snprintf(where, sizeof where, "foreign-%.80s", name);
	for (char *p = where; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '/')
			*p = '?';
	log_note(s, where, reason, NULL);
}

static bool is_ours(const char *name)
{
	static const char *const known[] = { ".",          "..",       "lock",
					     "large",      "damaged",  "new.log",
					     "ahead.log",  "spool.id", "spool.id.new",
					     SPOOL_CUT_DIR };
	uint32_t number;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(name, known[i]))
			return true;
	for (unsigned i = 0; i < SEGMENT_SPARES; i++) {
		char spare[32];

		segment_spare_name(i, spare);
		if (!strcmp(name, spare))
			return true;
	}
	return segment_number(name, "sum", &number);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The numbers of all segments, rising; the caller frees. */
static bool find_segments(struct spool *s, uint32_t **ret, size_t *ret_n, struct err *e)
{
	int fd = openat(s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t cap = 0, n = 0;
	void *at = NULL;
	struct dirent *de;
	bool ok = true;
	int why;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(errno));
	}
	/* A name that is missed would be a segment whose number is given away again. */
	for (errno = 0; ok && (de = readdir(d)); errno = 0) {
		uint32_t number;

		if (!segment_number(de->d_name, "log", &number)) {
			if (!is_ours(de->d_name))
				foreign(s, de->d_name, "a file that is not ours");
			continue;
		}
		ok = log_grow(&at, &cap, n + 1, sizeof **ret);
		if (ok)
			((uint32_t *)at)[n++] = number;
	}
	why = ok ? errno : ENOMEM;
	closedir(d);
	if (why) {
		free(at);
		return err_set(e, ERR_LATER, "spool: %s: %s", s->path, strerror(why));
	}
	if (n)
		qsort(at, n, sizeof **ret, by_number);
	*ret = at;
	*ret_n = n;
	return true;
}

/* A stranger may hold somebody's mail, and its number may be the next of ours. */
static bool move_away(struct spool *s, const char *name, const struct segment *seg, struct err *e)
{
	char to[64];

	snprintf(to, sizeof to, "foreign-%s-%08x", name, (unsigned)siphash(seg->key, S("aside")));
	return s->salvage || !renameat(s->dir, name, s->damaged_dir, to) ||
	       err_set(e, ERR_LATER, "spool: %s: %s", name, strerror(errno));
}

/* Opens one; one that is not of this spool, or (for salvage) unsound, is passed over. */
static bool open_one(struct spool *s, uint32_t number, struct err *e)
{
	struct segment seg = { .fd = -1 };
	struct err why = { 0 };
	char name[32];

	segment_name(number, "log", name);
	if (!segment_open(s->dir, number, &seg, &why)) {
		if (!s->salvage) {
			*e = why;
			return false;
		}
		log_note(s, name,
			 why.kind == ERR_DAMAGED
			     ? "the segment's header is unsound: nothing in it can be told"
			     : "the segment's header cannot be read",
			 NULL);
		return true;
	}
	if (memcmp(&seg.uuid, &s->uuid, sizeof seg.uuid) || seg.number != number) {
		bool ok = move_away(s, name, &seg, e);

		foreign(s, name,
			seg.number == number ? "a segment of another spool"
					     : "a copy of another segment");
		segment_close(&seg);
		return ok;
	}
	if (seg.half)
		log_note(s, name, "one of the segment's two headers is unsound; the other serves",
			 NULL);
	if (!log_add_segment(s, &seg)) {
		segment_close(&seg);
		return no_memory(e);
	}
	return true;
}

/* An old spool whose spool.id is lost: its newest sound segment says whose it is. */
static void guess_uuid(struct spool *s, const uint32_t *numbers, size_t n)
{
	static const struct spool_uuid none;

	while (n-- > 0 && !memcmp(&s->uuid, &none, sizeof none)) {
		struct segment seg = { .fd = -1 };

		if (segment_open(s->dir, numbers[n], &seg, NULL)) {
			s->uuid = seg.uuid;
			segment_close(&seg);
		}
	}
}

static bool open_segments(struct spool *s, struct err *e)
{
	uint32_t *numbers = NULL;
	size_t n = 0;
	bool ok = find_segments(s, &numbers, &n, e);

	if (ok)
		guess_uuid(s, numbers, n);
	for (size_t i = 0; ok && i < n; i++)
		ok = open_one(s, numbers[i], e);
	free(numbers);
	for (size_t i = 1; ok && i < s->n_segments; i++) {
		uint32_t before = s->segments[i - 1]->number, now = s->segments[i]->number;
		char where[64];

		if (now == before + 1)
			continue;
		snprintf(where, sizeof where, "seg-%08x..%08x", before + 1, now - 1);
		if (!s->salvage)
			return err_set(
			    e, ERR_DAMAGED,
			    "spool: missing between other segments: %s; try: signet spool salvage",
			    where);
		log_note(s, where, "missing between other segments", NULL);
	}
	return ok;
}

/* Bodies whose message never became durable, or was settled just before the crash. While
 * something is set aside, a body may belong to that: nothing is dropped then. */
static void drop_orphans(struct spool *s)
{
	int fd = s->n_damage || s->salvage
		     ? -1
		     : openat(s->large, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(d))) {
		struct entry *en;
		struct id id;

		if (!id_parse(slice_str(de->d_name), &id))
			continue;
		en = index_find(s->index, id);
		if (!en || !entry_in_file(s->index, en))
			unlinkat(s->large, de->d_name, 0);
	}
	closedir(d);
}

/* What a killed process wrote and did not sync is only in the page cache, and after a failed sync
 * the cache may hold what the disk does not: make the two one before anything is believed. */
static bool settle_cache(const struct segment *seg, struct err *e)
{
	if (fdatasync(seg->fd))
		return err_set(e, ERR_LATER, "spool: sync: %s", strerror(errno));
	(void)posix_fadvise(seg->fd, 0, 0, POSIX_FADV_DONTNEED);
	return true;
}

bool log_recover(struct spool *s, struct err *e)
{
	if (!open_segments(s, e))
		return false;
	if (s->n_segments && !s->salvage && !settle_cache(log_active(s), e))
		return false;
	for (size_t i = 0; i < s->n_segments; i++) {
		struct segment *seg = s->segments[i];

		if (i == 0)
			s->sequence = seg->first_sequence;
		if (seg->first_sequence > s->sequence) {
			struct segment *before = s->segments[i - 1];

			log_set_aside(s, before, before->end, before->size - before->end, NULL,
				      "records at the end of a segment are unsound");
			s->sequence = seg->first_sequence;
		}
		if (!read_segment(s, seg, i + 1 == s->n_segments, e))
			return false;
		FAULT_DIE("spool_recovering");
	}
	drop_orphans(s);
	FAULT_DIE("spool_recovered");
	return true;
}
