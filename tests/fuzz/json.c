/* JSON in and out: what is read is within its limits, and written out and read again says the same;
 * asking for members gives an answer or one clean error; any bytes as a text come out as JSON. */
#include "json/json.h"
#include "base/jsonout.h"
#include "base/utf8.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_value(struct json_out *out, const struct json *j, unsigned depth);

static void write_members(struct json_out *out, const struct json *j, unsigned depth)
{
	const struct json *value;
	struct slice name;
	uint64_t at;
	void *it = NULL;

	json_open(out);
	while (json_each(j, &it, &name, &value)) {
		assert(utf8_valid(name) && (!name.n || !memchr(name.p, '\0', name.n)));
		assert(json_get(j, name.p) == value);
		if (slice_eq(name, S("t")) && json_as_number(value, &at)) {
			json_ktime(out, "t", at % 253402300800000u);
			continue;
		}
		json_key(out, name.p);
		write_value(out, value, depth + 1);
	}
	json_close(out);
}

static void write_value(struct json_out *out, const struct json *j, unsigned depth)
{
	struct slice text;
	uint64_t number;

	assert(j && depth <= JSON_DEPTH);
	if (json_as_text(j, &text)) {
		assert(utf8_valid(text) && (!text.n || !memchr(text.p, '\0', text.n)));
		json_str(out, text);
	} else if (json_as_number(j, &number)) {
		json_num(out, number);
	} else if (json_has_members(j)) {
		write_members(out, j, depth);
	} else if (json_length(j)) {
		json_open_list(out);
		for (size_t i = 0; i < json_length(j); i++)
			write_value(out, json_at(j, i), depth + 1);
		json_close_list(out);
	} else {
		/* null: and false, a real or negative number, an empty list. */
		if (json_as_true(j))
			json_bool(out, true);
		else
			json_null(out);
	}
}

static void want(bool ok, const struct err *e)
{
	assert(ok || (e->kind == ERR_INPUT && e->text[0] && !has_control(slice_str(e->text))));
}

/* Each question an endpoint asks; the names are in the dictionary. */
static void ask(const struct json *j, bool required)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "t" };
	struct slice text = S("unset");
	uint64_t n = 5, between = 7;
	const struct json *list = NULL, *object = NULL;
	struct err e = { 0 };
	bool yes = false, ok;

	ok = json_want_text(j, "a", required, &text, &e);
	want(ok, &e);
	assert(ok || slice_eq(text, S("unset")));
	assert(!required || !ok || json_get(j, "a"));
	ok = json_want_number(j, "b", required, &n, &e);
	want(ok, &e);
	assert(ok || n == 5);
	ok = json_want_between(j, "c", required, 2, 9, &between, &e);
	want(ok, &e);
	assert(between >= 2 && between <= 9);
	ok = json_want_bool(j, "d", &yes, &e);
	want(ok, &e);
	ok = json_want_list(j, "e", required, &list, &e);
	want(ok, &e);
	assert(ok || !list);
	ok = json_want_object(j, "f", required, &object, &e);
	want(ok, &e);
	assert(!object || json_has_members(object));
	want(json_only(j, names, sizeof names / sizeof *names, &e), &e);
	assert(!json_at(j, json_length(j)));
}

/* What is no UTF-8 becomes U+FFFD: it is JSON whatever came in. */
static void write_raw(struct slice bytes)
{
	struct json_out out;
	struct err e = { 0 };
	struct json *j;
	struct buf text;
	struct slice back;

	buf_init(&text, 1 << 20);
	json_begin(&out, &text);
	json_open_list(&out);
	json_str(&out, bytes);
	json_bool(&out, bytes.n & 1);
	json_close_list(&out);
	assert(!text.failed && utf8_valid(buf_slice(&text)) && !has_control(buf_slice(&text)));
	assert(!ascii_only(bytes) || ascii_only(buf_slice(&text)));
	j = json_read(buf_slice(&text), &e);
	/* Only NUL does not come in again. */
	assert(j || memchr(bytes.p, '\0', bytes.n));
	if (j && utf8_valid(bytes))
		assert(json_as_text(json_at(j, 0), &back) && slice_eq(back, bytes));
	json_free(j);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = { 0 };
	struct json *j = json_read(slice(data, size), &e);
	struct json_out out;
	struct buf first, second;

	if (size)
		write_raw(slice(data, size));
	if (!j) {
		assert(e.kind == ERR_INPUT && e.text[0] && !has_control(slice_str(e.text)));
		return 0;
	}
	ask(j, size & 1);
	buf_init(&first, 1 << 24);
	buf_init(&second, 1 << 24);
	json_begin(&out, &first);
	if (json_has_members(j) || json_length(j)) {
		write_value(&out, j, 0);
		json_free(j);
		j = json_read(buf_slice(&first), &e);
		assert(j);
		json_begin(&out, &second);
		write_value(&out, j, 0);
		assert(slice_eq(buf_slice(&first), buf_slice(&second)));
	}
	json_free(j);
	buf_done(&first);
	buf_done(&second);
	return 0;
}
