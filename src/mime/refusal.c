#include "mime/refusal.h"

// clang-format off
static const struct { int code; const char *enhanced, *reason, *text; } rows[] = {
	[MIME_FINE]             = { 250, "2.0.0", "fine", "" },
	[MIME_BAD_FIELD]        = { 554, "5.6.0", "bad_field", "Message header has a line that is not a header field" },
	[MIME_MBOX_LINE]        = { 554, "5.6.0", "mbox_line", "Message header begins with an mbox From line" },
	[MIME_BAD_LINE_END]     = { 554, "5.6.0", "bad_line_end", "Message header has a line that does not end in CRLF" },
	[MIME_NUL]              = { 554, "5.6.0", "nul", "Message header has a NUL byte" },
	[MIME_LINE_TOO_LONG]    = { 554, "5.6.0", "header_line_too_long", "Message header has a line that is too long" },
	[MIME_HEADER_TOO_LARGE] = { 552, "5.3.4", "header_too_large", "Message header is too large" },
	[MIME_TOO_MANY_FIELDS]  = { 554, "5.6.0", "too_many_fields", "Message header has too many fields" },
	[MIME_BAD_UTF8]         = { 554, "5.6.0", "bad_utf8", "Message header is not valid UTF-8" },
	[MIME_NEEDS_SMTPUTF8]   = { 554, "5.6.7", "needs_smtputf8", "Non-ASCII address field in a message sent without SMTPUTF8" },
	[MIME_NO_FROM]          = { 554, "5.6.0", "no_from", "Message has no From field" },
	[MIME_TWO_FROM]         = { 554, "5.6.0", "two_from", "Message has more than one From field" },
	[MIME_GROUP_IN_FROM]    = { 554, "5.6.0", "group_in_from", "From field holds a group" },
	[MIME_BAD_ADDRESS]      = { 554, "5.6.0", "bad_address", "Address field cannot be read" },
	[MIME_TWO_SENDER]       = { 554, "5.6.0", "two_sender", "Message has more than one Sender field" },
	[MIME_BAD_SENDER]       = { 554, "5.6.0", "bad_sender", "Sender field does not hold exactly one mailbox" },
	[MIME_LOOP]             = { 554, "5.4.6", "loop", "Too many hops: message is in a loop" },
	[MIME_SMTPAPI]          = { 554, "5.6.0", "smtpapi", "X-SMTPAPI cannot be read: message refused" },
	[MIME_NO_MEMORY]        = { 451, "4.3.0", "no_memory", "Out of memory, try again later" },
};
// clang-format on

struct mime_refusal mime_refusal(enum mime_problem problem)
{
	return (struct mime_refusal){
		.problem = problem,
		.code = rows[problem].code,
		.enhanced = rows[problem].enhanced,
		.reason = rows[problem].reason,
		.text = slice_str(rows[problem].text),
	};
}

struct mime_refusal mime_refusal_of(enum mime_problem problem, struct slice detail, struct arena *a)
{
	struct mime_refusal r = mime_refusal(problem);
	size_t n = r.text.n + 2 + detail.n;
	char *p = arena_alloc(a, MIME_REFUSAL_TEXT);

	if (!p || !detail.n)
		return r;
	if (n > MIME_REFUSAL_TEXT)
		n = MIME_REFUSAL_TEXT;
	memcpy(p, r.text.p, r.text.n);
	memcpy(p + r.text.n, ": ", 2);
	for (size_t i = r.text.n + 2; i < n; i++) {
		char c = detail.p[i - r.text.n - 2];

		p[i] = c >= ' ' && c <= '~' ? c : '?';
	}
	r.text = slice(p, n);
	return r;
}
