/* JSON in: what is read is within its limits, and written out and read again says the same. */
#include "http/json.h"
#include "base/jsonout.h"
#include "base/utf8.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_value(struct json_out *out, const struct json *j, unsigned depth);

static void write_members(struct json_out *out, const struct json *j, unsigned depth)
{
	const struct json *value;
	struct slice name;
	void *it = NULL;

	json_open(out);
	while (json_each(j, &it, &name, &value)) {
		assert(utf8_valid(name) && (!name.n || !memchr(name.p, '\0', name.n)));
		assert(json_get(j, name.p) == value);
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
	} else if (json_as_true(j)) {
		json_bool(out, true);
	} else {
		json_null(out); /* false, null, a real or negative number, an empty list */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = { 0 };
	struct json *j = json_read(slice(data, size), &e);
	struct json_out out;
	struct buf first, second;

	if (!j) {
		assert(e.kind == ERR_INPUT && e.text[0] && !has_control(slice_str(e.text)));
		return 0;
	}
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
