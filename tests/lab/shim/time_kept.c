/* Preloaded by a scenario: what the kernel says of its clock is in TIME_KEPT: "kept", "unsynced",
 * "error" or "denied". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>

int adjtimex(struct timex *t)
{
	const char *how = getenv("TIME_KEPT");

	memset(t, 0, sizeof *t);
	t->maxerror = 12345;
	if (how && !strcmp(how, "unsynced"))
		t->status = STA_UNSYNC;
	if (how && !strcmp(how, "denied")) {
		errno = EPERM;
		return -1;
	}
	return how && !strcmp(how, "error") ? TIME_ERROR : TIME_OK;
}
