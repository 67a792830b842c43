#include "smtp/say.h"

#include "smtp/session.h"

#define LINE_TEXT_MAX 480 /* RFC 5321 4.5.3.1.5: a reply line has 512 octets in all */

// clang-format off
static const struct slice lines[] = {
	[SAY_NOTHING]           = S(""),
	[SAY_HELP]              = S("214 2.0.0 See RFC 5321 and RFC 6409\r\n"),
	[SAY_OK]                = S("250 2.0.0 Ok\r\n"),
	[SAY_TLS_READY]         = S("220 2.0.0 Begin TLS negotiation now\r\n"),
	[SAY_BYE]               = S("221 2.0.0 See you later\r\n"),
	[SAY_CANNOT_VERIFY]     = S("252 2.5.2 Cannot verify, send mail to find out\r\n"),

	[SAY_TIMEOUT]           = S("421 4.4.2 Timeout, closing connection\r\n"),
	[SAY_SHUTDOWN]          = S("421 4.3.2 Service shutting down, closing connection\r\n"),
	[SAY_CLOSING]           = S("421 4.7.0 Closing connection\r\n"),
	[SAY_TOO_MANY_ERRORS]   = S("421 4.7.0 Too many errors, closing connection\r\n"),
	[SAY_TOO_MANY_COMMANDS] = S("421 4.7.0 Too many commands without mail, closing connection\r\n"),
	[SAY_TOO_MANY_LOGINS]   = S("421 4.7.0 Too many failed logins, closing connection\r\n"),
	[SAY_TOO_MANY_MESSAGES] = S("421 4.7.0 Too many messages, closing connection\r\n"),
	[SAY_TOO_MUCH_REFUSED]  = S("421 4.7.0 Too much refused content, closing connection\r\n"),

	[SAY_NO_MEMORY]         = S("451 4.3.0 Out of memory, try again later\r\n"),
	[SAY_TOO_MANY_RCPT]     = S("452 4.5.3 Too many recipients\r\n"),
	[SAY_TLS_BROKEN]        = S("454 4.7.0 TLS not available due to temporary reason\r\n"),
	[SAY_AUTH_BROKEN]       = S("454 4.7.0 Temporary authentication failure\r\n"),
	[SAY_UNKNOWN_COMMAND]   = S("500 5.5.2 Command not recognized\r\n"),
	[SAY_LONG_LINE]         = S("500 5.5.2 Line too long\r\n"),
	[SAY_LONG_AUTH]         = S("500 5.5.6 Authentication exchange line is too long\r\n"),
	[SAY_BARE_LINE_END]     = S("500 5.5.2 Lines end in CRLF\r\n"),
	[SAY_BAD_ARGUMENT]      = S("501 5.5.2 Syntax error in parameters or arguments\r\n"),
	[SAY_NO_ARGUMENT]       = S("501 5.5.4 No parameters allowed\r\n"),
	[SAY_BAD_SENDER]        = S("501 5.1.7 Bad sender address syntax\r\n"),
	[SAY_BAD_RCPT]          = S("501 5.1.3 Bad recipient address syntax\r\n"),
	[SAY_BAD_BASE64]        = S("501 5.5.2 Cannot decode base64\r\n"),
	[SAY_BAD_SASL]          = S("501 5.5.2 Malformed authentication response\r\n"),
	[SAY_BAD_PARAM]         = S("501 5.5.4 Syntax error in MAIL or RCPT parameters\r\n"),
	[SAY_BAD_CHUNK_SIZE]    = S("501 5.5.4 Syntax: BDAT size [LAST]\r\n"),
	[SAY_AUTH_ABORTED]      = S("501 5.7.0 Authentication aborted\r\n"),
	[SAY_SERVER_FIRST]      = S("501 5.7.0 This mechanism has no initial response\r\n"),
	[SAY_NOT_IMPLEMENTED]   = S("502 5.5.1 Command not implemented\r\n"),
	[SAY_NEED_HELO]         = S("503 5.5.1 Send EHLO first\r\n"),
	[SAY_NEED_EHLO]         = S("503 5.5.1 AUTH needs EHLO\r\n"),
	[SAY_NEED_MAIL]         = S("503 5.5.1 Send MAIL first\r\n"),
	[SAY_NEED_RCPT]         = S("503 5.5.1 Send RCPT first\r\n"),
	[SAY_MAIL_TWICE]        = S("503 5.5.1 A transaction is open already\r\n"),
	[SAY_IN_BDAT]           = S("503 5.5.1 The message is being sent by BDAT\r\n"),
	[SAY_IN_TX]             = S("503 5.5.1 Not during a mail transaction\r\n"),
	[SAY_AUTH_TWICE]        = S("503 5.5.1 Already authenticated\r\n"),
	[SAY_TLS_TWICE]         = S("503 5.5.1 TLS is active already\r\n"),
	[SAY_UNKNOWN_MECHANISM] = S("504 5.5.4 Unrecognized authentication mechanism\r\n"),
	[SAY_NEED_TLS]          = S("530 5.7.0 Must issue a STARTTLS command first\r\n"),
	[SAY_NEED_AUTH]         = S("530 5.7.0 Authentication required\r\n"),
	[SAY_NEED_TLS_FOR_AUTH] = S("538 5.7.11 Encryption required for requested authentication mechanism\r\n"),
	[SAY_TOO_BIG]           = S("552 5.3.4 Message size exceeds fixed maximum message size\r\n"),
	[SAY_NEED_SMTPUTF8]     = S("553 5.6.7 Address needs SMTPUTF8\r\n"),
	[SAY_BEHIND_STARTTLS]   = S("554 5.5.0 Bytes behind STARTTLS\r\n"),
	[SAY_BEHIND_DATA]       = S("554 5.5.0 Bytes behind DATA\r\n"),
	[SAY_HTTP]              = S("554 5.5.0 This is not an HTTP server\r\n"),
	[SAY_NO_VALID_RCPT]     = S("554 5.5.1 No valid recipients\r\n"),
	[SAY_SENDER_NOT_FQDN]   = S("554 5.1.8 Sender domain is not fully qualified\r\n"),
	[SAY_RCPT_NOT_FQDN]     = S("554 5.1.2 Recipient domain is not fully qualified\r\n"),
	[SAY_UNKNOWN_PARAM]     = S("555 5.5.4 Parameter not recognized or not implemented\r\n"),

	[SAY_BARE_CR_LF]        = S("554 5.6.0 Message has a bare CR, a bare LF or a NUL\r\n"),
	[SAY_LONG_CONTENT_LINE] = S("554 5.6.0 Message has a line that is too long\r\n"),
	[SAY_KEPT]              = S(""),
};
// clang-format on

