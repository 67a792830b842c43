#include "base/heap.h"

#include "base/must.h"

#include <stdlib.h>

void heap_done(struct heap *h)
{
	for (size_t i = 0; i < h->n; i++)
		h->nodes[i]->at = HEAP_OUT;
	free(h->nodes);
	*h = (struct heap){ 0 };
}

static void place(struct heap *h, size_t at, struct heap_node *node)
{
	h->nodes[at] = node;
	node->at = at;
}

static void up(struct heap *h, size_t at, struct heap_node *node)
{
	while (at && h->nodes[(at - 1) / 2]->key > node->key) {
		place(h, at, h->nodes[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(h, at, node);
}

static void down(struct heap *h, size_t at, struct heap_node *node)
{
	for (;;) {
		size_t child = at * 2 + 1;

		if (child >= h->n)
			break;
		if (child + 1 < h->n && h->nodes[child + 1]->key < h->nodes[child]->key)
			child++;
		if (h->nodes[child]->key >= node->key)
			break;
		place(h, at, h->nodes[child]);
		at = child;
	}
	place(h, at, node);
}

static void settle(struct heap *h, size_t at, struct heap_node *node)
{
	up(h, at, node);
	down(h, node->at, node);
}

bool heap_set(struct heap *h, struct heap_node *node, uint64_t key)
{
	if (node->at == HEAP_OUT) {
		if (h->n == h->cap) {
			size_t cap = h->cap ? h->cap * 2 : 64;
			struct heap_node **nodes = realloc(h->nodes, cap * sizeof *nodes);

			if (!nodes)
				return false;
			h->nodes = nodes;
			h->cap = cap;
		}
		node->at = h->n++;
	}
	node->key = key;
	settle(h, node->at, node);
	return true;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	size_t at = node->at;
	struct heap_node *last;

	if (at == HEAP_OUT)
		return;
	MUST(at < h->n && h->nodes[at] == node);
	last = h->nodes[--h->n];
	if (last != node)
		settle(h, at, last);
	node->at = HEAP_OUT;
}

struct heap_node *heap_min(const struct heap *h)
{
	return h->n ? h->nodes[0] : NULL;
}
