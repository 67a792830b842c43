/* serve/rights.c -- what is given up. */
#include "loop/listener.h"
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

/* So that a reload may open others that overlap, and the user may call the control socket. */
static bool give_listeners(const struct opened *first, const struct passwd *pw, struct err *e)
{
	for (const struct opened *o = first; o; o = o->next)
		if (!listener_give(o->listener, pw->pw_uid, pw->pw_gid))
			return err_set(e, ERR_DENIED, "listener to user %s: %s", pw->pw_name,
				       strerror(errno));
	return true;
}

bool give_up_rights(const struct conf *c, const struct opened *listeners, struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	struct passwd *pw;
	char name[80];

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
	if (!give_listeners(listeners, pw, e))
		return false;
	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) || setgid(pw->pw_gid) ||
	    setuid(pw->pw_uid))
		return err_set(e, ERR_DENIED, "user %s: %s", name, strerror(errno));
	/* To open listeners again at a reload, and nothing else. */
	caps[0].effective = caps[0].permitted = 1u << CAP_NET_BIND_SERVICE;
	if (syscall(SYS_capset, &head, caps))
		return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	return true;
}
