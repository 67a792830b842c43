/* serve/rights.c -- what is given up. Of the one thread there is: those that come have no more. */
#include "loop/listener.h"
#include "serve/running.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define NATIVE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define NATIVE AUDIT_ARCH_AARCH64
#elif defined __i386__
#define NATIVE AUDIT_ARCH_I386
#elif defined __arm__
#define NATIVE AUDIT_ARCH_ARM
#elif defined __riscv && __riscv_xlen == 64
#define NATIVE AUDIT_ARCH_RISCV64
#elif defined __powerpc64__ && defined __LITTLE_ENDIAN__
#define NATIVE AUDIT_ARCH_PPC64LE
#elif defined __s390x__
#define NATIVE AUDIT_ARCH_S390X
#endif

/* The calls of x32 have numbers of their own. */
#define X32_BIT 0x40000000u

/* No program is started from here on, by nobody: calls of another architecture of this machine are
 * refused altogether, since theirs have other numbers. Filters stack: one that says more can come
 * behind. On a processor that is not named above there is none. */
static bool ban_programs(struct err *e)
{
#ifdef NATIVE
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execveat, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program))
		return err_set(e, ERR_LATER, "seccomp: %s", strerror(errno));
#else
	(void)e;
#endif
	return true;
}

/* So that a reload may open others that overlap, and the user may call the control socket. */
static bool give_listeners(const struct opened *first, const struct passwd *pw, struct err *e)
{
	for (const struct opened *o = first; o; o = o->next)
		if (!listener_give(o->listener, pw->pw_uid, pw->pw_gid))
			return err_set(e, ERR_DENIED, "listener to user %s: %s", pw->pw_name,
				       strerror(errno));
	return true;
}

/* No program may get any of them back; there is none to start either. */
static bool drop_bounds(struct err *e)
{
	for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (c != CAP_NET_BIND_SERVICE && prctl(PR_CAPBSET_DROP, c, 0, 0, 0))
			return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	return true;
}

static bool become(const struct passwd *pw, struct err *e)
{
	return (prctl(PR_SET_KEEPCAPS, 1) == 0 && setgroups(0, NULL) == 0 &&
		setgid(pw->pw_gid) == 0 && setuid(pw->pw_uid) == 0) ||
	       err_set(e, ERR_DENIED, "user %s: %s", pw->pw_name, strerror(errno));
}

/* To open low ports again at a reload, if that was granted, and nothing else. */
static bool keep_one_capability(struct err *e)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	uint32_t one = 1u << CAP_NET_BIND_SERVICE;

	if (syscall(SYS_capget, &head, caps))
		return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	if (!(caps[0].permitted & ~one) && !caps[1].permitted && !caps[0].inheritable &&
	    !caps[1].inheritable && caps[0].effective == caps[0].permitted)
		return true;
	one &= caps[0].permitted; /* what is not there cannot be kept */
	caps[0] = (struct __user_cap_data_struct){ .effective = one, .permitted = one };
	caps[1] = (struct __user_cap_data_struct){ 0 };
	return syscall(SYS_capset, &head, caps) == 0 ||
	       err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
}

bool give_up_rights(const struct conf *c, const struct opened *listeners, struct err *e)
{
	bool root = geteuid() == 0;
	struct passwd *pw;
	char name[80];

	/* No core file: keys and messages are in memory. */
	if (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }))
		return err_set(e, ERR_LATER, "core files: %s", strerror(errno));
	if (root && c->user.n) {
		snprintf(name, sizeof name, "%.*s", SLICE_ARG(c->user));
		pw = getpwnam(name);
		if (!pw)
			return err_set(e, ERR_INPUT, "user: no user %s", name);
		if (!give_listeners(listeners, pw, e) || !drop_bounds(e) || !become(pw, e))
			return false;
		root = false;
	}
	/* Who stays root keeps what root has: the configuration says so. */
	if (!root && !keep_one_capability(e))
		return false;
	if (!root && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		return err_set(e, ERR_DENIED, "capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(e, ERR_LATER, "no_new_privs: %s", strerror(errno));
	return ban_programs(e);
}
