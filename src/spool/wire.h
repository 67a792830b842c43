/* spool/wire.h -- integers and texts as the spool's files hold them: little-endian, length first.
 */
#ifndef SPOOL_WIRE_H
#define SPOOL_WIRE_H

#include "base/buf.h"
#include "base/id.h"

static inline void put_int(struct buf *b, uint64_t v, unsigned bytes)
{
	char raw[8];

	for (unsigned i = 0; i < bytes; i++)
		raw[i] = (char)(v >> (8 * i));
	buf_add(b, slice(raw, bytes));
}

static inline void put_text(struct buf *b, struct slice s)
{
	b->failed |= s.n > UINT16_MAX;
	put_int(b, s.n, 2);
	buf_add(b, s);
}

static inline bool get_int(struct slice *in, unsigned bytes, uint64_t *ret)
{
	uint64_t v = 0;

	if (in->n < bytes)
		return false;
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
	slice_take(in, bytes);
	*ret = v;
	return true;
}

static inline bool get_u32(struct slice *in, uint32_t *ret)
{
	uint64_t v;

	if (!get_int(in, 4, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static inline bool get_text(struct slice *in, struct slice *ret)
{
	uint64_t n;

	if (!get_int(in, 2, &n) || n > in->n)
		return false;
	*ret = slice_take(in, (size_t)n);
	return true;
}

static inline bool get_id(struct slice *in, struct id *ret)
{
	if (in->n < sizeof ret->b)
		return false;
	memcpy(ret->b, slice_take(in, sizeof ret->b).p, sizeof ret->b);
	return true;
}

#endif
