#include "spool/log_impl.h"

#include "base/auto.h"
#include "base/fault.h"
#include "ops/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

/* How often the free space is looked at: a bound on how far below the reserve puts can reach. */
#define LOOK_BYTES (8ull << 20)
#define LOOK_MS    250
/* Compaction begins when the log is longer than twice what lives in it, and this. */
#define SLACK_SEGMENTS 4
#define SHORT_SEGMENT  (1ull << 20) /* size of a new one while space is short */
#define RECORD_REST    512          /* bytes of a message's record besides its body, about */

static void drop_spares(struct spool *s)
{
	for (unsigned i = 0; i < SEGMENT_SPARES; i++) {
		char name[32];

		segment_spare_name(i, name);
		unlinkat(s->dir, name, 0);
	}
}

void log_look_at_space(struct spool *s)
{
	uint64_t now = clock_mono_ms();
	struct statvfs v;

	if (s->look_ms && now - s->look_ms < LOOK_MS && s->bytes_since_look < LOOK_BYTES &&
	    s->bytes_since_look < s->reserve_bytes / 8)
		return;
	s->look_ms = now;
	s->bytes_since_look = 0;
	if (fstatvfs(s->dir, &v))
		return;
	s->short_of_space = (uint64_t)v.f_bavail * v.f_frsize < s->reserve_bytes;
	ahead_short(s->ahead, s->short_of_space);
	if (s->short_of_space) {
		drop_spares(s);
		log_cut_yield(s);
	}
}

uint64_t log_disk_bytes(struct spool *s)
{
	uint64_t n = index_file_bytes(s->index);

	for (size_t i = 0; i < s->n_segments; i++)
		n += s->segments[i]->size;
	return n;
}

bool log_rotate(struct spool *s, struct err *e)
{
	struct segment *old = log_active(s);
	struct segment next = { .number = old->number + 1,
				.uuid = s->uuid,
				.first_sequence = s->sequence,
				.refs = 1,
				.fd = -1 };
	uint64_t size = s->segment_bytes;

	if (s->short_of_space && size > SHORT_SEGMENT)
		size = SHORT_SEGMENT;
	if (!segment_create(s->dir, &next, size, false, e))
		return false;
	if (!log_add_segment(s, &next)) {
		char name[32];

		/* It is the newest and empty: without it nothing is missing. */
		segment_name(next.number, "log", name);
		unlinkat(s->dir, name, 0);
		segment_close(&next);
		return err_set(e, ERR_LATER, "spool: out of memory");
	}
	FAULT_DIE("spool_rotated");
	s->asked_ahead = false;
	s->rotated_ms = clock_mono_ms();
	if (!ahead_summary(s->ahead, old, s->sequence, &s->facts))
		summary_write(s->dir, old, s->sequence, &s->facts);
	buf_clear(&s->facts);
	return true;
}

/* -- retirement -- */

static void retire_oldest(struct spool *s)
{
	struct segment *old = s->segments[0];
	bool keep;

	pthread_mutex_lock(&s->lock);
	s->n_segments--;
	memmove(s->segments, s->segments + 1, s->n_segments * sizeof(struct segment *));
	s->moved_to = 0;
	/* What somebody may be reading is not written to. */
	keep = old->refs == 1 && !old->handed_out && !s->short_of_space &&
	       old->size >= s->segment_bytes && old->size <= 2 * s->segment_bytes;
	pthread_mutex_unlock(&s->lock);
	FAULT_DIE("spool_retiring");
	ahead_forget(s->ahead, old->number);
	segment_retire(s->dir, old, keep);
	FAULT_DIE("spool_retired");
	log_let_go(s, old);
}

void log_retire_empty(struct spool *s, size_t max)
{
	while (max--) {
		bool empty;

		pthread_mutex_lock(&s->lock);
		empty = s->n_segments > 1 && s->segments[0]->live == 0 && !s->cut_linking;
		/* Drained: all at once. */
		max += empty && index_messages(s->index) == 0;
		pthread_mutex_unlock(&s->lock);
		if (!empty)
			return;
		retire_oldest(s);
	}
}

/* -- compaction -- */

bool log_too_long(struct spool *s)
{
	struct spool_count c;
	uint64_t length, live;

	if (s->n_segments < SLACK_SEGMENTS + 1)
		return false;
	pthread_mutex_lock(&s->lock);
	index_count(s->index, &c);
	length = log_disk_bytes(s) - index_file_bytes(s->index);
	live = c.bytes_live - index_file_bytes(s->index) + c.messages * RECORD_REST;
	pthread_mutex_unlock(&s->lock);
	return length > 2 * live + SLACK_SEGMENTS * s->segment_bytes;
}

/* Of a message that lives at this place: where the states of its deliveries stand. False: the
 * record there is not (any more) the message's. */
