#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* A larger body is handed out as a descriptor. */
#define BODY_IN_MEMORY (1u << 20)

/* What the index knows of a message, copied out of the lock. */
struct known {
	struct place put;
	uint32_t n_deliveries;
	struct delivery *deliveries;
	struct spool_standing *standing;
};

static bool no_memory(struct err *e)
{
	return err_set(e, ERR_LATER, "out of memory");
}

/* Bytes that are not there are damage; a disk that does not answer may answer later. */
static bool unreadable(struct err *e, const char *what)
{
	if (errno == ENODATA)
		return err_set(e, ERR_DAMAGED, "%s: cut short", what);
	return err_set(e, ERR_LATER, "%s: %s", what, strerror(errno));
}

static bool look_up(struct spool *s, struct id id, struct arena *a, struct known *ret,
		    struct err *e)
{
	struct entry *en;
	bool ok = false;

	pthread_mutex_lock(&s->lock);
	en = index_find(s->index, id);
	if (en && !index_published(s->index, en))
		en = NULL;
	if (en) {
		*ret = (struct known){ en->put, en->n_deliveries,
				       ARENA_ARRAY(a, struct delivery, en->n_deliveries),
				       ARENA_ARRAY(a, struct spool_standing, en->n_deliveries) };
		ok = ret->deliveries && ret->standing;
		for (uint32_t i = 0; ok && i < ret->n_deliveries; i++) {
			ret->deliveries[i] = *index_delivery(s->index, en, i);
			index_standing(s->index, &ret->deliveries[i], &ret->standing[i]);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (!en)
		return err_set(e, ERR_ABSENT, "no such message");
	return ok || no_memory(e);
}

/* The record's meta in the arena. */
static bool read_meta(const struct segment *seg, uint64_t at, enum record_type type,
		      struct arena *a, struct record_header *h, struct slice *ret, struct err *e)
{
	char raw[RECORD_HEADER];
	char *meta;

	if (!segment_read(seg->fd, at, raw, sizeof raw))
		return unreadable(e, "record");
	if (!record_header_read(raw, seg->key, at, h) || h->type != type)
		return err_set(e, ERR_DAMAGED, "the record's header does not match its checksum");
	meta = arena_alloc(a, h->meta_bytes ? h->meta_bytes : 1);
	if (!meta)
		return no_memory(e);
	if (!segment_read(seg->fd, at + RECORD_HEADER, meta, h->meta_bytes))
		return unreadable(e, "record");
	*ret = slice(meta, h->meta_bytes);
	return crc32c(0, *ret) == h->meta_crc ||
	       err_set(e, ERR_DAMAGED, "the record does not match its checksum");
}

bool log_read_state(const struct segment *seg, uint64_t at, struct arena *a,
		    struct record_state *ret, struct err *e)
{
	struct record_header h;
	struct slice meta;

	if (!read_meta(seg, at, RECORD_STATE, a, &h, &meta, e))
		return false;
	if (!record_state_read(meta, a, ret))
		return a->failed ? no_memory(e)
				 : err_set(e, ERR_DAMAGED, "an outcome makes no sense");
	return true;
}

static bool load_state(struct spool *s, const struct delivery *dl, uint32_t number, struct arena *a,
		       struct spool_message *m, struct err *e)
{
	struct segment *seg = log_hold(s, dl->state.segment);
	struct record_state st = { 0 };
	bool ok;

	if (!seg)
		return err_set(e, ERR_ABSENT, "no such message"); /* settled while we looked */
	ok = log_read_state(seg, place_at(dl->state), a, &st, e);
	log_let_go(s, seg);
	if (!ok)
		return false;
	if (!id_eq(st.id, m->envelope.id) || st.delivery != number)
		return err_set(e, ERR_DAMAGED, "an outcome of another message");
	m->standing[number].tried_ms = st.tried_ms;
	m->standing[number].remote = st.remote;
	m->standing[number].held_ms = st.held_ms;
	m->standing[number].held_by = st.held_by;
	for (uint32_t v = 0; v < st.n_verdicts; v++) {
		struct spool_rcpt *r;

		if (st.verdicts[v].rcpt >= m->envelope.n_rcpts)
			return err_set(e, ERR_DAMAGED, "an outcome of no recipient");
		r = &m->envelope.rcpts[st.verdicts[v].rcpt];
		r->state = st.verdicts[v].state;
		r->told_delay = st.verdicts[v].told_delay;
		r->reply = st.verdicts[v].reply;
	}
	return true;
}

static bool load_states(struct spool *s, const struct known *k, struct arena *a,
			struct spool_message *m, struct err *e)
{
	m->next_ms = ARENA_ARRAY(a, uint64_t, k->n_deliveries);
	m->attempts = ARENA_ARRAY(a, uint32_t, k->n_deliveries);
	m->standing = k->standing;
	if (!m->next_ms || !m->attempts)
		return no_memory(e);
	for (uint32_t i = 0; i < k->n_deliveries; i++) {
		const struct delivery *dl = &k->deliveries[i];

		m->next_ms[i] = dl->pending ? dl->next_ms : UINT64_MAX;
		m->attempts[i] = dl->attempts;
		if (dl->state.segment && !load_state(s, dl, i, a, m, e))
			return false;
	}
	return true;
}

static bool load_file(struct spool *s, const struct record_put *p, struct spool_message *m,
		      struct err *e)
{
	AUTO_FD fd = -1;
	char name[32];
	uint32_t crc;

	log_large_name(m->envelope.id, name);
	fd = openat(s->large, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_DAMAGED, "the body's file is gone");
	if (fd < 0 || !segment_crc(fd, p->file_at, p->file_bytes, &crc))
		return unreadable(e, "the body's file");
	if (crc != p->file_crc)
		return err_set(e, ERR_DAMAGED, "the body's file does not match its checksum");
	m->content.fd_offset = p->file_at;
	m->content.fd_bytes = p->file_bytes;
	m->content.fd = fd_steal(&fd);
	return true;
}

/* A large body inside the segment: its file may from now on be read by the caller at any time. */
static bool hand_out(struct spool *s, struct segment *seg, uint64_t at, uint64_t bytes,
		     struct spool_message *m, struct err *e)
{
	char path[64];

	pthread_mutex_lock(&s->lock);
	seg->handed_out = true;
	pthread_mutex_unlock(&s->lock);
	snprintf(path, sizeof path, "/proc/self/fd/%d", seg->fd);
	m->content.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (m->content.fd < 0)
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	m->content.fd_offset = at;
	m->content.fd_bytes = bytes;
	return true;
}

static bool load_body(struct spool *s, struct segment *seg, uint64_t at,
		      const struct record_header *h, const struct record_put *p, struct arena *a,
		      struct spool_message *m, struct err *e)
{
	bool outside = !p->body_in_file && h->body_bytes - p->head_bytes > BODY_IN_MEMORY;
	size_t n = (size_t)(outside ? p->head_bytes : h->body_bytes);
	char *bytes = arena_alloc(a, n ? n : 1);
	uint32_t crc;

	if (!bytes)
		return no_memory(e);
	if (!segment_read(seg->fd, at, bytes, n))
		return unreadable(e, "body");
	crc = crc32c(0, slice(bytes, n));
	if (outside && !segment_crc(seg->fd, at, h->body_bytes, &crc))
		return unreadable(e, "body");
	if (crc != h->body_crc)
		return err_set(e, ERR_DAMAGED, "the body does not match its checksum");
	m->content.head = slice(bytes, (size_t)p->head_bytes);
	if (outside)
		return hand_out(s, seg, at + n, h->body_bytes - n, m, e);
	m->content.body = slice(bytes + p->head_bytes, n - (size_t)p->head_bytes);
	return true;
}

static bool load_record(struct spool *s, struct segment *seg, uint64_t at, struct id id,
			const struct known *k, bool content, struct arena *a,
			struct spool_message *m, struct err *e)
{
	struct record_header h;
	struct record_put p;
	struct slice meta;

	if (!read_meta(seg, at, RECORD_PUT, a, &h, &meta, e))
		return false;
	if (!record_put_read(meta, a, &p) || !id_eq(p.envelope.id, id) ||
	    p.head_bytes > h.body_bytes || p.envelope.n_deliveries != k->n_deliveries)
		return a->failed ? no_memory(e)
				 : err_set(e, ERR_DAMAGED, "the record makes no sense");
	m->envelope = p.envelope;
	m->envelope.size = p.body_in_file ? p.head_bytes + p.file_bytes : h.body_bytes;
	return !content || (load_body(s, seg, at + RECORD_HEADER + h.meta_bytes, &h, &p, a, m, e) &&
			    (!p.body_in_file || load_file(s, &p, m, e)));
}

void log_condemn(struct spool *s, struct id id, const char *reason)
{
	struct segment *seg = NULL;
	struct place put = { 0 };
	uint64_t bytes = 0;
	bool file = false;
	struct entry *e;
	char name[32];

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, id);
	if (e) {
		put = e->put;
		bytes = entry_size(e) + 4096;
		file = entry_in_file(s->index, e);
		seg = log_segment(s, put.segment);
		if (seg)
			seg->refs++;
		if (seg && bytes > seg->size - place_at(put))
			bytes = seg->size - place_at(put);
	}
	pthread_mutex_unlock(&s->lock);
	if (!seg)
		return;
	log_set_aside(s, seg, place_at(put), bytes, &id, reason);
	log_large_name(id, name);
	if (file && !s->salvage)
		renameat(s->large, name, s->damaged_dir, name);
	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, id);
	if (e) {
		struct segment *now = log_segment(s, e->put.segment);

		if (now)
			now->live--;
		index_remove(s->index, e);
	}
	pthread_mutex_unlock(&s->lock);
	log_let_go(s, seg);
}

