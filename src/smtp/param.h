/* smtp/param.h -- the ESMTP parameters of MAIL and RCPT, parsed and checked.
 *
 * SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY, ORCPT (RFC 3461,
 * RFC 6533), AUTH (RFC 4954). Each at most once, keywords in any case. The slices point into the
 * line that was parsed and are still encoded; what they decode to is known to be harmless. */
#ifndef SMTP_PARAM_H
#define SMTP_PARAM_H

#include "base/buf.h"

enum smtp_body { SMTP_BODY_UNSAID, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };
enum smtp_ret { SMTP_RET_UNSAID, SMTP_RET_FULL, SMTP_RET_HDRS };

struct smtp_mail_params {
	uint64_t size; /* octets, 0 if unsaid; more than 64 bits reads as UINT64_MAX */
	enum smtp_body body;
	enum smtp_ret ret;
	bool smtputf8;
	struct slice envid; /* xtext, at most 100 octets, printable when decoded; empty if unsaid */
	struct slice
	    auth; /* xtext or "<>", empty if unsaid: a claim, never trusted, never passed on */
};

enum smtp_notify { /* bits; none set: unsaid */
		   SMTP_NOTIFY_NEVER = 1,
		   SMTP_NOTIFY_SUCCESS = 2,
		   SMTP_NOTIFY_FAILURE = 4,
		   SMTP_NOTIFY_DELAY = 8,
};

struct smtp_rcpt_params {
	unsigned notify;
	struct slice orcpt;      /* as given, "type;address", at most 500 octets; empty if unsaid */
	struct slice orcpt_type; /* "rfc822", "utf-8", ..., any case */
	struct slice orcpt_addr; /* xtext, or the escapes of RFC 6533 for utf-8 */
};

enum smtp_param_got {
	SMTP_PARAM_OK,
	SMTP_PARAM_BAD,     /* malformed or twice: 501 5.5.4 */
	SMTP_PARAM_UNKNOWN, /* not ours, or a value we do not offer (BINARYMIME): 555 5.5.4 */
};

/* `in` is what follows the path: empty, or a space and parameters with spaces between. *ret is
 * complete on OK only. */
enum smtp_param_got smtp_mail_params_parse(struct slice in, struct smtp_mail_params *ret);
/* utf8: the transaction said SMTPUTF8, so ORCPT=utf-8; may hold UTF-8 itself. */
enum smtp_param_got smtp_rcpt_params_parse(struct slice in, bool utf8,
					   struct smtp_rcpt_params *ret);

#endif
