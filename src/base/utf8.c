#include "base/utf8.h"

/* Bytes of the sequence that begins at p (n left), or 0 when it is not well-formed. */
static size_t sequence(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80   ? 1
		     : p[0] < 0xc2 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4
				   : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

/* How many bytes at the front are ASCII; looks at eight at once, since nearly all text is. */
static size_t ascii_run(struct slice s)
{
	size_t i = 0;
	uint64_t w;

	for (; s.n - i >= sizeof w; i += sizeof w) {
		memcpy(&w, s.p + i, sizeof w);
		if (w & 0x8080808080808080)
			break;
	}
	while (i < s.n && (unsigned char)s.p[i] < 0x80)
		i++;
	return i;
}

bool utf8_valid(struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;

	for (size_t i = ascii_run(s); i < s.n;) {
		size_t len = sequence(p + i, s.n - i);

		if (!len)
			return false;
		i += len;
	}
	return true;
}

bool ascii_only(struct slice s)
{
	return ascii_run(s) == s.n;
}

bool has_control(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return true;
	return false;
}
