#include "dns/rdata.h"

#define LABEL_MAX 63

static bool host_byte(char c)
{
	return ascii_alpha(c) || ascii_digit(c) || c == '-' || c == '_';
}

static bool label_ok(struct slice label)
{
	for (size_t i = 0; i < label.n; i++)
		if (!host_byte(label.p[i]))
			return false;
	return label.n >= 1 && label.n <= LABEL_MAX;
}

static bool digits_only(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_digit(s.p[i]))
			return false;
	return true;
}

bool dns_host_name(struct slice name)
{
	struct slice label = { 0 };
	bool more = name.n && name.n <= DNS_NAME_MAX;

	if (!more)
		return false;
	while (more) {
		more = slice_cut(name, '.', &label, &name);
		if (!label_ok(label))
			return false;
	}
	return !digits_only(label);
}

/* RFC 1035 3.1: labels, each behind its length; the empty one is the end. A length with a high bit
 * would be a pointer or something newer: neither belongs into a record on its own. */
static enum dns_rdata read_name(struct slice wire, char *ret, size_t size)
{
	bool odd = false;
	size_t n = 0;

	for (;;) {
		size_t length;

		if (!wire.n)
			return RDATA_BAD;
		length = (unsigned char)slice_take(&wire, 1).p[0];
		if (!length)
			break;
		if (length > LABEL_MAX || length >= wire.n || n + length + 1 >= size)
			return RDATA_BAD;
		if (n)
			ret[n++] = '.';
		for (size_t i = 0; i < length; i++) {
			odd |= !host_byte(wire.p[i]);
			ret[n++] = ascii_lower(wire.p[i]);
		}
		slice_take(&wire, length);
	}
	ret[n] = '\0';
	if (wire.n)
		return RDATA_BAD;
	return odd || (n && !dns_host_name(slice(ret, n))) ? RDATA_ODD : RDATA_OK;
}

enum dns_rdata dns_mx_read(struct slice rdata, struct dns_mx *ret)
{
	const unsigned char *p = (const unsigned char *)rdata.p;

	*ret = (struct dns_mx){ 0 };
	if (rdata.n < 3)
		return RDATA_BAD;
	ret->preference = (uint16_t)(p[0] << 8 | p[1]);
	return read_name(slice_from(rdata, 2), ret->host, sizeof ret->host);
}

bool dns_a_read(struct slice rdata, unsigned char ret[16])
{
	if (rdata.n != 4)
		return false;
	memset(ret, 0, 10);
	memset(ret + 10, 0xff, 2);
	memcpy(ret + 12, rdata.p, 4);
	return true;
}

bool dns_aaaa_read(struct slice rdata, unsigned char ret[16])
{
	if (rdata.n != 16)
		return false;
	memcpy(ret, rdata.p, 16);
	return true;
}
