/* base/fault.h -- wrong behaviour on demand, in test builds only.
 *
 * FAULT("name") is true when the environment's SIGNET_FAULT lists the name (commas between);
 * "name@7" is true the seventh time it is asked, and only then. FAULT_DIE("name") is the place
 * where the process is killed then, as by kill -9. A build without -Dfaults=true has no such code:
 * there FAULT is the constant false. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>

#ifdef SIGNET_FAULTS
bool fault_on(const char *name);
void fault_die(const char *name);
#define FAULT(name)     fault_on(name)
#define FAULT_DIE(name) fault_die(name)
#else
#define FAULT(name)     false
#define FAULT_DIE(name) ((void)0)
#endif

#endif
