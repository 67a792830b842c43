/* doctor/doctor.h -- `signet doctor`: is everything as it should be, and if not, what to do.
 *
 * Each check is one row of a table and runs in a process of its own, which is ended when its time
 * is over: a name service or a disk that hangs is a finding, not a command that hangs. Nothing is
 * changed and no mail is sent. It works with the server stopped, and offline: what cannot be
 * looked at is skipped, and says why. */
#ifndef DOCTOR_DOCTOR_H
#define DOCTOR_DOCTOR_H

#include <stdbool.h>

/* probe: a mail server that port 25 is tried on; NULL: none is.
 * Exit code: 0 all is well (or skipped), 1 a warning, 2 a failure. */
int doctor_command(const char *config, const char *probe, bool json);

#endif
