/* mime/room_test.h -- the groups of this room's test program. */
#ifndef MIME_ROOM_TEST_H
#define MIME_ROOM_TEST_H

#include "base/slice.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on

int header_tests(void);
int address_tests(void);
int submit_tests(void);
int smtpapi_tests(void);
int compose_tests(void);
int dsn_tests(void);

#define assert_slice(got, want)                                                                    \
	do {                                                                                       \
		struct slice got_ = (got), want_ = (want);                                         \
		if (!slice_eq(got_, want_))                                                        \
			fail_msg("got \"%.*s\", want \"%.*s\"", SLICE_ARG(got_),                   \
				 SLICE_ARG(want_));                                                \
	} while (0)

#endif
