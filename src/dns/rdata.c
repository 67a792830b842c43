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

/* -- messages -- */

#define HEADER   12
#define TYPE_NS  2
#define TYPE_SOA 6

static bool take16(struct slice *in, unsigned *ret)
{
	struct slice two;

	if (in->n < 2)
		return false;
	two = slice_take(in, 2);
	*ret = (unsigned)(unsigned char)two.p[0] << 8 | (unsigned char)two.p[1];
	return true;
}

/* RFC 1035 4.1.4: a name ends with an empty label or with a pointer. */
static bool skip_name(struct slice *in)
{
	while (in->n) {
		size_t length = (unsigned char)slice_take(in, 1).p[0];
		bool pointer = length > LABEL_MAX;

		if (!length)
			return true;
		if (pointer)
			length = 1;
		if (length > in->n)
			return false;
		slice_take(in, length);
		if (pointer)
			return true;
	}
	return false;
}

static bool skip_question(struct slice *in)
{
	return skip_name(in) && in->n >= 4 && slice_take(in, 4).n;
}

static bool skip_record(struct slice *in, unsigned *ret_type)
{
	unsigned length;

	if (!skip_name(in) || !take16(in, ret_type) || in->n < 6)
		return false;
	slice_take(in, 6); /* class, time to live */
	if (!take16(in, &length) || length > in->n)
		return false;
	slice_take(in, length);
	return true;
}

bool dns_refers(struct slice m)
{
	unsigned questions, answers, authority, type;
	bool sends_on = false;

	if (m.n < HEADER)
		return true;
	slice_take(&m, 4);
	take16(&m, &questions);
	take16(&m, &answers);
	take16(&m, &authority);
	slice_take(&m, 2);
	while (questions--)
		if (!skip_question(&m))
			return true;
	while (answers--)
		if (!skip_record(&m, &type))
			return true;
	while (authority--) {
		if (!skip_record(&m, &type))
			return true;
		if (type == TYPE_SOA)
			return false;
		sends_on |= type == TYPE_NS;
	}
	return sends_on;
}
