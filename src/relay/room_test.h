/* relay/room_test.h -- what the test files of this room share. */
#ifndef RELAY_ROOM_TEST_H
#define RELAY_ROOM_TEST_H

#include "base/slice.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on

#define LEN(a) (sizeof(a) / sizeof(*(a)))

#define assert_slice(got, want)                                                                    \
	do {                                                                                       \
		struct slice got_ = (got), want_ = (want);                                         \
		if (!slice_eq(got_, want_))                                                        \
			fail_msg("got \"%.*s\", want \"%.*s\"", SLICE_ARG(got_),                   \
				 SLICE_ARG(want_));                                                \
	} while (0)

/* The n-th allocation of this program's own code from now on fails, and only that one; 0: none
 * does. */
void memory_fails_at(size_t n);
/* Whether it came to that. */
bool memory_failed(void);

int schedule_tests(void);
int schedule_mx_tests(void);
int schedule_change_tests(void);
int site_tests(void);
int mx_tests(void);
int bounce_tests(void);
int operate_tests(void);
int outcome_tests(void);
int route_tests(void);
int submit_head_tests(void);
int submit_tests(void);

#endif
