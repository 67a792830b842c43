/* mime/xsmtpapi.h -- looks into an X-SMTPAPI field just far enough to know whether leaving it out
 * loses an instruction. The value is one JSON object (RFC 8259), checked as a whole: no recursion,
 * at most XSMTPAPI_DEPTH levels. The names at its top level are told, unescaped. */
#ifndef MIME_XSMTPAPI_H
#define MIME_XSMTPAPI_H

#include "base/arena.h"

#define XSMTPAPI_DEPTH 64
#define XSMTPAPI_NAMES 4

struct xsmtpapi {
	struct slice other[XSMTPAPI_NAMES]; /* names besides category and unique_args, each once */
	size_t n;
	bool more; /* there were others still */
};

/* text: the unfolded value. False: not one JSON object in UTF-8 (or the memory is out: a->failed).
 */
bool xsmtpapi_read(struct slice text, struct arena *a, struct xsmtpapi *ret);

#endif
