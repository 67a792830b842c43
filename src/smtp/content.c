/* DATA (RFC 5321 section 4.1.1.4) and BDAT (RFC 3030). */
#include "smtp/session_impl.h"

/* What forbids content now, or SAY_NOTHING. */
static enum say content_forbidden(const struct smtp_session *s)
{
	if (s->hello == HELLO_NONE)
		return SAY_NEED_HELO;
	if (!s->user)
		return login_needed(s);
	switch (s->tx) {
	case TX_NONE: return SAY_NEED_MAIL;
	case TX_MAIL: return s->rcpt_refused ? SAY_NO_VALID_RCPT : SAY_NEED_RCPT;
	case TX_RCPT:
	case TX_BDAT:
	case TX_SPOILED: break;
	}
	return SAY_NOTHING;
}

/* What is wrong with the content so far. Depends on its bytes alone, not on how they came. */
static enum say content_bad(const struct smtp_session *s)
{
	const struct lines *l = &s->dot.lines;
	uint32_t max = s->cfg->body_line_max;

	if (s->size > s->cfg->message_max)
		return SAY_TOO_BIG;
	if (l->malformed)
		return SAY_BARE_CR_LF;
	if (max && lines_longest(l) > max)
		return SAY_LONG_CONTENT_LINE;
	return SAY_NOTHING;
}

/* Hands a run of content to the driver, or swallows what is refused already: up to a limit. */
static bool content_run(struct smtp_session *s, struct call *c, struct slice run)
{
	const struct smtp_config *cfg = s->cfg;
	uint64_t max = cfg->discard_max                    ? cfg->discard_max
		       : cfg->message_max > UINT64_MAX / 8 ? UINT64_MAX
							   : cfg->message_max * 8;
	uint64_t over = run.n;

	s->content += run.n;
	if (s->why == SAY_NOTHING) {
		s->size += run.n;
		over = s->size > cfg->message_max ? s->size - cfg->message_max : 0;
		over = over < run.n ? over : run.n;
	}
	s->discarded += over;
	if (s->discarded > max) {
		close_saying(s, c->out, SAY_TOO_MUCH_REFUSED);
		return false;
	}
	if (over || s->dot.lines.malformed)
		return false;
	c->ev->body = run;
	return want(c, SMTP_GOT_BODY);
}

bool cmd_data(struct smtp_session *s, struct call *c, struct slice arg)
{
	enum say bad;

	/* RFC 2920: DATA ends a pipelined group. Content before 354 could be taken for commands. */
	if (c->in->n)
		return abuse(s, c, SAY_BEHIND_DATA);
	if (arg.n)
		return refuse(s, c, SAY_NO_ARGUMENT);
	bad = content_forbidden(s);
	if (bad == SAY_NOTHING && s->tx != TX_RCPT)
		bad = SAY_IN_BDAT;
	if (bad != SAY_NOTHING)
		return refuse(s, c, bad);
	s->input = IN_DATA;
	return ask(s, c, SMTP_ASK_BODY);
}

bool step_data(struct smtp_session *s, struct call *c)
{
	struct slice run;
	enum say bad;

	switch (dot_next(&s->dot, c->in, &run)) {
	case DOT_MORE: return want(c, SMTP_WANT_INPUT);
	case DOT_SPAN: return content_run(s, c, run);
	case DOT_END: break;
	}
	s->input = IN_LINE;
	bad = content_bad(s);
	if (bad == SAY_NOTHING)
		return ask(s, c, SMTP_ASK_COMMIT);
	say(c->out, bad);
	tx_end(s, false);
	return false;
}

/* chunk-size [SP "LAST"] */
static bool chunk_argument(struct slice arg, uint64_t *ret_size, bool *ret_last)
{
	struct slice size, last;

	*ret_last = slice_cut(arg, ' ', &size, &last);
	return slice_u64(size, ret_size) && (!*ret_last || slice_ieq(last, S("LAST")));
}

bool cmd_bdat(struct smtp_session *s, struct call *c, struct slice arg)
{
	enum say bad;

	if (!chunk_argument(arg, &s->chunk_left, &s->last))
		/* Octets follow, but how many? What comes next cannot be told from commands. */
		return abuse(s, c, SAY_BAD_CHUNK_SIZE);
	if (s->chunk_left == 0 && !s->last && s->cfg->command_max &&
	    ++s->commands > s->cfg->command_max) {
		close_saying(s, c->out, SAY_TOO_MANY_COMMANDS);
		return false;
	}
	s->input = IN_BDAT;
	bad = content_forbidden(s);
	if (bad != SAY_NOTHING)
		s->why = bad;
	if (s->tx != TX_RCPT || bad != SAY_NOTHING)
		return false;
	s->tx = TX_BDAT;
	return ask(s, c, SMTP_ASK_BODY);
}

static bool chunk_refused(struct smtp_session *s, struct call *c, enum say bad)
{
	bool last = s->last;

	if (bad == SAY_KEPT)
		buf_add(c->out, buf_slice(&s->line));
	else
		say(c->out, bad);
	s->last = false;
	switch (s->tx) {
	case TX_NONE: /* never was a transaction, or one without recipients: it stays what it was */
	case TX_MAIL:
		s->why = SAY_NOTHING;
		if (++s->bad == s->cfg->bad_max)
			close_saying(s, c->out, SAY_TOO_MANY_ERRORS);
		break;
	case TX_RCPT:
	case TX_BDAT:
	case TX_SPOILED:
		/* RFC 3030 section 2: the message is lost; the chunks that were pipelined behind
		 * this one get the same reply. */
		s->tx = TX_SPOILED;
		s->why = bad;
		if (last)
			tx_end(s, false);
		break;
	}
	return false;
}

bool step_bdat(struct smtp_session *s, struct call *c)
{
	enum say bad;

	if (s->chunk_left) {
		size_t n = c->in->n < s->chunk_left ? c->in->n : (size_t)s->chunk_left;
		struct slice run = slice_take(c->in, n);

		if (!n)
			return want(c, SMTP_WANT_INPUT);
		s->chunk_left -= n;
		if (s->why == SAY_NOTHING)
			lines_feed(&s->dot.lines, run);
		return content_run(s, c, run);
	}
	s->input = IN_LINE;
	bad = s->why != SAY_NOTHING ? s->why : content_bad(s);
	if (bad == SAY_NOTHING && s->last && !lines_end(&s->dot.lines))
		bad = SAY_BARE_CR_LF; /* ends in a lone CR */
	if (bad != SAY_NOTHING)
		return chunk_refused(s, c, bad);
	if (s->last)
		return ask(s, c, SMTP_ASK_COMMIT);
	say(c->out, SAY_OK);
	return false;
}