static bool lives_at(struct spool *s, const struct segment *seg, uint64_t from, struct id id,
		     struct place **ret_states, uint32_t *ret_n)
{
	struct entry *e;
	bool ok = false;

	pthread_mutex_lock(&s->lock);
	e = index_find(s->index, id);
	if (e && e->put.segment == seg->number && place_at(e->put) == from) {
		*ret_n = e->n_deliveries;
		*ret_states = ARENA_ARRAY(&s->scratch, struct place, e->n_deliveries);
		ok = *ret_states;
		for (uint32_t i = 0; ok && i < e->n_deliveries; i++)
			(*ret_states)[i] = index_delivery(s->index, e, i)->state;
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

enum moved { MOVED, MOVED_NOT, MOVED_UNSOUND };

static enum moved move_one(struct spool *s, struct scan *c, uint64_t from,
			   const struct record_header *h, struct slice meta,
			   const struct place *places, uint32_t n, uint64_t *at)
{
	struct slice kept = arena_dup(&s->scratch, meta);
	char *body = arena_alloc(&s->scratch, h->body_bytes ? (size_t)h->body_bytes : 1);
	struct record_state *states = ARENA_ARRAY(&s->scratch, struct record_state, n);
	uint32_t n_states = 0;

	if (!kept.p || !body || !states)
		return MOVED_NOT;
	if (!scan_body_sound(c, from, h))
		return c->error ? MOVED_NOT : MOVED_UNSOUND;
	if (!segment_read(c->segment->fd, from + RECORD_HEADER + h->meta_bytes, body,
			  (size_t)h->body_bytes))
		return errno == ENODATA ? MOVED_UNSOUND : MOVED_NOT;
	for (uint32_t i = 0; i < n; i++) {
		const struct segment *seg = log_segment(s, places[i].segment);
		struct err why = { .kind = ERR_DAMAGED };

		if (!places[i].segment)
			continue;
		if (!seg ||
		    !log_read_state(seg, place_at(places[i]), &s->scratch, &states[n_states], &why))
			return why.kind == ERR_LATER ? MOVED_NOT : MOVED_UNSOUND;
		n_states++;
	}
	return log_add_copy(s, h, kept, slice(body, (size_t)h->body_bytes), states, n_states, at)
		   ? MOVED
		   : MOVED_NOT;
}

/* Messages whose record was not met on the way through their segment: it has rotted away. */
static void condemn_rest(struct spool *s, uint32_t number)
{
	struct id ids[64];
	size_t n;

	do {
		struct entry *e;
		size_t at = 0;

		n = 0;
		pthread_mutex_lock(&s->lock);
		while (n < 64 && (e = index_each(s->index, &at)))
			if (e->put.segment == number && index_published(s->index, e))
				ids[n++] = e->id;
		pthread_mutex_unlock(&s->lock);
		for (size_t i = 0; i < n; i++)
			log_condemn(s, ids[i], "its record cannot be found any more");
	} while (n == 64);
}

/* A step of compaction, written along with a batch: at most so many bytes of the oldest segment
 * are looked at (and a message more). */
void log_move_some(struct spool *s, uint64_t bytes, uint64_t *at)
{
	struct segment *seg = s->segments[0];
	uint64_t stop;
	struct scan c;

	if (!s->moved_to)
		s->moved_to = SEGMENT_DATA;
	if (s->moved_to >= seg->end) {
		condemn_rest(s, seg->number);
		return;
	}
	stop = s->moved_to + bytes;
	scan_init(&c, seg);
	while (s->moved_to < seg->end && s->moved_to < stop) {
		struct batch_mark m = log_mark(s, *at);
		uint64_t from = s->moved_to;
		struct record_header h;
		struct place *places;
		struct slice meta;
		struct id id;
		uint32_t n;

		if (!scan_record(&c, from, &h, &meta)) {
			/* Set aside at the start, or rotten since: step over it. */
			from = scan_seek(&c, from + RECORD_ALIGN, 0, &h);
			if (c.error)
				break; /* as good as not looked at: the next batch does */
			s->moved_to = from == UINT64_MAX ? seg->end : from;
			continue;
		}
		if (h.type == RECORD_PUT && meta.n >= sizeof id.b) {
			memcpy(id.b, meta.p, sizeof id.b);
			if (lives_at(s, seg, from, id, &places, &n))
				switch (move_one(s, &c, from, &h, meta, places, n, at)) {
				case MOVED: break;
				case MOVED_NOT: /* unreadable, no memory: the next batch tries */
					log_undo(s, &m, at);
					scan_done(&c);
					return;
				case MOVED_UNSOUND:
					log_undo(s, &m, at);
					log_condemn(s, id,
						    "found unsound when its segment was cleared");
					break;
				}
		}
		s->moved_to = from + record_bytes(&h);
	}
	scan_done(&c);
}
