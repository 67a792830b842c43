#include "base/fault.h"

#ifdef SIGNET_FAULTS
#include "base/slice.h"

#include <stdlib.h>

bool fault_on(const char *name)
{
	struct slice left = slice_str(getenv("SIGNET_FAULT")), one;

	while (left.n) {
		slice_cut(left, ',', &one, &left);
		if (slice_eq(one, slice_str(name)))
			return true;
	}
	return false;
}
#else
typedef int fault_has_no_code;
#endif
