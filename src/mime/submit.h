/* mime/submit.h -- a submitted message gets the head it is sent on with (RFC 6409 section 8).
 *
 * mime_finish() reads the head once. It says who the message is from, for the sender rule, and
 * writes a new head: our Received field, the original fields byte for byte in their order, Date
 * and Message-ID behind them where missing, the empty line. The body is not looked at.
 *
 * Taken out: Bcc and Resent-Bcc; Return-Path (RFC 5321 4.4: final delivery writes it);
 * Authentication-Results that name our authserv-id or cannot be read (RFC 8601 section 5);
 * X-SMTPAPI when all it asks for is category or unique_args.
 *
 * Refused, see mime/refusal.h: what mime/header.h refuses; no From, two From, two Sender (the
 * other fields that RFC 5322 3.6 allows once decide nothing here and pass); a group in From, a
 * Sender of not one mailbox; an address in From, Sender, Resent-From or Resent-Sender that
 * mime/address.h cannot read (To, Cc, Reply-To are not ours to judge and pass); a loop.
 *
 * Bytes above 0x7f: with SMTPUTF8 every field must be UTF-8 (RFC 6532). Without, an address field
 * that holds one is refused; any other passes as it is: raw Latin-1 subjects are what the field
 * sends, and they decide nothing.
 *
 * Several mailboxes in From without Sender pass: RFC 5322 3.6.2 wants a Sender, the sender rule
 * checks all of them instead. Resent- fields are handed out and not part of that rule. */
#ifndef MIME_SUBMIT_H
#define MIME_SUBMIT_H

#include "base/buf.h"
#include "mime/address.h"
#include "mime/header.h"

/* How the message came in. All of it may be hostile; what does not fit its grammar is left out,
 * a helo that is no domain or address literal becomes "unknown". */
struct mime_origin {
	struct slice helo;     /* what the client called itself */
	struct slice address;  /* where it is: "192.0.2.1", "2001:db8::1"; empty: not said */
	struct slice protocol; /* RFC 3848, 6531: "ESMTPSA", "UTF8SMTPSA", ...; "HTTP" */
	struct slice tls;      /* RFC 8314 4.3: "TLS_AES_256_GCM_SHA384"; empty: no TLS */
};

struct mime_finish {
	struct slice hostname;    /* ours: a domain */
	struct slice authserv_id; /* RFC 8601 2.5; empty: hostname */
	struct mime_origin origin;
	struct slice id;        /* of the message in our queue, base64url characters */
	struct slice recipient; /* local@domain, only when there is exactly one; else empty: the
				   for clause would show every other reader who got it by Bcc */
	uint64_t now_ms;        /* Unix time */
	struct slice token;     /* left side of a Message-ID of ours: a dot-atom nobody guesses */
	bool smtputf8;          /* the transaction asked for it */
};

struct mime_facts {
	struct mime_addresses from;   /* at least one */
	struct mime_addresses sender; /* none or one */
	struct mime_addresses resent; /* of all Resent-From and Resent-Sender */
	struct slice message_id;      /* the value, unfolded; as written or ours */
	size_t head_bytes;            /* bytes of the message that the old head occupied */
	size_t received;              /* Received fields that were there */
	bool high;                    /* the new head holds bytes above 0x7f */
	bool smtpapi_removed;         /* X-SMTPAPI with category or unique_args: for the log */
	bool date_added, message_id_added;
};

/* message, whole: as for mime_header_split(). Appends the new head to out (at most 2 KiB
 * more than the old one). The facts live in the arena and in message. False: *ret_refusal says
 * why, *ret is untouched and out may hold a part. */
bool mime_finish(const struct mime_finish *f, const struct mime_limits *limits,
		 struct slice message, bool whole, struct arena *a, struct buf *out,
		 struct mime_facts *ret, struct mime_refusal *ret_refusal);

#endif
