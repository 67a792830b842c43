#include "base/xtext.h"

static int hex_upper(char c)
{
	return ascii_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool xtext_next(struct slice *in, unsigned char *ret)
{
	int hi, lo;

	if (!in->n || in->p[0] < '!' || in->p[0] > '~' || in->p[0] == '=')
		return false;
	if (in->p[0] != '+') {
		*ret = (unsigned char)slice_take(in, 1).p[0];
		return true;
	}
	hi = in->n >= 3 ? hex_upper(in->p[1]) : -1;
	lo = in->n >= 3 ? hex_upper(in->p[2]) : -1;
	if (hi < 0 || lo < 0)
		return false;
	slice_take(in, 3);
	*ret = (unsigned char)(hi << 4 | lo);
	return true;
}

bool xtext_decode(struct buf *out, struct slice in)
{
	size_t before = out->n;
	unsigned char c;

	while (xtext_next(&in, &c))
		buf_addc(out, (char)c);
	if (in.n || out->failed) {
		out->n = before;
		return false;
	}
	return true;
}

bool xtext_hexpoint(struct slice *in, uint32_t *ret)
{
	uint32_t v = 0;
	size_t i = 3;

	if (!slice_starts(*in, S("\\x{")))
		return false;
	for (; i < in->n && i < 9 && hex_upper(in->p[i]) >= 0; i++)
		v = v << 4 | (uint32_t)hex_upper(in->p[i]);
	if (i < 5 || i == in->n || in->p[i] != '}')
		return false;
	if (v < 0x20 || (v >= 0x7f && v < 0xa0) || (v >= 0xd800 && v < 0xe000) || v > 0x10ffff)
		return false;
	slice_take(in, i + 1);
	*ret = v;
	return true;
}

static void add_utf8(struct buf *out, uint32_t c)
{
	if (c < 0x80) {
		buf_addc(out, (char)c);
	} else if (c < 0x800) {
		buf_addc(out, (char)(0xc0 | c >> 6));
		buf_addc(out, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_addc(out, (char)(0xe0 | c >> 12));
		buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(out, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_addc(out, (char)(0xf0 | c >> 18));
		buf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(out, (char)(0x80 | (c & 0x3f)));
	}
}

void xtext_utf8_decode(struct buf *out, struct slice in)
{
	uint32_t c;

	while (in.n)
		if (xtext_hexpoint(&in, &c))
			add_utf8(out, c);
		else
			buf_add(out, slice_take(&in, 1));
}
