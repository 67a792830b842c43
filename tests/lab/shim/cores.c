/* A machine with as many cores as CORES says. */
#include <sched.h>
#include <stdlib.h>

int sched_getaffinity(pid_t pid, size_t n, cpu_set_t *ret)
{
	(void)pid;
	CPU_ZERO_S(n, ret);
	for (int i = 0; i < atoi(getenv("CORES")); i++)
		CPU_SET_S(i, n, ret);
	return 0;
}
