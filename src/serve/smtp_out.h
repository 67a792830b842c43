/* serve/smtp_out.h -- handing on to a smart host: the driver of smtp/client.
 *
 * A connection belongs to the first loop. It takes deliveries from the schedule one by one, reads
 * each message on the files lane, feeds it to the machine, and settles every recipient with the
 * remote's answer. */
#ifndef SERVE_SMTP_OUT_H
#define SERVE_SMTP_OUT_H

#include <stdbool.h>

struct deliver;
struct site;

/* Begins a connection for the site. False: it could not be started. */
bool smtp_out_start(struct deliver *, struct site *);
/* Mail has come for a site: a connection at rest takes it. False: none is at rest, or it could not
 * take any now. */
bool smtp_out_resume(struct site *);
/* Others wait for a connection: those of this site that have been at one host for long, and have
 * not come so far as to carry anything, are given up as if their time was over. The site may be
 * gone afterwards. */
void smtp_out_hurry(struct site *);
/* The end, with no loop running any more: what is still open is closed and freed. */
void smtp_out_abort(struct site *);
/* The server stops: connections at rest say QUIT, those that carry nothing yet are closed, the
 * others end with what they have in hand. */
void smtp_out_shutdown(struct site *);

#endif
