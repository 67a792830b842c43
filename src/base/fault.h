/* base/fault.h -- wrong behaviour on demand, in test builds only.
 *
 * FAULT("name") is true when the environment's SIGNET_FAULT lists the name (commas between). A
 * build without -Dfaults=true has no such code: there it is the constant false. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef SIGNET_FAULTS
bool fault_on(const char *name);
#define FAULT(name) fault_on(name)
#else
#define FAULT(name) false
#endif

#endif
