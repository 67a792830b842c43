/* base/err.h -- why something failed, and who must act.
 *
 * One kind and one sentence, filled by the function that failed, last parameter by convention.
 * The doors (serve/, api/, ctl/) translate the kind into an SMTP reply, an HTTP status, an exit
 * code; nobody invents a code in the middle. The text never holds a secret. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err_kind {
	ERR_NONE,
	ERR_BUG,      /* we must act: an invariant of ours did not hold */
	ERR_INPUT,    /* the caller must act: what was sent is malformed or out of range */
	ERR_DENIED,   /* the owner must act: well-formed, understood, not allowed */
	ERR_ABSENT,   /* what was named does not exist */
	ERR_CONFLICT, /* it exists already, or another state is needed first */
	ERR_LATER,    /* nobody did wrong: try again (disk full, store down, limit reached) */
	ERR_DAMAGED,  /* the operator must act: bytes on disk are not what we wrote */
};

struct err {
	enum err_kind kind;
	char text[240]; /* NUL-terminated; control bytes never enter */
};

/* Fills *e (NULL is fine) and returns false, so that it can stand behind `return`. */
bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "what: " before the text of an error that is already set. */
bool err_in(struct err *e, const char *what);
const char *err_kind_name(enum err_kind kind);

#endif
