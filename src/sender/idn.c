/* sender/idn.c -- the only file that knows libidn2. */
#include "sender/idn_impl.h"

#include "base/utf8.h"

#include <idn2.h>

#include <stdlib.h>

static size_t dots(struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '.';
	return n;
}

bool idn_to_ascii(struct slice name, struct buf *out, struct err *e)
{
	char in[IDN_INPUT_MAX + 1], *ascii = NULL;
	int rc;

	if (!name.n || name.n > IDN_INPUT_MAX || !utf8_valid(name) || has_control(name))
		return err_set(e, ERR_INPUT, "not a domain name");
	memcpy(in, name.p, name.n);
	in[name.n] = 0;
	rc = idn2_to_ascii_8z(in, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (rc != IDN2_OK)
		return err_set(e, rc == IDN2_MALLOC ? ERR_LATER : ERR_INPUT,
			       "not a domain name: %s", idn2_strerror(rc));
	/* UTS 46 also reads other full stops as dots. Who reads the address later may not, so a
	 * name whose labels depend on that is none. */
	if (dots(slice_str(ascii)) != dots(name)) {
		idn2_free(ascii);
		return err_set(e, ERR_INPUT, "not a domain name: a dot that is not \".\"");
	}
	buf_add(out, slice_str(ascii));
	idn2_free(ascii);
	return !out->failed || err_set(e, ERR_INPUT, "not a domain name: too long");
}
