#include "base/id.h"

#include "base/b64.h"

struct id id_make(uint64_t unix_ms, const unsigned char random[10])
{
	struct id id;

	for (int i = 0; i < 6; i++)
		id.b[i] = (unsigned char)(unix_ms >> (40 - 8 * i));
	memcpy(id.b + 6, random, 10);
	return id;
}

void id_add(struct buf *out, struct id id)
{
	b64url_encode(out, slice(id.b, sizeof id.b));
}

bool id_parse(struct slice text, struct id *ret)
{
	struct id id;

	if (!b64url_decode(id.b, sizeof id.b, text))
		return false;
	*ret = id;
	return true;
}

bool id_eq(struct id a, struct id b)
{
	return memcmp(a.b, b.b, sizeof a.b) == 0;
}

int id_cmp(struct id a, struct id b)
{
	return memcmp(a.b, b.b, sizeof a.b);
}

uint64_t id_time(struct id id)
{
	uint64_t ms = 0;

	for (int i = 0; i < 6; i++)
		ms = ms << 8 | id.b[i];
	return ms;
}
