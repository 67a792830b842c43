/* serve/places.h -- the places of the server's connections, and whose is given up when all are
 * taken.
 *
 * They are of the whole server: which loop a newcomer comes to is the kernel's choice. A stranger
 * (who has not logged in) has a place until a newcomer needs it, the one who came first goes first;
 * who has logged in keeps it. Whoever is to go is called, ends on the loop whose it is, and counts
 * no more from then on: so for a moment there may be more connections than places.
 *
 * One short lock for all loops, taken when a connection begins, logs in and ends, never for a
 * message. */
#ifndef SERVE_PLACES_H
#define SERVE_PLACES_H

#include <stdbool.h>
#include <stdint.h>

struct places;
struct place_queue;

/* Embedded in a connection, zeroed. */
struct place {
	struct place *before, *next;
	struct place_queue
	    *queue; /* of strangers, or of those who were called; NULL: it keeps it */
	unsigned home;
	bool called;
};

/* wake: somebody of this home was called; from any thread, without the lock, and not again before
 * places_called() had nobody left. homes: 1 to CONF_THREADS_MAX. NULL: out of memory. */
struct places *places_new(unsigned homes, void (*wake)(void *arg, unsigned home), void *arg);
/* Nobody is left. */
void places_free(struct places *);

/* One place more is taken; if `max` are, a stranger is called. If more than that are (`max` was
 * lowered), PLACES_AT_ONCE at most are called, so that the excess goes without a halt. False: all
 * are taken by those who keep them. */
#define PLACES_AT_ONCE 16
bool places_take(struct places *, uint64_t max);
/* The connection for which it was taken does not come to be. */
void places_return(struct places *);
/* It has come, and stands behind all other strangers. */
void places_stand(struct places *, struct place *, unsigned home);
/* It has logged in. If it was called a moment before it stays all the same, and there is one more
 * than there are places. */
void places_keep(struct places *, struct place *);
/* It ends. */
void places_leave(struct places *, struct place *);

/* The next of this home who was called, and has not left yet. On the home's thread. */
struct place *places_called(struct places *, unsigned home);

#endif
