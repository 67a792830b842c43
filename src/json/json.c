#include "json/json.h"

#include <inttypes.h>
#include <jansson.h>

/* The tree is the library's; nobody else sees into it. */
static const json_t *in(const struct json *j)
{
	return (const json_t *)(const void *)j;
}

static const struct json *out(const json_t *j)
{
	return (const struct json *)(const void *)j;
}

/* The library recurses once a level and has no limit for values: both are looked at before it
 * starts. What is no JSON is counted wrong, and refused by the library. */
static bool affordable(struct slice text, struct err *e)
{
	size_t depth = 0, values = 1;
	bool quoted = false;

	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (c == '"')
			quoted = !quoted;
		else if (quoted && c == '\\')
			i++;
		else if (quoted)
			continue;
		else if (c == '{' || c == '[') {
			depth++;
			values++;
		} else if ((c == '}' || c == ']') && depth)
			depth--;
		else if (c == ',')
			values++;
		if (depth > JSON_DEPTH)
			return err_set(e, ERR_INPUT, "JSON: more than %d levels", JSON_DEPTH);
		if (values > JSON_VALUES)
			return err_set(e, ERR_INPUT, "JSON: more than %d values", JSON_VALUES);
	}
	return true;
}

/* The library's text without what it quotes of the input: that may be a secret. */
static bool explain(const json_error_t *why, struct err *e)
{
	const char *near = strstr(why->text, " near ");
	int n = near ? (int)(near - why->text) : (int)strlen(why->text);

	return err_set(e, ERR_INPUT, "JSON: line %d, column %d: %.*s", why->line, why->column, n,
		       why->text);
}

struct json *json_read(struct slice text, struct err *e)
{
	json_error_t why;
	json_t *j;

	/* The library takes one behind a number for nothing, and other readers do not. */
	if (text.n && memchr(text.p, '\0', text.n)) {
		err_set(e, ERR_INPUT, "JSON: a NUL byte");
		return NULL;
	}
	if (!affordable(text, e))
		return NULL;
	j = json_loadb(text.n ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		explain(&why, e);
	return (struct json *)(void *)j;
}

void json_free(struct json *j)
{
	json_decref((json_t *)(void *)j);
}

const struct json *json_get(const struct json *object, const char *name)
{
	return out(json_object_get(in(object), name));
}

size_t json_length(const struct json *j)
{
	return json_array_size(in(j));
}

const struct json *json_at(const struct json *j, size_t i)
{
	return out(json_array_get(in(j), i));
}

bool json_has_members(const struct json *j)
{
	return j && json_typeof(in(j)) == JSON_OBJECT;
}

bool json_as_text(const struct json *j, struct slice *ret)
{
	if (!j || json_typeof(in(j)) != JSON_STRING)
		return false;
	*ret = slice(json_string_value(in(j)), json_string_length(in(j)));
	return true;
}

bool json_as_number(const struct json *j, uint64_t *ret)
{
	if (!j || json_typeof(in(j)) != JSON_INTEGER || json_integer_value(in(j)) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(in(j));
	return true;
}

bool json_as_true(const struct json *j)
{
	return j && json_typeof(in(j)) == JSON_TRUE;
}

static bool absent(const struct json *object, const char *name, bool required, bool *ret_ok,
		   struct err *e)
{
	if (json_get(object, name))
		return false;
	*ret_ok = !required || err_set(e, ERR_INPUT, "\"%s\" is missing", name);
	return true;
}

bool json_want_text(const struct json *object, const char *name, bool required, struct slice *ret,
		    struct err *e)
{
	bool ok;

	if (absent(object, name, required, &ok, e))
		return ok;
	return json_as_text(json_get(object, name), ret) ||
	       err_set(e, ERR_INPUT, "\"%s\" is not a text", name);
}

bool json_want_number(const struct json *object, const char *name, bool required, uint64_t *ret,
		      struct err *e)
{
	bool ok;

	if (absent(object, name, required, &ok, e))
		return ok;
	return json_as_number(json_get(object, name), ret) ||
	       err_set(e, ERR_INPUT, "\"%s\" is not a whole number of 0 or more", name);
}

bool json_want_between(const struct json *object, const char *name, bool required, uint64_t min,
		       uint64_t max, uint64_t *ret, struct err *e)
{
	uint64_t v = min;

	if (!json_want_number(object, name, required, &v, e))
		return false;
	if (v < min || v > max)
		return err_set(e, ERR_INPUT, "\"%s\" is not between %" PRIu64 " and %" PRIu64, name,
			       min, max);
	if (json_get(object, name))
		*ret = v;
	return true;
}

bool json_want_bool(const struct json *object, const char *name, bool *ret, struct err *e)
{
	const struct json *j = json_get(object, name);

	if (!j)
		return true;
	if (!json_is_boolean(in(j)))
		return err_set(e, ERR_INPUT, "\"%s\" is neither true nor false", name);
	*ret = json_is_true(in(j));
	return true;
}

bool json_want_list(const struct json *object, const char *name, bool required,
		    const struct json **ret, struct err *e)
{
	bool ok;

	if (absent(object, name, required, &ok, e))
		return ok;
	if (!json_is_array(in(json_get(object, name))))
		return err_set(e, ERR_INPUT, "\"%s\" is not a list", name);
	*ret = json_get(object, name);
	return true;
}

bool json_want_object(const struct json *object, const char *name, bool required,
		      const struct json **ret, struct err *e)
{
	bool ok;

	if (absent(object, name, required, &ok, e))
		return ok;
	if (!json_has_members(json_get(object, name)))
		return err_set(e, ERR_INPUT, "\"%s\" is not an object", name);
	*ret = json_get(object, name);
	return true;
}

bool json_only(const struct json *object, const char *const names[], size_t n, struct err *e)
{
	const struct json *value;
	struct slice name;
	void *it = NULL;

	if (!json_has_members(object))
		return err_set(e, ERR_INPUT, "JSON: not an object");
	while (json_each(object, &it, &name, &value)) {
		size_t i = 0;

		while (i < n && !slice_eq(slice_str(names[i]), name))
			i++;
		if (i == n)
			return err_set(e, ERR_INPUT, "\"%.*s\" is not known",
				       (int)(name.n < 64 ? name.n : 64), name.p);
	}
	return true;
}

bool json_each(const struct json *object, void **it, struct slice *ret_name,
	       const struct json **ret_value)
{
	json_t *j = (json_t *)(void *)(uintptr_t)(const void *)object;

	*it = *it ? json_object_iter_next(j, *it) : json_object_iter(j);
	if (!*it)
		return false;
	*ret_name = slice_str(json_object_iter_key(*it));
	*ret_value = out(json_object_iter_value(*it));
	return true;
}
