/* spool/salvage.c -- a new spool out of one whose structure is unsound.
 *
 * Reads the old one record by record, trusting neither summaries nor the numbering, changes
 * nothing in it, and copies what is sound with its outcomes. */
#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define BATCH_BYTES    (4u << 20)
#define BATCH_MESSAGES 1000

struct salvage {
	struct spool *from, *to;
	void (*damage)(void *arg, const struct spool_damage *);
	void *arg;
	struct spool_salvage count;
	uint64_t end; /* of the batch in the new spool */
};

static void on_damage(void *arg, const struct spool_damage *d)
{
	struct salvage *v = arg;

	v->count.lost++;
	if (v->damage)
		v->damage(v->arg, d);
}

static bool copy_bytes(int from, int to, uint32_t *ret_crc)
{
	AUTO_FREE char *block = malloc(256u << 10);
	uint64_t at = 0;

	*ret_crc = 0;
	for (;;) {
		ssize_t n = block ? pread(from, block, 256u << 10, (off_t)at) : -1;

		if (n < 0 && block && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		*ret_crc = crc32c(*ret_crc, slice(block, (size_t)n));
		if (!segment_write(to, at, block, (size_t)n))
			return false;
		at += (uint64_t)n;
	}
}

/* 1 copied, 0 unsound, -1 the new spool cannot take it. */
static int copy_file(struct salvage *v, struct id id, const struct record_put *p)
{
	AUTO_FD from = -1;
	AUTO_FD to = -1;
	uint32_t crc;
	char name[32];

	log_large_name(id, name);
	from = v->from->large < 0 ? -1
				  : openat(v->from->large, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0 || !segment_crc(from, p->file_at, p->file_bytes, &crc) || crc != p->file_crc)
		return 0;
	to = openat(v->to->large, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0 || !copy_bytes(from, to, &crc) || fsync(to))
		return -1;
	v->to->large_changed = true;
	return 1;
}

static bool lost(struct salvage *v, const struct segment *seg, uint64_t at, struct id id,
		 const char *reason)
{
	log_set_aside(v->from, seg, at, 0, &id, reason);
	return true;
}

static bool new_failed(struct err *e)
{
	return err_set(e, ERR_LATER, "spool: the new one: %s", strerror(errno));
}

static bool read_states(struct salvage *v, struct entry *en, struct record_state *states,
			uint32_t *ret_n)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < en->n_deliveries; i++) {
		struct place p = index_delivery(v->from->index, en, i)->state;
		const struct segment *seg = p.segment ? log_segment(v->from, p.segment) : NULL;

		if (p.segment && (!seg || !log_read_state(seg, place_at(p), &v->to->scratch,
							  &states[n++], NULL)))
			return false;
	}
	*ret_n = n;
	return true;
}

static bool copy_message(struct salvage *v, struct entry *en, struct err *e)
{
	const struct segment *seg = log_segment(v->from, en->put.segment);
	struct arena *a = &v->to->scratch;
	uint64_t at = place_at(en->put);
	struct batch_mark m = log_mark(v->to, v->end);
	struct record_state *states = ARENA_ARRAY(a, struct record_state, en->n_deliveries);
	struct record_header h;
	struct record_put p;
	struct slice meta;
	uint32_t n = 0;
	struct buf buf;
	char *body;
	int filed;

	buf_init(&buf, RECORD_META_MAX);
	if (!segment_record(seg, at, &h, &buf)) {
		buf_done(&buf);
		return lost(v, seg, at, en->id, "the record is unsound");
	}
	meta = arena_dup(a, buf_slice(&buf));
	buf_done(&buf);
	body = arena_alloc(a, h.body_bytes ? (size_t)h.body_bytes : 1);
	if (!meta.p || !body || !states)
		return err_set(e, ERR_LATER, "spool: out of memory");
	if (!record_put_read(meta, a, &p) ||
	    !segment_read(seg->fd, at + RECORD_HEADER + h.meta_bytes, body, (size_t)h.body_bytes) ||
	    crc32c(0, slice(body, (size_t)h.body_bytes)) != h.body_crc)
		return lost(v, seg, at, en->id, "the body is unsound");
	if (!read_states(v, en, states, &n))
		return lost(v, seg, at, en->id,
			    "an outcome is unsound: nobody knows who has it already");
	filed = p.body_in_file ? copy_file(v, en->id, &p) : 1;
	if (filed <= 0)
		return filed ? new_failed(e)
			     : lost(v, seg, at, en->id, "the body's file is unsound");
	if (!log_add_copy(v->to, &h, meta, slice(body, (size_t)h.body_bytes), states, n, &v->end)) {
		log_undo(v->to, &m, &v->end);
		return err_set(e, ERR_LATER, "spool: out of memory");
	}
	v->count.copied++;
	return true;
}

static bool flush(struct salvage *v, struct err *e)
{
	struct spool *to = v->to;

	if (to->n_pending && !log_commit_copies(to, v->end))
		return new_failed(e);
	log_clear_batch(to);
	if (log_active(to)->end > to->segment_bytes && !log_rotate(to, e))
		return false;
	v->end = log_active(to)->end;
	to->first = to->sequence;
	return true;
}

static bool copy_all(struct salvage *v, struct err *e)
{
	struct entry *en;
	size_t at = 0, n = 0;

	if (!flush(v, e))
		return false;
	while ((en = index_each(v->from->index, &at))) {
		if (!copy_message(v, en, e))
			return false;
		if ((++n % BATCH_MESSAGES == 0 || v->end - log_active(v->to)->end > BATCH_BYTES) &&
		    !flush(v, e))
			return false;
	}
	return flush(v, e);
}

static bool open_old(struct salvage *v, struct slice path, struct err *e)
{
	struct spool_conf conf = { .path = path };

	v->from = log_new(&conf, e);
	if (!v->from)
		return false;
	v->from->salvage = true;
	v->from->on_damage = on_damage;
	v->from->on_damage_arg = v;
	if (!log_open_dirs(v->from, path, false, e))
		return false;
	if (v->from->damaged_dir >= 0)
		(void)log_load_notes(v->from);
	/* Else the newest segment says, and that may be a stranger's. */
	(void)log_read_uuid(v->from);
	return log_recover(v->from, e);
}

bool spool_salvage(struct slice from, const struct spool_conf *to,
		   void (*damage)(void *arg, const struct spool_damage *), void *arg,
		   struct spool_salvage *ret, struct err *e)
{
	struct salvage v = { .damage = damage, .arg = arg };
	bool ok = open_old(&v, from, e);

	if (ok) {
		v.to = spool_segments.open(to, e);
		ok = v.to;
	}
	if (ok && (v.to->n_segments != 1 || log_active(v.to)->end != SEGMENT_DATA ||
		   log_active(v.to)->number != 1))
		ok = err_set(e, ERR_CONFLICT, "spool: %.*s is not new", SLICE_ARG(to->path));
	ok = ok && copy_all(&v, e);
	spool_segments.close(v.to);
	log_free(v.from);
	*ret = v.count;
	return ok;
}
