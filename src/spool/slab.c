#include "spool/slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EACH 4096u

struct slab_chunk {
	uint32_t live, used, free_head; /* used: objects that were ever handed out */
	uint32_t next, before;          /* among the open ones */
	max_align_t data[];
};

void slab_init(struct slab *s, size_t size)
{
	*s = (struct slab){ .size = size, .open = SLAB_NONE };
}

/* From the kernel and back to it: an allocator would keep what a drained backlog leaves. */
static size_t chunk_bytes(const struct slab *s)
{
	return sizeof(struct slab_chunk) + EACH * s->size;
}

static struct slab_chunk *chunk_get(const struct slab *s)
{
	void *p =
	    mmap(NULL, chunk_bytes(s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void chunk_give_back(const struct slab *s, struct slab_chunk *ch)
{
	if (ch)
		munmap(ch, chunk_bytes(s));
}

void slab_done(struct slab *s)
{
	for (uint32_t i = 0; i < s->n_chunks; i++)
		chunk_give_back(s, s->chunks[i]);
	free(s->chunks);
	free(s->free_chunks);
	slab_init(s, s->size);
}

void *slab_at(const struct slab *s, uint32_t i)
{
	return (char *)s->chunks[i / EACH]->data + (size_t)(i % EACH) * s->size;
}

void *slab_from(const struct slab *s, uint32_t *i)
{
	for (uint32_t c = *i / EACH; c < s->n_chunks; *i = ++c * EACH)
		if (s->chunks[c])
			return slab_at(s, *i);
	return NULL;
}

static void open_list_add(struct slab *s, uint32_t c)
{
	s->chunks[c]->before = SLAB_NONE;
	s->chunks[c]->next = s->open;
	if (s->open != SLAB_NONE)
		s->chunks[s->open]->before = c;
	s->open = c;
}

static void open_list_remove(struct slab *s, uint32_t c)
{
	struct slab_chunk *ch = s->chunks[c];

	if (ch->before != SLAB_NONE)
		s->chunks[ch->before]->next = ch->next;
	else
		s->open = ch->next;
	if (ch->next != SLAB_NONE)
		s->chunks[ch->next]->before = ch->before;
}

static bool list_room(struct slab *s)
{
	uint32_t cap = s->cap_chunks ? s->cap_chunks * 2 : 16;
	struct slab_chunk **chunks;
	uint32_t *free_chunks;

	if (s->n_chunks < s->cap_chunks)
		return true;
	chunks = realloc(s->chunks, cap * sizeof(struct slab_chunk *));
	if (!chunks)
		return false;
	s->chunks = chunks;
	free_chunks = realloc(s->free_chunks, cap * sizeof *free_chunks);
	if (!free_chunks)
		return false;
	s->free_chunks = free_chunks;
	s->cap_chunks = cap;
	return true;
}

static bool add_chunk(struct slab *s)
{
	struct slab_chunk *ch;
	uint32_t c;

	if (!s->n_free_chunks && (s->n_chunks >= SLAB_MAX / EACH || !list_room(s)))
		return false;
	ch = chunk_get(s);
	if (!ch)
		return false;
	*ch = (struct slab_chunk){ .free_head = SLAB_NONE };
	c = s->n_free_chunks ? s->free_chunks[--s->n_free_chunks] : s->n_chunks++;
	s->chunks[c] = ch;
	s->bytes += chunk_bytes(s);
	open_list_add(s, c);
	return true;
}

bool slab_add(struct slab *s, uint32_t *ret)
{
	struct slab_chunk *ch;
	uint32_t i;

	if (s->open == SLAB_NONE && !add_chunk(s))
		return false;
	ch = s->chunks[s->open];
	if (ch->free_head != SLAB_NONE) {
		i = ch->free_head;
		memcpy(&ch->free_head, slab_at(s, i), sizeof ch->free_head);
	} else {
		i = s->open * EACH + ch->used++;
	}
	ch->live++;
	if (ch->free_head == SLAB_NONE && ch->used == EACH)
		open_list_remove(s, i / EACH);
	memset(slab_at(s, i), 0, s->size);
	*ret = i;
	return true;
}

void slab_drop(struct slab *s, uint32_t i)
{
	uint32_t c = i / EACH;
	struct slab_chunk *ch = s->chunks[c];

	if (ch->free_head == SLAB_NONE && ch->used == EACH)
		open_list_add(s, c);
	memcpy(slab_at(s, i), &ch->free_head, sizeof ch->free_head);
	ch->free_head = i;
	/* The only one with room is kept, so that a queue of one message costs no system call. */
	if (--ch->live || (s->open == c && ch->next == SLAB_NONE))
		return;
	open_list_remove(s, c);
	chunk_give_back(s, ch);
	s->chunks[c] = NULL;
	s->bytes -= chunk_bytes(s);
	s->free_chunks[s->n_free_chunks++] = c;
}
