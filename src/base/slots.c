#include "base/slots.h"

#include "base/must.h"

#include <stdlib.h>

#define NO_SLOT UINT32_MAX

struct slot {
	void *object; /* NULL: free */
	uint32_t age;
	uint32_t next_free;
};

void slots_init(struct slots *t, size_t max)
{
	MUST(max < NO_SLOT);
	*t = (struct slots){ .max = max, .free_head = NO_SLOT };
}

void slots_done(struct slots *t)
{
	free(t->at);
	slots_init(t, t->max);
}

bool slots_add(struct slots *t, void *object, struct ref *ret)
{
	struct slot *s;
	uint32_t i = t->free_head;

	MUST(object);
	if (i == NO_SLOT) {
		if (t->n == t->max)
			return false;
		if (t->n == t->cap) {
			size_t cap = t->cap ? t->cap * 2 : 64;
			struct slot *at = realloc(t->at, cap * sizeof *at);

			if (!at)
				return false;
			t->at = at;
			t->cap = cap;
		}
		i = (uint32_t)t->n++;
		t->at[i] = (struct slot){ 0 };
		s = &t->at[i];
	} else {
		s = &t->at[i];
		t->free_head = s->next_free;
	}
	if (++s->age == 0)
		s->age = 1;
	s->object = object;
	*ret = (struct ref){ i, s->age };
	return true;
}

void *slots_get(const struct slots *t, struct ref r)
{
	return r.slot < t->n && t->at[r.slot].age == r.age ? t->at[r.slot].object : NULL;
}

void slots_remove(struct slots *t, struct ref r)
{
	struct slot *s;

	MUST(slots_get(t, r));
	s = &t->at[r.slot];
	s->object = NULL;
	s->next_free = t->free_head;
	t->free_head = r.slot;
}

void *slots_each(const struct slots *t, size_t *at)
{
	while (*at < t->n) {
		void *object = t->at[(*at)++].object;

		if (object)
			return object;
	}
	return NULL;
}
