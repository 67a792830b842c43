#include "spool/spool_rig.h"
int spool_damage_cases(void)
{
	return 0;
}
