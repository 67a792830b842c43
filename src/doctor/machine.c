/* doctor/machine.c -- this machine: who may read what, disk, clock, limits, and the server itself.
 */
#include "doctor/doctor_impl.h"

#include "base/auto.h"
#include "fetch/fetch.h"
#include "loop/tls_look.h"
#include "ops/clock.h"
#include "spool/spool.h"
#include "store/store.h"
#include "json/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define SYNCS        9
#define SYNC_WARN_US 50000u
#define SYNC_FAIL_US 500000u

static const char *path_of(struct slice dir, const char *name, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%.*s%s%s", SLICE_ARG(dir), *name ? "/" : "", name);
	return ret;
}

/* -- the server -- */

static struct json *ask(const struct doctor *d, const char *path)
{
	struct fetch_request f = { .method = "GET",
				   .unix_socket = d->conf->control_socket,
				   .path = slice_str(path),
				   .timeout_ms = 4000,
				   .body_max = 16u << 20 };
	struct json *j = NULL;
	struct buf body;
	unsigned code = 0;

	if (fetch_request(&f, &code, &body, NULL) && code == 200)
		j = json_read(buf_slice(&body), NULL);
	buf_done(&body);
	return j;
}

void check_server(struct doctor *d)
{
	char path[PATH_MAX];
	struct slice state = S("");
	struct json *j;
	int lock;

	if (d->running) {
		j = ask(d, "/control/status");
		(void)json_as_text(json_get(j, "state"), &state);
		if (slice_eq(state, S("running")))
			tell(d, LEVEL_OK, "server", NULL, "it runs");
		else
			tell(d, LEVEL_FAIL, "server", "read its log", "it says: %.*s",
			     SLICE_ARG(state));
		json_free(j);
		return;
	}
	lock = open(path_of(d->conf->spool.path, "lock", path), O_RDONLY | O_CLOEXEC);
	if (lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		tell(d, LEVEL_FAIL, "server",
		     "run doctor as root or as the service's user; else look why it hangs",
		     "a server has the spool, and does not answer on %.*s",
		     SLICE_ARG(d->conf->control_socket));
	else
		tell(d, LEVEL_SKIP, "server", "start it, then run doctor again",
		     "it does not run: its listeners cannot be looked at");
	if (lock >= 0)
		close(lock);
}

/* -- permissions -- */

/* bad: bits that nobody but the owner may have. */
static void judge(struct doctor *d, const char *path, mode_t bad, uid_t owner)
{
	struct stat st;

	if (stat(path, &st)) {
		tell(d, errno == EACCES ? LEVEL_SKIP : LEVEL_FAIL, "permissions",
		     errno == EACCES ? "run doctor as root" : NULL, "%s: %s", path,
		     strerror(errno));
		return;
	}
	if (st.st_mode & bad)
		tell(d, LEVEL_FAIL, "permissions",
		     S_ISDIR(st.st_mode) ? "chmod go-rwx"
					 : "chmod 600 (or 640, for a group of its own)",
		     "%s: mode %04o lets others in", path, (unsigned)st.st_mode & 07777);
	else if (owner != (uid_t)-1 && st.st_uid != owner)
		tell(d, LEVEL_FAIL, "permissions", "chown it",
		     "%s: belongs to user %u, the service is user %u", path, (unsigned)st.st_uid,
		     (unsigned)owner);
	else
		tell(d, LEVEL_OK, "permissions", NULL, "%s: mode %04o", path,
		     (unsigned)st.st_mode & 07777);
}

static void judge_slice(struct doctor *d, struct slice path, mode_t bad)
{
	char text[PATH_MAX];

	if (path.n)
		judge(d, path_of(path, "", text), bad, (uid_t)-1);
}

void check_permissions(struct doctor *d)
{
	const struct conf *c = d->conf;
	uid_t user = (uid_t)-1;
	char path[PATH_MAX], name[256];
	struct passwd *pw;

	snprintf(name, sizeof name, "%.*s", SLICE_ARG(c->user));
	pw = c->user.n ? getpwnam(name) : NULL;
	if (c->user.n && !pw)
		tell(d, LEVEL_FAIL, "permissions", "make the user, or change `user`",
		     "user: there is no user %s", name);
	if (pw && geteuid() == 0)
		user = pw->pw_uid;
	/* Whoever writes it is whoever the service is. */
	judge(d, d->config, 022, (uid_t)-1);
	judge(d, path_of(c->data_dir, "", path), 077, user);
	judge(d, path_of(c->data_dir, "master.key", path), 077, user);
	judge(d, path_of(c->data_dir, "signet.db", path), 077, user);
	judge(d, path_of(c->spool.path, "", path), 077, user);
	for (size_t i = 0; i < c->tls.key.n; i++)
		judge_slice(d, c->tls.key.at[i], 027);
	for (size_t i = 0; i < c->n_routes; i++)
		judge_slice(d, c->routes[i].password_file, 027);
	for (size_t i = 0; i < c->n_issuers; i++)
		judge_slice(d, c->issuers[i].client_secret_file, 027);
}

/* -- disk -- */

static void check_kind(struct doctor *d, const char *path)
{
	enum {
		TMPFS = 0x01021994,
		RAMFS = 0x858458f6,
		NFS = 0x6969,
		SMB2 = 0xfe534d42,
		CIFS = 0xff534d42,
		FUSE = 0x65735546
	};
	struct statfs v;
	unsigned long kind;

	if (statfs(path, &v))
		return;
	kind = (unsigned long)v.f_type & 0xffffffffu;
	if (kind == TMPFS || kind == RAMFS)
		tell(d, LEVEL_WARN, "disk", "put it on a disk",
		     "%s is in memory: what is there is lost when the machine starts again", path);
	else if (kind == NFS || kind == SMB2 || kind == CIFS || kind == FUSE)
		tell(d, LEVEL_WARN, "disk", "put it on a local disk",
		     "%s is on a network or FUSE file system: locks and syncs are not what they "
		     "say everywhere",
		     path);
}

static void check_space(struct doctor *d, const char *path, uint64_t reserve)
{
	struct statvfs v;
	uint64_t room, all;

	if (statvfs(path, &v)) {
		tell(d, LEVEL_FAIL, "disk", NULL, "%s: %s", path, strerror(errno));
		return;
	}
	room = (uint64_t)v.f_bavail * v.f_frsize;
	all = (uint64_t)v.f_blocks * v.f_frsize;
	if (room < reserve)
		tell(d, LEVEL_FAIL, "disk", "make room",
		     "%s: %llu MB are free, the reserve is %llu MB: new mail gets 452", path,
		     (unsigned long long)(room >> 20), (unsigned long long)(reserve >> 20));
	else if (room < 2 * reserve || room < all / 20)
		tell(d, LEVEL_WARN, "disk", "make room soon", "%s: %llu of %llu MB are free", path,
		     (unsigned long long)(room >> 20), (unsigned long long)(all >> 20));
	else
		tell(d, LEVEL_OK, "disk", NULL, "%s: %llu of %llu MB are free", path,
		     (unsigned long long)(room >> 20), (unsigned long long)(all >> 20));
	if (v.f_files && v.f_favail < v.f_files / 20)
		tell(d, LEVEL_WARN, "disk", "make room soon", "%s: %llu of %llu inodes are free",
		     path, (unsigned long long)v.f_favail, (unsigned long long)v.f_files);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* What a commit waits for. In a file without a name, which leaves nothing behind. */
static void check_sync(struct doctor *d, const char *path)
{
	static const char block[4096];
	AUTO_FD fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint64_t us[SYNCS];

	if (fd < 0) {
		tell(d, LEVEL_SKIP, "sync", "run doctor as root or as the service's user", "%s: %s",
		     path, strerror(errno));
		return;
	}
	for (size_t i = 0; i < SYNCS; i++) {
		uint64_t began = now_us();

		if (pwrite(fd, block, sizeof block, (off_t)(i * sizeof block)) != sizeof block ||
		    fdatasync(fd)) {
			tell(d, LEVEL_FAIL, "sync", "replace the disk, or make room", "%s: %s",
			     path, strerror(errno));
			return;
		}
		us[i] = now_us() - began;
	}
	qsort(us, SYNCS, sizeof *us, by_size);
	tell(d,
	     us[SYNCS / 2] > SYNC_FAIL_US   ? LEVEL_FAIL
	     : us[SYNCS / 2] > SYNC_WARN_US ? LEVEL_WARN
					    : LEVEL_OK,
	     "sync",
	     us[SYNCS / 2] > SYNC_WARN_US ? "each commit waits so long: use a faster disk" : NULL,
	     "%s: 4 KiB are on the disk after %llu.%llu ms (median of %d)", path,
	     (unsigned long long)(us[SYNCS / 2] / 1000),
	     (unsigned long long)(us[SYNCS / 2] % 1000 / 100), SYNCS);
}

void check_disk(struct doctor *d)
{
	char spool[PATH_MAX], data[PATH_MAX];

	path_of(d->conf->spool.path, "", spool);
	path_of(d->conf->data_dir, "", data);
	check_kind(d, spool);
	check_kind(d, data);
	check_space(d, spool, d->conf->spool.reserve);
	check_space(d, data, 16u << 20);
	check_sync(d, spool);
}

/* -- the spool -- */

static unsigned count_notes(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *de;
	unsigned n = 0;

	while (dir && (de = readdir(dir)))
		n += slice_ends(slice_str(de->d_name), S(".note"));
	if (dir)
		closedir(dir);
	return n;
}

void check_spool(struct doctor *d)
{
	char path[PATH_MAX];
	uint64_t damaged = 0, messages = 0;
	struct json *j = d->running ? ask(d, "/control/queue/count") : NULL;

	if (j) {
		(void)json_as_number(json_get(j, "damaged"), &damaged);
		(void)json_as_number(json_get(j, "messages"), &messages);
		json_free(j);
	} else if (access(path_of(d->conf->spool.path, "spool.id", path), F_OK)) {
		tell(d, errno == ENOENT ? LEVEL_WARN : LEVEL_SKIP, "spool",
		     errno == ENOENT ? "signet init makes one; else spool.path is wrong" : NULL,
		     "%s: %s", path, strerror(errno));
		return;
	} else {
		damaged = count_notes(path_of(d->conf->spool.path, "damaged", path));
	}
	if (damaged)
		tell(d, LEVEL_WARN, "spool", "look at: signet queue damaged; then empty damaged/",
		     "%llu records are set aside", (unsigned long long)damaged);
	else if (d->running)
		tell(d, LEVEL_OK, "spool", NULL, "%llu messages, nothing set aside",
		     (unsigned long long)messages);
	else
		tell(d, LEVEL_OK, "spool", NULL, "nothing set aside");
}

/* -- the clock -- */

void check_clock(struct doctor *d)
{
	struct timex t = { 0 };
	int state = adjtimex(&t);

	if (state < 0)
		tell(d, LEVEL_SKIP, "clock", NULL, "the kernel does not say: %s", strerror(errno));
	else if (state == TIME_ERROR || t.status & STA_UNSYNC)
		tell(d, LEVEL_WARN, "clock", "run chrony or systemd-timesyncd",
		     "nothing keeps it: dates, signatures and certificates depend on it");
	else
		tell(d, LEVEL_OK, "clock", NULL, "kept by a time service, at most %ld ms off",
		     (long)t.maxerror / 1000);
}

/* -- limits, and what we are made of -- */

/* "Max open files   1024   4096   files" of the server's own. */
static bool server_files(const struct doctor *d, uint64_t *ret)
{
	struct json *j = d->running ? ask(d, "/control/status") : NULL;
	char path[64], line[256];
	uint64_t pid = 0;
	unsigned long long soft;
	bool found = false;
	FILE *f;

	(void)json_as_number(json_get(j, "pid"), &pid);
	json_free(j);
	snprintf(path, sizeof path, "/proc/%llu/limits", (unsigned long long)pid);
	f = pid ? fopen(path, "re") : NULL;
	while (f && !found && fgets(line, sizeof line, f))
		found = sscanf(line, "Max open files %llu", &soft) == 1;
	if (f)
		fclose(f);
	if (found)
		*ret = soft;
	return found;
}

void check_limits(struct doctor *d)
{
	uint64_t files, need = d->conf->limits.connections + 256;
	struct rlimit own;
	bool known = server_files(d, &files);

	if (!known && !getrlimit(RLIMIT_NOFILE, &own))
		files = own.rlim_max;
	else if (!known)
		return;
	if (files < need)
		tell(d, known ? LEVEL_FAIL : LEVEL_WARN, "limits",
		     "LimitNOFILE= in the unit, or lower limits.connections",
		     "%llu descriptors %s, %llu connections may come", (unsigned long long)files,
		     known ? "has the server" : "has this shell",
		     (unsigned long long)d->conf->limits.connections);
	else
		tell(d, LEVEL_OK, "limits", NULL, "%llu descriptors", (unsigned long long)files);
	tell(d, LEVEL_OK, "version", NULL, "Signet " SIGNET_VERSION ", %s, SQLite %s",
	     tls_version(), store_version());
}
