/* base/err_test.h -- the tests' words for calls that say why they fail. `f` is a test's fixture,
 * which has a `struct err e` that the call was given. */
#ifndef BASE_ERR_TEST_H
#define BASE_ERR_TEST_H

#include "base/err.h"

#define assert_err(got, wanted)                                                                    \
	do {                                                                                       \
		const struct err *e_ = (got);                                                      \
		if (e_->kind != (wanted))                                                          \
			fail_msg("%s, not %s: %s", err_kind_name(e_->kind), err_kind_name(wanted), \
				 e_->text);                                                        \
	} while (0)
#define OK(f, call)                                                                                \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_msg(#call ": %s", (f)->e.text);                                       \
	} while (0)
#define FAILS(f, wanted, call)                                                                     \
	do {                                                                                       \
		assert_false(call);                                                                \
		assert_err(&(f)->e, wanted);                                                       \
	} while (0)

#endif
