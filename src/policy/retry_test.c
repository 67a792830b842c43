#include "policy/retry.h"

// clang-format off: cmocka needs what stands before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
// clang-format on

static const struct retry_config plain = { 60000, 2000, 14400000, 0, 432000000 };

static void test_growth(void **state)
{
	static const uint64_t want[] = { 60000,   120000,  240000,  480000,   960000,
					 1920000, 3840000, 7680000, 14400000, 14400000 };

	(void)state;
	for (uint32_t i = 0; i < sizeof want / sizeof *want; i++)
		assert_int_equal(retry_delay_ms(i, &plain, 12345), want[i]);
	assert_int_equal(retry_delay_ms(UINT32_MAX, &plain, 0), 14400000);
}

static void test_jitter(void **state)
{
	struct retry_config c = plain;

	(void)state;
	c.jitter_permille = 250;
	assert_int_equal(retry_delay_ms(0, &c, 0), 45000);
	assert_int_equal(retry_delay_ms(0, &c, UINT32_MAX), 75000);
	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t d = retry_delay_ms(3, &c, i * 4294967u);

		assert_in_range(d, 360000, 600000);
	}
	c.jitter_permille = 1000;
	assert_int_equal(retry_delay_ms(0, &c, 0), 1);
}

static void test_extremes(void **state)
{
	struct retry_config huge = { UINT64_MAX / 2, 10000, UINT64_MAX, 0, 1 };
	struct retry_config slow = { 10, 1001, 100, 0, 1 };
	struct retry_config constant = { 50, 1000, 100, 0, 1 };

	(void)state;
	assert_true(retry_delay_ms(5, &huge, 0) >= UINT64_MAX / 2);
	assert_int_equal(retry_delay_ms(200, &slow, 0), 100);
	assert_int_equal(retry_delay_ms(UINT32_MAX, &constant, 7), 50);
	constant.base_ms = 500;
	assert_int_equal(retry_delay_ms(0, &constant, 7), 100);
}

static void test_expiry(void **state)
{
	(void)state;
	assert_false(retry_expired(1000, 1000 + 432000000 - 1, &plain));
	assert_true(retry_expired(1000, 1000 + 432000000, &plain));
	assert_false(retry_expired(5000, 1000, &plain)); /* the clock was set back */
	assert_false(retry_expired(5000, 5000, &plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_expiry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
