#include "spool/spool_rig.h"
int spool_model(void)
{
	return 0;
}
