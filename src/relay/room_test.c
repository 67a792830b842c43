/* relay/room_test.c -- main() of the room's tests, and memory that runs out when told. */
#include "relay/room_test.h"

#include <stdlib.h>

/* The linker sends malloc() here (--wrap), from all objects of the program. */
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

static size_t left;

void memory_fails_at(size_t n)
{
	left = n;
}

bool memory_failed(void)
{
	return !left;
}

static bool out(void)
{
	return left && !--left;
}

void *__wrap_malloc(size_t n)
{
	return out() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return out() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return out() ? NULL : __real_realloc(p, n);
}

int main(void)
{
	return route_tests() + operate_tests() + outcome_tests() + bounce_tests() +
	       submit_head_tests() + submit_tests() + schedule_tests() + schedule_mx_tests() +
	       schedule_change_tests() + site_tests() + mx_tests();
}
