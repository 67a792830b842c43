#include "base/timetext.h"
#include "mime/dsn_impl.h"

/* What the sender can do, by subject and detail of the code; the first that fits. */
static const struct {
	struct slice code; /* "1." or "1.1" */
	struct slice advice;
} advices[] = {
	{ S("1.10"), S("The domain takes no mail at all. Ask the recipient for another address.") },
	{ S("1."), S("Check the address for typing errors. If it is right, ask the recipient by "
		     "other means.") },
	{ S("2.2"), S("The mailbox is full. Only its owner can make room: tell them by other "
		      "means.") },
	{ S("2.3"), S("Send a smaller message, or a link to what is large in it.") },
	{ S("2."), S("The mailbox takes no mail now. Tell its owner by other means.") },
	{ S("3.4"), S("Send a smaller message, or a link to what is large in it.") },
	{ S("4."), S("The recipient's mail server did not take it in time. Ask the recipient by "
		     "other means; their administrators can find out why with the help of this "
		     "notice.") },
	{ S("6."), S("The recipient's mail server cannot take a message of this form. Send it "
		     "again with plain addresses and as simple text.") },
	{ S("7."), S("The recipient's mail server refuses it by its own rules. Its "
		     "administrators can say more: send them this notice.") },
};

static struct slice advice_for(const struct dsn_rcpt *r)
{
	struct dsn_status status = dsn_status(r);
	struct slice rest = slice_from(slice_str(status.text), 2);

	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		struct slice code = advices[i].code;

		if (code.p[code.n - 1] == '.' ? slice_starts(rest, code) : slice_eq(rest, code))
			return advices[i].advice;
	}
	return S("The administrators of the recipient's mail server can say more: send them this "
		 "notice.");
}

static void add_paragraph(struct buf *out, struct slice text)
{
	dsn_add_folded(out, 0, text, S(""));
	buf_add(out, S("\r\n"));
}

static void add_indented(struct buf *out, struct slice text)
{
	buf_add(out, S("    "));
	dsn_add_folded(out, 4, text, S("    "));
	buf_add(out, S("\r\n"));
}

/* What was said about one recipient, and by whom. */
static void add_reason(struct buf *out, const struct dsn *d, const struct dsn_rcpt *r)
{
	struct buf text;

	buf_init(&text, 4096);
	if (r->expired) {
		buf_add(&text, S("It could not be delivered within "));
		time_add_span(&text, d->lifetime_ms);
		buf_add(&text, S(". The last attempt ended with:"));
	} else if (r->remote && r->mta.n) {
		buf_add(&text, S("The mail server "));
		dsn_add_clean(&text, r->mta, 255, false);
		buf_add(&text, S(" answered:"));
	} else {
		buf_add(&text, r->remote ? S("The other mail server answered:") : S("The reason:"));
	}
	add_indented(out, buf_slice(&text));
	buf_clear(&text);
	dsn_add_answer(&text, r);
	add_indented(out, text.n ? buf_slice(&text) : S("(nothing)"));
	if (r->action == DSN_FAILED) {
		buf_add(out, S("  What you can do:\r\n"));
		add_indented(out, advice_for(r));
	}
	out->failed |= text.failed;
	buf_done(&text);
}

static void add_success(struct buf *out, const struct dsn_rcpt *r)
{
	struct buf text;

	if (r->action == DSN_DELIVERED) {
		add_indented(out, S("It was delivered."));
		return;
	}
	buf_init(&text, 1024);
	buf_add(&text, S("It was handed on to the mail server "));
	dsn_add_clean(&text, r->mta, 255, false);
	buf_add(&text, S(", which will not confirm that it was delivered."));
	add_indented(out, buf_slice(&text));
	out->failed |= text.failed;
	buf_done(&text);
}

static void add_rcpt(struct buf *out, const struct dsn *d, const struct dsn_rcpt *r, bool intl)
{
	buf_add(out, S("\r\n<"));
	dsn_add_clean(out, r->path, 900, intl);
	buf_add(out, S(">\r\n"));
	switch (r->action) {
	case DSN_FAILED:
	case DSN_DELAYED: add_reason(out, d, r); break;
	case DSN_DELIVERED:
	case DSN_RELAYED: add_success(out, r); break;
	}
}

struct slice dsn_subject(const struct dsn *d)
{
	switch (d->rcpts[0].action) {
	case DSN_FAILED: return S("Your message could not be delivered");
	case DSN_DELAYED: return S("Your message is delayed; it is still being tried");
	case DSN_DELIVERED:
	case DSN_RELAYED: break;
	}
	return S("Your message was delivered or handed on");
}

static void add_what(struct buf *out, const struct dsn *d)
{
	struct buf text;

	buf_init(&text, 1024);
	buf_add(&text, S("Your message of "));
	time_add_rfc5322(&text, d->arrival_ms);
	switch (d->rcpts[0].action) {
	case DSN_FAILED:
		buf_add(&text, S(" could not be delivered to the following recipients, and it will "
				 "not be tried again. If you still want them to have it, you must "
				 "act."));
		break;
	case DSN_DELAYED:
		buf_add(&text, S(" has not reached the following recipients yet. You need not do "
				 "anything, and need not send it again: it is being tried until "));
		time_add_rfc5322(&text, d->arrival_ms + d->lifetime_ms);
		buf_add(&text, S("."));
		break;
	case DSN_DELIVERED:
	case DSN_RELAYED:
		buf_add(&text, S(" has come as far as you see for these recipients, about whom you "
				 "asked to be told. You need not do anything."));
		break;
	}
	add_paragraph(out, buf_slice(&text));
	out->failed |= text.failed;
	buf_done(&text);
}

void dsn_add_words(struct buf *out, const struct dsn *d, bool intl)
{
	struct slice indent = S("This is the mail server ");

	buf_add(out, indent);
	dsn_add_clean(out, d->hostname, 255, false);
	buf_add(out, S(".\r\n\r\n"));
	add_what(out, d);
	for (size_t i = 0; i < d->n_rcpts; i++)
		add_rcpt(out, d, &d->rcpts[i], intl);
	buf_add(out, S("\r\n"));
	add_paragraph(out, d->full ? S("The same for programs, and your message, follow.")
				   : S("The same for programs, and the header of your message, "
				       "follow."));
}
