#include "spool/spool.h"

bool spool_salvage(struct slice from, struct slice to,
    void (*damage)(void *arg, const struct spool_damage *), void *arg, struct spool_salvage *ret,
    struct err *e)
{
	(void)from, (void)to, (void)damage, (void)arg, (void)ret;
	return err_set(e, ERR_LATER, "not yet");
}
