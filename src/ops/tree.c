#include "ops/tree.h"

#include "base/auto.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Ours are three deep: whoever nests deeper does not get our stack. */
#define DEPTH_MAX 16

typedef bool step_fn(int dir, const char *name, void *arg, int depth);

static bool special(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Runs step for each entry. fd is taken. */
static bool each_entry(int fd, step_fn *step, void *arg, int depth)
{
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	bool ok = true;
	int why;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (errno = 0; ok && (de = readdir(d)); errno = ok ? 0 : errno)
		ok = special(de->d_name) || step(dirfd(d), de->d_name, arg, depth);
	why = errno;
	closedir(d);
	errno = why;
	return ok && !why;
}

static int open_dir(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool remove_one(int dir, const char *name, void *arg, int depth)
{
	if (!unlinkat(dir, name, 0) || errno == ENOENT)
		return true;
	if (errno != EISDIR && errno != EPERM)
		return false;
	if (depth == DEPTH_MAX) {
		errno = ELOOP;
		return false;
	}
	return each_entry(open_dir(dir, name), remove_one, arg, depth + 1) &&
	       !unlinkat(dir, name, AT_REMOVEDIR);
}

bool tree_remove(int dir, const char *name)
{
	return remove_one(dir, name, NULL, 0);
}

struct owner {
	uid_t user;
	gid_t group;
};

static bool settle_one(int dir, const char *name, void *arg, int depth)
{
	const struct owner *o = arg;
	AUTO_FD fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return false;
	if (S_ISDIR(st.st_mode) && depth == DEPTH_MAX) {
		errno = ELOOP;
		return false;
	}
	if (S_ISDIR(st.st_mode) && !each_entry(open_dir(dir, name), settle_one, arg, depth + 1))
		return false;
	return (o->user == (uid_t)-1 || !fchown(fd, o->user, o->group)) && !fsync(fd);
}

bool tree_settle(int dir, const char *name, uid_t owner, gid_t group)
{
	struct owner o = { owner, group };

	return settle_one(dir, name, &o, 0);
}
