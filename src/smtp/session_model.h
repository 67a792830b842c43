/* smtp/session_model.h -- a small model of what RFC 5321, 3207, 4954 and 3030 allow, command by
 * command, written from the rules: it shares nothing with the session. */
#ifndef SMTP_SESSION_MODEL_H
#define SMTP_SESSION_MODEL_H

#include "smtp/session.h"

// clang-format off
enum cmd {
	EHLO, HELO, EHLO_BAD, STARTTLS, STARTTLS_ARG, STARTTLS_INJECT,
	AUTH_GOOD, AUTH_BAD, AUTH_LATER, AUTH_CANCEL, AUTH_GARBLED, AUTH_UNKNOWN, AUTH_LONG,
	STEP_GARBLED, STEP_LONG, STEP_BARE,
	MAIL_GOOD, MAIL_PLAIN, MAIL_FULL, MAIL_NO, MAIL_SYNTAX, MAIL_BIG, MAIL_UTF8, MAIL_PARAM,
	RCPT_GOOD, RCPT_NO, RCPT_SYNTAX, RCPT_PARAM,
	DATA_GOOD, DATA_REJECT, DATA_BARE, DATA_BIG, DATA_LONG, DATA_ARG, DATA_INJECT,
	BDAT_GOOD, BDAT_BARE, BDAT_BIG, BDAT_LONG, BDAT_ZERO,
	LAST_GOOD, LAST_REJECT, LAST_BARE, LAST_ZERO, BDAT_GARBLED,
	RSET, RSET_ARG, NOOP, VRFY, HELP, EXPN, UNKNOWN, LONG_LINE, BARE_LINE, HTTP, QUIT,
	CMDS
};
// clang-format on

/* line: \f: content follows if 354 came; \1: 1001 octets of lines; \2: 13000 octets without a
 * line end. weight: how often it is picked at random. */
struct model_cmd {
	const char *name, *line;
	unsigned weight;
};

extern const struct model_cmd cmds[CMDS];

enum phase { IDLE, SENDER, RECIPIENTS, CHUNKS, RUINED };

struct model {
	const struct smtp_config *cfg;
	int hello; /* 0, 1 HELO, 2 EHLO */
	bool tls, user, closed, full, refused_one;
	enum phase phase;
	unsigned accepted, bad, idle, failed_logins, mails;
	unsigned size;           /* of the chunks so far */
	const char *ruined_code; /* the code every further chunk gets */
	/* what is expected of this command */
	char codes[64], events[64];
};

/* Appends a word to codes or events. */
void model_add(char *to, const char *what);
/* What the rules say to c: codes and events of it, and the state behind it. */
void model_run(struct model *m, enum cmd c);

#define STATES 19
#define WAY    9

/* Every state a conversation can be in between two commands, and a way to it: CMDS ends it. */
struct model_state {
	const char *name;
	enum cmd way[WAY];
};

extern const struct model_state states[STATES];

#endif
