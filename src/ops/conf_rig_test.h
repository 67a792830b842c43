/* ops/conf_rig_test.h -- configurations in a directory of their own, for the tests of this room. */
#ifndef OPS_CONF_RIG_TEST_H
#define OPS_CONF_RIG_TEST_H

#include "ops/conf_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

extern char conf_dir[32]; /* of the group that runs */

int conf_set_up(void **state);
int conf_tear_down(void **state);
void conf_file(const char *name, const char *text);
void conf_gone(const char *name);

#define SMALLEST                                                                                   \
	"tls { certificate = {\"a.pem\"} key = {\"b.pem\"} }\n"                                    \
	"listener \"one\" { address = {\"127.0.0.1:587\"} }\n"

/* It must be one without a fault; from the file "c". conf_free(). */
const struct conf *read_text(const char *text);
void assert_slice(struct slice got, const char *want);

#endif