void say(struct buf *out, enum say what)
{
	buf_add(out, lines[what]);
}

static void say_piece(struct buf *out, const char code[3], char sep, struct slice enh,
		      struct slice text)
{
	char *at = buf_room_for(out, 3 + 1 + enh.n + 1 + text.n + 2), *p = at;

	if (!at)
		return;
	memcpy(p, code, 3);
	p[3] = sep;
	p += 4;
	if (enh.n) {
		memcpy(p, enh.p, enh.n);
		p += enh.n;
		if (text.n)
			*p++ = ' ';
	}
	for (size_t i = 0; i < text.n; i++)
		*p++ = text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?';
	*p++ = '\r';
	*p++ = '\n';
	buf_grew(out, (size_t)(p - at));
}

void say_text(struct buf *out, int code, const char *enh, struct slice text)
{
	char digits[3] = { (char)('0' + code / 100), (char)('0' + code / 10 % 10),
			   (char)('0' + code % 10) };
	struct slice piece;
	bool more = true;

	if (text.n > SMTP_TEXT_MAX)
		text.n = SMTP_TEXT_MAX;
	for (int n = 1; more; n++) {
		struct slice rest;

		more = slice_cut(text, '\n', &piece, &rest);
		if (piece.n > LINE_TEXT_MAX) {
			piece = slice_take(&text, LINE_TEXT_MAX);
			rest = text;
			more = true;
		}
		more = more && n < SAY_LINES_MAX;
		say_piece(out, digits, more ? '-' : ' ', slice_str(enh), piece);
		text = rest;
	}
}
