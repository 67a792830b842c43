/* mime/address.h -- address lists (RFC 5322 section 3.4), one parser for check and use.
 *
 * The parts of an address are the bytes that were written, and those are the bytes that are sent
 * on: nothing is decoded, unescaped or repaired, so what was checked is what the receiver sees.
 * Where two parsers could read two things, this one refuses:
 *  - source routes, blanks or comments inside a dot-atom, empty list elements (obs- forms);
 *  - a local part that mixes quoted and plain words, a folded or control byte in a quoted one;
 *  - an encoded-word in an address (RFC 2047 section 5 (3) forbids it);
 *  - a domain with other characters than letters, digits, '-', '_' and (utf8) UTF-8, a domain
 *    literal with others than letters, digits, '-', '.' and ':'.
 * Tolerated: dots in a display name ("John Q. Public", obs-phrase); comments wherever CFWS may
 * stand, nested at most MIME_COMMENT_DEPTH deep; groups, which are flagged.
 * Time is linear in the input; no recursion. */
#ifndef MIME_ADDRESS_H
#define MIME_ADDRESS_H

#include "base/arena.h"
#include "base/err.h"

#define MIME_COMMENT_DEPTH 32
#define MIME_LOCAL_MAX     255 /* RFC 5321 asks for 64 in the envelope; headers carry more */
#define MIME_DOMAIN_MAX    255

struct mime_address {
	struct slice local;  /* as written, with its quotes if it had any; never folded */
	struct slice domain; /* as written; with its brackets if it is a literal */
	struct slice whole;  /* local@domain without the comments and blanks around the @ */
	bool quoted;         /* local part is a quoted-string */
	bool literal;        /* domain is a domain-literal, [192.0.2.1] */
};

struct mime_addresses {
	struct mime_address *at; /* in the arena */
	size_t n;
	bool has_group;
};

/* value: a field value, folded or not. max: mailboxes at most, 1 or more. utf8: bytes above 0x7f
 * are allowed where RFC 6532 allows them and must be UTF-8. An empty value is refused; a list that
 * holds only an empty group has n == 0. ERR_INPUT with a sentence that quotes nothing of the
 * input; ERR_LATER when the memory is out. */
bool mime_addresses_parse(struct slice value, bool utf8, size_t max, struct arena *a,
			  struct mime_addresses *ret, struct err *e);

#endif
