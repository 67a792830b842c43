/* base/must.h -- our own invariants, checked in production too.
 *
 * MUST() guards against bugs in this program only; input never reaches one. */
#ifndef BASE_MUST_H
#define BASE_MUST_H

#define MUST(cond) ((cond) ? (void)0 : must_failed(#cond, __FILE__, __LINE__))

_Noreturn void must_failed(const char *what, const char *file, int line);

#endif
