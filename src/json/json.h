/* json/json.h -- JSON in (RFC 8259): a tree, read strictly.
 *
 * Refused: more than JSON_DEPTH levels or JSON_VALUES values, a name twice in one object, text that
 * is not UTF-8 or holds NUL, anything behind the value, a top that is neither object nor array, an
 * integer beyond 63 bits. The size of the text is the caller's to limit. Slices and values live as
 * long as the tree. Errors never quote the input's values. */
#ifndef JSON_JSON_H
#define JSON_JSON_H

#include "base/err.h"
#include "base/slice.h"

#define JSON_DEPTH  64
#define JSON_VALUES 262144 /* a value of two bytes costs about a hundred in memory */

struct json;

/* NULL: ERR_INPUT with line and column. json_free() it. */
struct json *json_read(struct slice text, struct err *e);
void json_free(struct json *); /* NULL is fine */

/* A member of an object, or NULL. */
const struct json *json_get(const struct json *object, const char *name);
/* Elements of an array; 0 and NULL for anything else. */
size_t json_length(const struct json *);
const struct json *json_at(const struct json *, size_t i);
bool json_has_members(const struct json *);
bool json_as_text(const struct json *, struct slice *ret);
bool json_as_number(const struct json *, uint64_t *ret); /* an integer >= 0 */
bool json_as_true(const struct json *);

/* A member that must have its type when it is there: false and ERR_INPUT naming the member
 * otherwise, or when it is missing and required. Missing leaves *ret as it was. */
bool json_want_text(const struct json *object, const char *name, bool required, struct slice *ret,
		    struct err *e);
bool json_want_number(const struct json *object, const char *name, bool required, uint64_t *ret,
		      struct err *e);
/* The same, and min <= number <= max. */
bool json_want_between(const struct json *object, const char *name, bool required, uint64_t min,
		       uint64_t max, uint64_t *ret, struct err *e);
bool json_want_bool(const struct json *object, const char *name, bool *ret, struct err *e);
/* An array, an object. */
bool json_want_list(const struct json *object, const char *name, bool required,
		    const struct json **ret, struct err *e);
bool json_want_object(const struct json *object, const char *name, bool required,
		      const struct json **ret, struct err *e);
/* It is an object and has no member but the n named: false and ERR_INPUT naming the first other. */
bool json_only(const struct json *object, const char *const names[], size_t n, struct err *e);
/* The names of an object's members, one after the other: *it begins NULL; false at the end. */
bool json_each(const struct json *object, void **it, struct slice *ret_name,
	       const struct json **ret_value);

#endif
