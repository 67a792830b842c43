/* account/test_impl.h -- what the test files of this room share. */
#ifndef ACCOUNT_TEST_IMPL_H
#define ACCOUNT_TEST_IMPL_H

#include "store/store.h"

struct fix {
	struct store *s;
	struct store_handle *h;
	struct arena a;
	struct err e;
};

/* cmocka fixtures: a memory store with the tables of this room. */
int account_fix_begin(void **state);
int account_fix_end(void **state);
void assert_kind(const struct err *e, enum err_kind kind);
/* The acts in the trail of an account since `from_ms`, one space behind each. */
void assert_trail(struct fix *f, uint64_t account, uint64_t from_ms, const char *acts);

#define OK(f, call)                                                                                \
	do {                                                                                       \
		if (!(call))                                                                       \
			fail_msg(#call ": %s", (f)->e.text);                                       \
	} while (0)
#define FAILS(f, wanted, call)                                                                     \
	do {                                                                                       \
		assert_false(call);                                                                \
		assert_kind(&(f)->e, wanted);                                                      \
	} while (0)

int key_tests(void);
int key_means_tests(void);
int network_tests(void);

#endif
