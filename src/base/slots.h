/* base/slots.h -- waiters hold numbers, not pointers.
 *
 * A table of live objects. A ref (slot and age) finds its object or, when that is gone, nothing:
 * ages are never reused within a slot. One thread owns a table. */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ref {
	uint32_t slot;
	uint32_t age; /* never 0 for a ref that was handed out */
};

struct slots {
	struct slot *at;
	size_t n, cap, max;
	uint32_t free_head;
};

/* max: live objects at most; at most UINT32_MAX - 1. */
void slots_init(struct slots *t, size_t max);
void slots_done(struct slots *t);
/* False when the table is full or memory is out. */
bool slots_add(struct slots *t, void *object, struct ref *ret);
void *slots_get(const struct slots *t, struct ref r);
void slots_remove(struct slots *t, struct ref r);
/* Every live object: *at starts at 0; NULL at the end. Removing the returned one is allowed. */
void *slots_each(const struct slots *t, size_t *at);

#endif
