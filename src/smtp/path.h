/* smtp/path.h -- reverse-path and forward-path (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
 *
 * One parser for check and use: the slices point into the line that was parsed, and what is sent
 * on is `whole`, byte for byte. Nothing is unquoted, lower-cased or converted; U-labels are
 * checked as UTF-8 only. Addresses that use UTF-8 are marked, and the caller refuses them where
 * SMTPUTF8 was not said. */
#ifndef SMTP_PATH_H
#define SMTP_PATH_H

#include "base/slice.h"

#define SMTP_LOCAL_MAX  64 /* octets, quotes included (RFC 5321 section 4.5.3.1) */
#define SMTP_DOMAIN_MAX 255
#define SMTP_PATH_MAX   256 /* with the angle brackets and any source route */

struct smtp_path {
	struct slice whole;  /* the mailbox: no brackets, no source route; "" for <> */
	struct slice local;  /* as on the wire, quotes and backslashes included */
	struct slice domain; /* with [] for a literal; empty for <> and <Postmaster> */
	bool null_path;      /* <> */
	bool literal;        /* the domain is an address literal */
	bool quoted;         /* the local part is a quoted string */
	bool utf8;           /* a byte above 0x7f somewhere: needs SMTPUTF8 */
};

enum smtp_path_kind {
	SMTP_REVERSE_PATH, /* of MAIL: may be <> */
	SMTP_FORWARD_PATH, /* of RCPT: may be <Postmaster>, any case, without a domain */
};

/* *in begins with '<' and is shortened by the path up to and with its '>'. Source routes are
 * parsed and dropped (RFC 5321 appendix C). False, and *in and *ret as they were, if the bytes are
 * not such a path or exceed a limit. */
bool smtp_path_parse(struct slice *in, enum smtp_path_kind kind, struct smtp_path *ret);

/* Is the domain fully qualified, as a submission server demands (RFC 6409 section 4.2)? A literal,
 * or a name of two labels or more whose last is not a number. True for <> and <Postmaster>. */
bool smtp_path_qualified(const struct smtp_path *path);

/* Domain or address literal by the same rules, alone: for EHLO names and configuration. */
bool smtp_domain_valid(struct slice domain);
bool smtp_literal_valid(struct slice literal);

#endif
