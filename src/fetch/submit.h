/* fetch/submit.h -- one message submitted by SMTP with libcurl, as any application would. Waits. */
#ifndef FETCH_SUBMIT_H
#define FETCH_SUBMIT_H

#include "base/buf.h"
#include "base/err.h"

struct fetch_mail {
	const char *host; /* name, address, or [IPv6] */
	uint16_t port;
	bool implicit_tls; /* else STARTTLS, demanded */
	const char *user, *password;
	const char *from, *to;
	const char *ca_file; /* NULL: the system's */
	bool any_name;       /* the certificate may bear another name than host */
	struct slice message;
};

/* Appends the server's last reply to reply. ERR_DENIED: refused, with its words; ERR_LATER: not
 * reached, or refused for now. */
bool fetch_submit(const struct fetch_mail *, struct buf *reply, struct err *e);

#endif
