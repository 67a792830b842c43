/* serve/validation.h -- does the validation of DNS answers (DNSSEC) work here?
 *
 * Asked when the server begins to run, and now and then: the root's name servers, which are signed.
 * Nobody waits for it. Asked only where mail goes out by MX. Belongs to the first loop. */
#ifndef SERVE_VALIDATION_H
#define SERVE_VALIDATION_H

struct home;
struct validation;

/* NULL without memory. */
struct validation *validation_new(struct home *);
/* NULL is fine. Before the resolver is freed. */
void validation_free(struct validation *);
/* For `status`: "works"; "off: why", "broken: why", "unknown: why"; "not asked: why". */
const char *validation_state(const struct validation *);

#endif
