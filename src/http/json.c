#include "http/json.h"

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

/* The library recurses once a level: the depth is looked at before it does. */
static bool too_deep(struct slice text)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSON_DEPTH)
				return true;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return false;
}

struct json *json_read(struct slice text, struct err *e)
{
	json_error_t why;
	json_t *j;

	if (too_deep(text)) {
		err_set(e, ERR_INPUT, "JSON: more than %d levels", JSON_DEPTH);
		return NULL;
	}
	j = json_loadb(text.n ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
	if (!j)
		err_set(e, ERR_INPUT, "JSON: line %d, column %d: %s", why.line, why.column,
			why.text);
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

bool json_want_bool(const struct json *object, const char *name, bool *ret, struct err *e)
{
	const struct json *j = json_get(object, name);

	if (!j)
		return true;
	if (json_typeof(in(j)) != JSON_TRUE && json_typeof(in(j)) != JSON_FALSE)
		return err_set(e, ERR_INPUT, "\"%s\" is neither true nor false", name);
	*ret = json_typeof(in(j)) == JSON_TRUE;
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