static bool load(struct spool *s, struct id id, bool content, struct arena *a,
		 struct spool_message *ret, struct err *e)
{
	struct spool_message m = { .content.fd = -1 };
	struct err why = { 0 };

	/* What compaction moves between the look-up and the reading is looked up again. */
	for (int tries = 0; tries < 20; tries++) {
		struct known k = { 0 };
		struct segment *seg = NULL;

		why = (struct err){ 0 };
		if (!look_up(s, id, a, &k, &why))
			break;
		seg = log_hold(s, k.put.segment);
		if (!seg)
			continue;
		m = (struct spool_message){ .content.fd = -1 };
		if (load_record(s, seg, place_at(k.put), id, &k, content, a, &m, &why) &&
		    load_states(s, &k, a, &m, &why)) {
			log_let_go(s, seg);
			*ret = m;
			return true;
		}
		log_let_go(s, seg);
		if (m.content.fd >= 0)
			close(m.content.fd);
		if (why.kind != ERR_ABSENT)
			break;
	}
	if (why.kind == ERR_NONE)
		err_set(&why, ERR_LATER, "the message is being moved");
	if (why.kind == ERR_DAMAGED) {
		log_condemn(s, id, why.text);
		err_in(&why, "set aside");
	}
	if (e)
		*e = why;
	return false;
}

bool log_load(struct spool *s, struct id id, struct arena *a, struct spool_message *ret,
	      struct err *e)
{
	return load(s, id, true, a, ret, e);
}

bool log_look(struct spool *s, struct id id, struct arena *a, struct spool_message *ret,
	      struct err *e)
{
	return load(s, id, false, a, ret, e);
}
