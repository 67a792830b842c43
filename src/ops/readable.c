#include "ops/readable.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define LINKS_MAX  16

static bool refused(const char *path, int mode)
{
	return faccessat(AT_FDCWD, path, mode, AT_EACCESS) && errno == EACCES;
}

/* Where a symbolic link leads. False: it is none. */
static bool follow(const char *path, char to[PATH_BYTES])
{
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) + 1 : 0;
	char link[PATH_BYTES];
	ssize_t n = readlink(path, link, sizeof link - 1);
	int used;

	if (n <= 0)
		return false;
	link[n] = '\0';
	used = snprintf(to, PATH_BYTES, "%.*s%s", link[0] == '/' ? 0 : dir, path, link);
	return used > 0 && used < PATH_BYTES;
}

/* The first thing on the way that may not be passed; true: a directory. at: in, the path; out, what
 * is in the way. */
static bool in_the_way(char at[PATH_BYTES])
{
	char to[PATH_BYTES];
	bool dir = false;

	for (int links = 0; links < LINKS_MAX; links++) {
		for (size_t i = 1; at[i]; i++) {
			if (at[i] != '/')
				continue;
			at[i] = '\0';
			if (refused(at, X_OK)) {
				dir = true;
				break;
			}
			at[i] = '/';
		}
		if (!follow(at, to))
			break;
		memcpy(at, to, PATH_BYTES);
	}
	return dir;
}

static void names(char user[64], char group[64])
{
	char room[2048];
	struct passwd pw, *u = NULL;
	struct group gr, *g = NULL;

	snprintf(user, 64, "%u", (unsigned)geteuid());
	snprintf(group, 64, "%u", (unsigned)getegid());
	if (!getpwuid_r(geteuid(), &pw, room, sizeof room, &u) && u)
		snprintf(user, 64, "%s", u->pw_name);
	if (!getgrgid_r(getegid(), &gr, room, sizeof room, &g) && g)
		snprintf(group, 64, "%s", g->gr_name);
}

bool readable_check(const char *path, struct err *e)
{
	char at[PATH_BYTES], user[64], group[64];
	bool dir;

	if (!faccessat(AT_FDCWD, path, R_OK, AT_EACCESS))
		return true;
	if (errno != EACCES || strlen(path) >= sizeof at)
		return err_set(e, ERR_INPUT, "%s: %s", path, strerror(errno));
	memcpy(at, path, strlen(path) + 1);
	dir = in_the_way(at);
	names(user, group);
	return err_set(e, ERR_DENIED, "%s: user %s may not %s %s (try on it: chgrp %s, chmod %s)",
		       path, user, dir ? "enter" : "read", strcmp(at, path) ? at : "that file",
		       group, dir ? "g+x" : "g+r");
}

char *readable_secret(struct slice path, struct err *e)
{
	char name[PATH_BYTES], line[502] = "";
	struct stat st;
	char *kept;
	FILE *f;

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(path));
	errno = 0;
	f = fopen(name, "re");
	if (!f || fstat(fileno(f), &st) || !fgets(line, sizeof line, f)) {
		err_set(e, ERR_INPUT, "%s: %s", name, errno ? strerror(errno) : "empty");
		if (f)
			fclose(f);
		return NULL;
	}
	fclose(f);
	if (st.st_mode & 077) {
		err_set(e, ERR_DENIED, "%s: others may read it; try: chmod 600 %s", name, name);
		kept = NULL;
	} else if (strlen(line) == sizeof line - 1) {
		err_set(e, ERR_INPUT, "%s: the first line has more than 500 bytes", name);
		kept = NULL;
	} else {
		line[strcspn(line, "\r\n")] = '\0';
		kept = strdup(line);
		if (!kept)
			err_set(e, ERR_LATER, "out of memory");
	}
	explicit_bzero(line, sizeof line);
	return kept;
}
