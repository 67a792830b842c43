/* base/heap.h -- the next thing due: a binary heap of nodes that know their place.
 *
 * Nodes are embedded in what is scheduled and belong to the caller; the heap holds pointers.
 * A node that is in no heap has at == HEAP_OUT. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_OUT SIZE_MAX

struct heap_node {
	uint64_t key;
	size_t at;
};

struct heap {
	struct heap_node **nodes;
	size_t n, cap;
};

void heap_done(struct heap *h);
/* Adds, or moves a node that is in already. False when memory is out. */
bool heap_set(struct heap *h, struct heap_node *node, uint64_t key);
void heap_remove(struct heap *h, struct heap_node *node);
/* The node with the smallest key, still in the heap; NULL when empty. */
struct heap_node *heap_min(const struct heap *h);

#endif
