#include "policy/retry.h"

#include "policy/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
	assert_int_equal(retry_delay_ms(0, &huge, 0), UINT64_MAX / 2);
	assert_int_equal(retry_delay_ms(1, &huge, 0), UINT64_MAX);
	assert_int_equal(retry_delay_ms(5, &huge, 0), UINT64_MAX);
	assert_int_equal(retry_delay_ms(200, &slow, 0), 100);
	assert_int_equal(retry_delay_ms(UINT32_MAX, &constant, 7), 50);
	constant.base_ms = 500;
	assert_int_equal(retry_delay_ms(0, &constant, 7), 100);
}

static void test_saturation(void **state)
{
	struct retry_config all = { UINT64_MAX, 2000, UINT64_MAX, 1000, 1 };

	(void)state;
	assert_int_equal(retry_delay_ms(0, &all, UINT32_MAX), UINT64_MAX);
	assert_in_range(retry_delay_ms(0, &all, 0), 1, UINT32_MAX);
	assert_true(retry_delay_ms(3, &all, UINT32_MAX / 2) > UINT64_MAX / 4);
	all.jitter_permille = UINT32_MAX; /* is read as 1000 */
	assert_in_range(retry_delay_ms(0, &all, 0), 1, UINT32_MAX);
	all.jitter_permille = 500;
	assert_int_equal(retry_delay_ms(0, &all, UINT32_MAX), UINT64_MAX);
	all = (struct retry_config){ 0, 0, 0, 0, 0 };
	assert_int_equal(retry_delay_ms(9, &all, UINT32_MAX), 1);
}

/* Later attempts never wait less, nor do larger random numbers; nothing leaves its bounds. */
static void test_monotone(void **state)
{
	static const struct retry_config configs[] = {
		{ 1, 1001, 3600000, 100, 1 },
		{ 60000, 2000, 14400000, 250, 1 },
		{ 999, 1500, UINT64_MAX / 3, 1000, 1 },
		{ UINT64_MAX / 7, 4000000000u, UINT64_MAX, 500, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
		const struct retry_config *c = &configs[i];

		for (uint32_t random = 0; random < 0xf0000000u; random += 0x0fffffffu) {
			uint64_t last = 0;

			for (uint32_t attempt = 0; attempt < 300; attempt++) {
				uint64_t d = retry_delay_ms(attempt, c, random);

				assert_true(d >= last && d >= 1);
				assert_true(c->max_ms > UINT64_MAX / 2 || d <= 2 * c->max_ms);
				assert_true(d <= retry_delay_ms(attempt, c, random + 0x0fffffffu));
				last = d;
			}
		}
	}
}

static void test_expiry(void **state)
{
	(void)state;
	assert_false(retry_expired(1000, 1000 + 432000000 - 1, &plain));
	assert_true(retry_expired(1000, 1000 + 432000000, &plain));
	assert_false(retry_expired(5000, 1000, &plain)); /* the clock was set back */
	assert_false(retry_expired(5000, 5000, &plain));
	assert_false(retry_expired(UINT64_MAX, 0, &plain));
	assert_true(retry_expired(0, UINT64_MAX, &plain));
}

int retry_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_growth),   cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_extremes), cmocka_unit_test(test_saturation),
		cmocka_unit_test(test_monotone), cmocka_unit_test(test_expiry),
	};

	return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
