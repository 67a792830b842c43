/* account/test_impl.h -- what the test files of this room share. */
#ifndef ACCOUNT_TEST_IMPL_H
#define ACCOUNT_TEST_IMPL_H

#include "base/err_test.h"
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
/* The acts in the trail of an account since `from_ms`, one space behind each. */
void assert_trail(struct fix *f, uint64_t account, uint64_t from_ms, const char *acts);

int key_tests(void);
int key_means_tests(void);
int network_tests(void);

#endif
