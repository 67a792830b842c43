#include "base/fault.h"

#ifdef SIGNET_FAULTS
#include "base/slice.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One place at a time is counted: of several in the list, they share the count. */
static _Atomic uint64_t asked;

bool fault_on(const char *name)
{
	struct slice left = slice_str(getenv("SIGNET_FAULT")), one, at, nth;
	uint64_t n;

	while (left.n) {
		slice_cut(left, ',', &one, &left);
		if (slice_eq(one, slice_str(name)))
			return true;
		if (slice_cut(one, '@', &at, &nth) && slice_eq(at, slice_str(name)) &&
		    slice_u64(nth, &n) && atomic_fetch_add(&asked, 1) + 1 == n)
			return true;
	}
	return false;
}

void fault_die(const char *name)
{
	if (fault_on(name))
		raise(SIGKILL);
}
#else
typedef int fault_has_no_code;
#endif
