/* serve/rights.c -- what is given up. */
#include "serve/running.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

bool give_up_rights(const struct conf *c, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	char name[80], control[128];
	struct passwd *pw;

	/* No core file: keys and messages are in memory. */
	if (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }))
		return err_set(e, ERR_LATER, "core files: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(e, ERR_LATER, "no_new_privs: %s", strerror(errno));
	if (geteuid() != 0 || !c->user.n)
		return true;
	snprintf(name, sizeof name, "%.*s", SLICE_ARG(c->user));
	pw = getpwnam(name);
	if (!pw)
		return err_set(e, ERR_INPUT, "user: no user %s", name);
	/* It was opened as root; its user may call, too. */
	snprintf(control, sizeof control, "%.*s", SLICE_ARG(c->control_socket));
	if (lchown(control, pw->pw_uid, pw->pw_gid))
		return err_set(e, ERR_DENIED, "%s: %s", control, strerror(errno));
	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) || setgid(pw->pw_gid) ||
	    setuid(pw->pw_uid))
		return err_set(e, ERR_DENIED, "user %s: %s", name, strerror(errno));
	/* To open listeners again at a reload, and nothing else. */
	caps[0].effective = caps[0].permitted = 1u << CAP_NET_BIND_SERVICE;
	if (syscall(SYS_capset, &head, caps))
		return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	return true;
}
