/* backup/restore.c -- a backup becomes a data directory and a spool again.
 *
 * Nothing stands under its own name before everything is there and synced: files are written to
 * DATA/.restoring and SPOOL.restoring, the spool is opened once as a server would, then the mark
 * READY is made, and the names change, the configuration's last. Of a try that was cut short the
 * next one sweeps away what has no mark, and goes on with what has. */
#include "backup/backup.h"

#include "backup/manifest.h"
#include "base/auto.h"
#include "keyring/keyring.h"
#include "ops/clock.h"
#include "ops/conf.h"
#include "ops/tree.h"
#include "spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK       (1u << 20)
#define SPARE_BYTES (64ull << 20)
#define ROWS        256
#define OPS_MAX     1024
#define TEMPORARY   ".restoring"
#define CONFIG      "signet.conf"
#define READY       "READY"
#define READY_MAX   (160 + PATH_MAX)

struct restoring {
	const struct restore_ask *ask;
	struct buf *notes;
	int from;
	struct manifest m;
	struct arena arena;
	struct sha256 *sha;
	char *block;
	char data[PATH_MAX], data_new[PATH_MAX], spool[PATH_MAX], spool_new[PATH_MAX];
	char hex[2 * DIGEST_SHA256 + 1]; /* of the manifest */
	uid_t user;
	gid_t group;
	bool began; /* the temporary directories are ours, and not marked */
};

static bool io_error(struct err *e, const char *what)
{
	return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_LATER, "%s: %s", what,
		       strerror(errno));
}

/* -- the backup: is it whole? -- */

static bool read_manifest(struct restoring *r, struct err *e)
{
	AUTO_FD fd = openat(r->from, MANIFEST_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	struct buf text;
	struct slice kept;
	bool ok;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_DAMAGED,
			       "%s: no " MANIFEST_NAME ": not a backup, or one that was cut short",
			       r->ask->from);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return io_error(e, MANIFEST_NAME);
	if (st.st_size > MANIFEST_MAX)
		return err_set(e, ERR_DAMAGED, MANIFEST_NAME ": too large");
	buf_init(&text, MANIFEST_MAX + 1);
	while (buf_room_for(&text, BLOCK)) {
		ssize_t n = read(fd, text.p + text.n, BLOCK);

		if (n > 0)
			buf_grew(&text, (size_t)n);
		else if (n == 0 || errno != EINTR)
			break;
		if (buf_left(&text) < BLOCK)
			break;
	}
	kept = arena_dup(&r->arena, buf_slice(&text));
	buf_done(&text);
	ok = kept.p ? manifest_read(kept, &r->arena, &r->m, e)
		    : err_set(e, ERR_LATER, "out of memory");
	if (ok) {
		struct buf hex = { .p = r->hex, .cap = sizeof r->hex, .max = sizeof r->hex };

		buf_addhex(&hex, slice(r->m.sha256, sizeof r->m.sha256));
		buf_addc(&hex, '\0');
	}
	return ok;
}

static bool check_front(const struct restoring *r, struct err *e)
{
	if (r->ask->expect && !slice_ieq(slice_str(r->ask->expect), slice_str(r->hex)))
		return err_set(e, ERR_DAMAGED,
			       MANIFEST_NAME ": its SHA-256 is %s, not the one expected", r->hex);
	if (r->m.spool_format > spool_segments.format ||
	    manifest_newer(r->m.program, S(SIGNET_VERSION)))
		return err_set(e, ERR_CONFLICT,
			       "written by Signet %.*s (spool format %llu), which is newer than "
			       "this one: " SIGNET_VERSION,
			       SLICE_ARG(r->m.program), (unsigned long long)r->m.spool_format);
	return true;
}

/* Reads a file of the backup; to < 0: only looks. */
static bool pass_file(struct restoring *r, const struct manifest_file *f, int to, struct err *e)
{
	AUTO_FD fd = openat(r->from, f->name.p, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	unsigned char sum[DIGEST_SHA256];
	struct stat st;
	uint64_t left = f->bytes;
	ssize_t n = 1;

	if (fd < 0 && errno == ENOENT)
		return err_set(e, ERR_DAMAGED, "%s: missing from the backup", f->name.p);
	if (fd < 0 || fstat(fd, &st))
		return io_error(e, f->name.p);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->bytes)
		return err_set(e, ERR_DAMAGED, "%s: has %llu bytes, the manifest says %llu",
			       f->name.p, (unsigned long long)st.st_size,
			       (unsigned long long)f->bytes);
	while (left && n > 0) {
		n = read(fd, r->block, left < BLOCK ? (size_t)left : BLOCK);
		if (n < 0 && errno == EINTR) {
			n = 1;
			continue;
		}
		if (n < 0)
			return io_error(e, f->name.p);
		sha256_add(r->sha, slice(r->block, (size_t)n));
		left -= (uint64_t)n;
		for (ssize_t at = 0; to >= 0 && at < n;) {
			ssize_t put = write(to, r->block + at, (size_t)(n - at));

			if (put < 0 && errno != EINTR)
				return io_error(e, f->name.p);
			at += put > 0 ? put : 0;
		}
	}
	sha256_end(r->sha, sum);
	return (!left && !memcmp(sum, f->sha256, sizeof sum)) ||
	       err_set(e, ERR_DAMAGED, "%s: its SHA-256 is not the manifest's", f->name.p);
}

static bool verify(struct restoring *r, struct err *e)
{
	for (size_t i = 0; i < r->m.n_files; i++)
		if (!pass_file(r, &r->m.files[i], -1, e))
			return false;
	return true;
}

/* -- where it goes -- */

/* The file's place below the directories; *ret_spool: which of the two. */
static const char *place(const struct manifest_file *f, bool *ret_spool)
{
	const char *name = f->name.p;

	*ret_spool = slice_starts(f->name, S("spool/"));
	if (*ret_spool)
		return name + 6;
	if (slice_starts(f->name, S("config/")))
		return name + 7;
	return slice_starts(f->name, S("data/")) ? name + 5 : name;
}

static bool empty_or_absent(const char *path, struct err *e)
{
	DIR *d = opendir(path);
	struct dirent *de;
	bool empty = true;

	if (!d)
		return errno == ENOENT || io_error(e, path);
	while (empty && (de = readdir(d)))
		empty = !strcmp(de->d_name, ".") || !strcmp(de->d_name, "..");
	closedir(d);
	return empty || err_set(e, ERR_CONFLICT, "%s: not empty; nothing is written over", path);
}

/* Nothing can be renamed over one: told before anything is written. */
static bool no_mount_point(const struct restoring *r, struct err *e)
{
	char parent[PATH_MAX + 4];
	struct stat st, up;

	snprintf(parent, sizeof parent, "%s/..", r->spool);
	if (lstat(r->spool, &st) || !S_ISDIR(st.st_mode) || stat(parent, &up) ||
	    st.st_dev == up.st_dev)
		return true;
	return err_set(e, ERR_CONFLICT, "%s is a mount point: name a directory in it", r->spool);
}

static bool nothing_there(const struct restoring *r, struct err *e)
{
	char path[2 * PATH_MAX];
	struct stat st;
	bool spool;

	for (size_t i = 0; i < r->m.n_files; i++) {
		const char *name = place(&r->m.files[i], &spool);

		if (spool)
			continue;
		/* Directories move whole. */
		snprintf(path, sizeof path, "%s/%.*s", r->data, (int)strcspn(name, "/"), name);
		if (!lstat(path, &st))
			return err_set(e, ERR_CONFLICT, "%s: exists; nothing is written over",
				       path);
		if (errno != ENOENT)
			return io_error(e, path);
	}
	return empty_or_absent(r->spool, e) && no_mount_point(r, e);
}

static bool enough_room(const char *path, uint64_t need, struct err *e)
{
	struct statvfs v;
	uint64_t room;

	if (statvfs(path, &v))
		return io_error(e, path);
	room = (uint64_t)v.f_bavail * v.f_frsize;
	return need + SPARE_BYTES <= room ||
	       err_set(e, ERR_LATER, "%s: no room: %llu MB are needed, %llu MB are free", path,
		       (unsigned long long)((need + SPARE_BYTES) >> 20),
		       (unsigned long long)(room >> 20));
}

static bool room_for_all(const struct restoring *r, struct err *e)
{
	uint64_t data = 0, spool = 0;
	bool in_spool;

	for (size_t i = 0; i < r->m.n_files; i++) {
		place(&r->m.files[i], &in_spool);
		*(in_spool ? &spool : &data) += r->m.files[i].bytes + 4096;
	}
	/* On one file system both count. */
	return enough_room(r->data_new, data, e) && enough_room(r->spool_new, spool, e) &&
	       enough_room(r->spool_new, data + spool, NULL);
}

/* -- writing -- */

static bool make_way(int dir, const char *name)
{
	char part[PATH_MAX];

	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof part, "%.*s", (int)(slash - name), name);
		if (mkdirat(dir, part, 0700) && errno != EEXIST)
			return false;
	}
	return true;
}

static bool write_file(struct restoring *r, const struct manifest_file *f, struct err *e)
{
	bool in_spool;
	const char *name = place(f, &in_spool);
	AUTO_FD dir = open(in_spool ? r->spool_new : r->data_new,
			   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_FD to = -1;

	if (dir < 0 || !make_way(dir, name))
		return io_error(e, name);
	to = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return to >= 0 ? pass_file(r, f, to, e) : io_error(e, name);
}

static bool write_all(struct restoring *r, struct err *e)
{
	for (size_t i = 0; i < r->m.n_files; i++)
		if (!write_file(r, &r->m.files[i], e))
			return false;
	return true;
}

static bool make_temporary(struct restoring *r, struct err *e)
{
	if (mkdir(r->data, 0700) && errno != EEXIST)
		return io_error(e, r->data);
	/* What a try that was cut short has left. */
	if (!tree_remove(AT_FDCWD, r->data_new) || mkdir(r->data_new, 0700))
		return io_error(e, r->data_new);
	r->began = true;
	if (!tree_remove(AT_FDCWD, r->spool_new) || mkdir(r->spool_new, 0700))
		return io_error(e, r->spool_new);
	return true;
}

/* -- the spool, as a server would find it -- */

static bool hold_message(struct spool *s, const struct spool_row *row, struct restore_said *ret,
			 struct err *e)
{
	struct spool_op ops[OPS_MAX], *list[OPS_MAX];
	bool held = false;

	for (uint32_t from = 0; from < row->n_deliveries; from += OPS_MAX) {
		uint32_t left = row->n_deliveries - from, n = left < OPS_MAX ? left : OPS_MAX;

		for (uint32_t i = 0; i < n; i++) {
			ops[i] = (struct spool_op){ .kind = SPOOL_SETTLE,
						    .id = row->id,
						    .delivery = from + i,
						    .by_hand = true,
						    .hold = HOLD_SET,
						    .at_ms = clock_wall_ms(),
						    .by = S("signet restore") };
			list[i] = &ops[i];
		}
		if (!spool_segments.commit(s, list, n, e))
			return false;
		for (uint32_t i = 0; i < n; i++)
			if (ops[i].result == SPOOL_OK)
				held = true;
			else if (ops[i].result != SPOOL_GONE) /* nothing pending in it */
				return err_set(e, ERR_LATER, "a message cannot be held");
	}
	ret->held += held;
	return true;
}

static bool hold_all(struct spool *s, struct restore_said *ret, struct err *e)
{
	struct spool_filter pending = { .state = LIST_PENDING };
	struct spool_row rows[ROWS];
	uint64_t at = 0;
	size_t n;

	while (at != WALK_END) {
		n = spool_segments.walk(s, &pending, &at, rows, ROWS);
		for (size_t i = 0; i < n; i++)
			if (!hold_message(s, &rows[i], ret, e))
				return false;
	}
	return true;
}

static bool open_spool(struct restoring *r, struct restore_said *ret, struct err *e)
{
	struct spool_conf c = { .path = slice_str(r->spool_new) };
	struct spool_count count = { 0 };
	struct spool *s;
	bool ok;

	keyring_random(c.hash_key, sizeof c.hash_key);
	s = spool_segments.open(&c, e);
	if (!s)
		return false;
	spool_segments.count(s, &count);
	ok = count.messages == r->m.messages ||
	     err_set(e, ERR_DAMAGED, "the spool holds %llu messages, the manifest says %llu",
		     (unsigned long long)count.messages, (unsigned long long)r->m.messages);
	ret->messages = count.messages;
	if (ok && count.damaged)
		buf_addf(r->notes,
			 "%llu records are set aside in the spool: signet queue damaged\n",
			 (unsigned long long)count.damaged);
	ok = ok && (r->ask->deliver || hold_all(s, ret, e));
	spool_segments.close(s);
	return ok;
}

/* -- the names change -- */

/* Entries of the data directory, moved whole; the configuration is what makes it complete, and
 * comes last. */
static bool move_data(struct restoring *r, bool config, struct err *e)
{
	AUTO_FD to = open(r->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = opendir(r->data_new);
	struct dirent *de;
	struct stat st;
	bool ok = d && to >= 0;

	for (errno = 0; ok && (de = readdir(d)); errno = ok ? 0 : errno) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, "..") ||
		    !strcmp(de->d_name, READY) || !strcmp(de->d_name, CONFIG) != config)
			continue;
		/* Somebody may have put something there meanwhile. */
		if (!fstatat(to, de->d_name, &st, AT_SYMLINK_NOFOLLOW))
			errno = EEXIST;
		ok = errno == ENOENT && !renameat(dirfd(d), de->d_name, to, de->d_name);
	}
	ok = ok && !errno && !fsync(to);
	if (!ok)
		io_error(e, r->data);
	if (d)
		closedir(d);
	return ok;
}

static bool sync_directory(const char *path, struct err *e)
{
	AUTO_FD fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return (fd >= 0 && !fsync(fd)) || io_error(e, path);
}

/* The mark: of which manifest this is, how it was asked for, and what there is to tell. */
static bool set_ready(struct restoring *r, const struct restore_said *said, struct err *e)
{
	AUTO_FD dir = open(r->data_new, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_FD fd = dir < 0 ? -1
			     : openat(dir, READY ".new",
				      O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	char text[READY_MAX];
	int n = snprintf(text, sizeof text, "%s %s %llu %llu %s\n", r->hex,
			 r->ask->deliver ? "deliver" : "hold", (unsigned long long)said->messages,
			 (unsigned long long)said->held, r->spool);

	if (fd < 0 || write(fd, text, (size_t)n) != n || fsync(fd) ||
	    renameat(dir, READY ".new", dir, READY) || fsync(dir))
		return io_error(e, READY);
	r->began = false;
	return true;
}

/* True: an earlier try has everything ready. False without an error: there was none. */
static bool is_ready(struct restoring *r, struct restore_said *ret, struct err *e)
{
	char path[PATH_MAX + sizeof READY], text[READY_MAX + 1] = "", hex[65] = "", how[8] = "";
	unsigned long long messages, held;
	size_t end;
	int spool = 0;
	AUTO_FD fd = -1;

	snprintf(path, sizeof path, "%s/" READY, r->data_new);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || read(fd, text, READY_MAX) <= 0 ||
	    sscanf(text, "%64s %7s %llu %llu%n", hex, how, &messages, &held, &spool) != 4)
		return false;
	end = strlen(text);
	if (end && text[end - 1] == '\n')
		text[end - 1] = '\0';
	if (strcmp(hex, r->hex) != 0)
		err_set(e, ERR_CONFLICT,
			"%s: a restore of another backup was cut short here: finish that one, or "
			"remove the directory and what it has put in place",
			r->data_new);
	else if (!strcmp(how, "deliver") != r->ask->deliver)
		err_set(e, ERR_CONFLICT,
			"%s: a restore was cut short here, %s --deliver: ask again like that",
			r->data_new, r->ask->deliver ? "without" : "with");
	/* Otherwise what waits there, or was moved there, would be taken for nothing. */
	else if (text[spool] != ' ' || strcmp(text + spool + 1, r->spool) != 0)
		err_set(
		    e, ERR_CONFLICT,
		    "%s: a restore was cut short here, with the spool in%s: ask again like that",
		    r->data_new, text + spool);
	ret->messages = messages;
	ret->held = held;
	return e->kind == ERR_NONE;
}

static bool move_spool(struct restoring *r, struct err *e)
{
	char parent[PATH_MAX + 4];
	struct stat st;

	/* Absent: the try before this one has moved it. */
	if (lstat(r->spool_new, &st) && errno == ENOENT) {
		snprintf(parent, sizeof parent, "%s/spool.id", r->spool);
		return !lstat(parent, &st) ||
		       err_set(e, ERR_CONFLICT,
			       "%s: what a restore that was cut short had made ready is gone: "
			       "remove %s and ask again",
			       r->spool_new, r->data_new);
	}
	if (rename(r->spool_new, r->spool)) {
		if (errno != EBUSY)
			return io_error(e, r->spool);
		return err_set(e, ERR_CONFLICT,
			       "%s is a mount point: remove %s and %s, then ask for a directory in "
			       "it",
			       r->spool, r->data_new, r->spool_new);
	}
	snprintf(parent, sizeof parent, "%s/..", r->spool);
	return sync_directory(parent, e);
}

static bool put_in_place(struct restoring *r, struct err *e)
{
	char parent[PATH_MAX + 4];

	if (!move_spool(r, e) || !move_data(r, false, e) || !move_data(r, true, e))
		return false;
	if (r->user != (uid_t)-1 && lchown(r->data, r->user, r->group))
		return io_error(e, r->data);
	snprintf(parent, sizeof parent, "%s/..", r->data);
	return tree_remove(AT_FDCWD, r->data_new) && sync_directory(parent, e);
}

static bool make_ready(struct restoring *r, struct restore_said *ret, struct err *e)
{
	if (!nothing_there(r, e) || !verify(r, e) || !make_temporary(r, e) || !room_for_all(r, e) ||
	    !write_all(r, e) || !open_spool(r, ret, e))
		return false;
	if (!tree_settle(AT_FDCWD, r->spool_new, r->user, r->group) ||
	    !tree_settle(AT_FDCWD, r->data_new, r->user, r->group))
		return io_error(e, "chown, sync");
	return set_ready(r, ret, e);
}

/* -- what is left to do -- */

static bool same_place(struct slice a, const char *b)
{
	char left[PATH_MAX], right[PATH_MAX], text[PATH_MAX];

	snprintf(text, sizeof text, "%.*s", SLICE_ARG(a));
	return realpath(text, left) && realpath(b, right) && !strcmp(left, right);
}

/* A configuration that names other places would start another Signet. */
static void note_config(struct restoring *r)
{
	char path[2 * PATH_MAX];
	struct err why = { 0 };
	const struct conf *c;

	snprintf(path, sizeof path, "%s/" CONFIG, r->data);
	c = conf_read(path, &why);
	if (!c) {
		buf_addf(r->notes, "the configuration does not serve yet: %s\n", why.text);
		return;
	}
	if (!same_place(c->data_dir, r->data))
		buf_addf(r->notes, "%s: data_dir is %.*s, not %s: change it\n", path,
			 SLICE_ARG(c->data_dir), r->data);
	if (!same_place(c->spool.path, r->spool))
		buf_addf(r->notes, "%s: spool.path is %.*s, not %s: change it\n", path,
			 SLICE_ARG(c->spool.path), r->spool);
	conf_free(c);
}

static void note_rest(struct restoring *r)
{
	for (size_t i = 0; i < r->m.n_absent; i++)
		buf_addf(r->notes, "not in the backup: %s\n", r->m.absent[i].path.p);
	for (size_t i = 0; i < r->m.n_files; i++)
		if (slice_starts(r->m.files[i].name, S("outside/")))
			buf_addf(r->notes, "put where it was: %s/%s is %s\n", r->data,
				 r->m.files[i].name.p, r->m.files[i].name.p + 7);
	note_config(r);
}

/* Root gives everything to whom it belonged; anybody else keeps it. */
static bool find_owner(struct restoring *r, struct err *e)
{
	struct passwd *pw = NULL;
	char name[256];

	r->user = (uid_t)-1;
	r->group = (gid_t)-1;
	if (geteuid() != 0 || slice_eq(r->m.owner, S("-")))
		return true;
	snprintf(name, sizeof name, "%.*s", SLICE_ARG(r->m.owner));
	pw = getpwnam(name);
	if (!pw)
		return err_set(e, ERR_CONFLICT,
			       "the files belonged to user %s, who does not exist here: make that "
			       "user first",
			       name);
	r->user = pw->pw_uid;
	r->group = pw->pw_gid;
	return true;
}

static bool set_paths(struct restoring *r, struct err *e)
{
	const struct restore_ask *a = r->ask;
	char cwd[PATH_MAX] = "";
	const char *d = a->data[0] == '/' ? "" : cwd,
		   *s = a->spool && a->spool[0] != '/' ? cwd : "";
	int n, m;

	if (!getcwd(cwd, sizeof cwd - 1))
		return io_error(e, ".");
	snprintf(cwd + strlen(cwd), 2, "/");
	n = snprintf(r->data, sizeof r->data, "%s%s", d, a->data);
	m = a->spool ? snprintf(r->spool, sizeof r->spool, "%s%s", s, a->spool)
		     : snprintf(r->spool, sizeof r->spool, "%s%s/spool", d, a->data);
	/* Room for the longest name below them. */
	if (n > PATH_MAX / 2 || m > PATH_MAX / 2)
		return err_set(e, ERR_INPUT, "the path is too long");
	for (char *p = r->spool + strlen(r->spool) - 1; p > r->spool && *p == '/'; p--)
		*p = '\0';
	n = snprintf(r->data_new, sizeof r->data_new, "%s/" TEMPORARY, r->data);
	m = snprintf(r->spool_new, sizeof r->spool_new, "%s" TEMPORARY, r->spool);
	return (n > 0 && m > 0) || err_set(e, ERR_INPUT, "the path is too long");
}

static bool restore(struct restoring *r, struct restore_said *ret, struct err *e)
{
	r->from = open(r->ask->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->from < 0)
		return err_set(e, errno == ENOENT ? ERR_ABSENT : ERR_LATER, "%s: %s", r->ask->from,
			       strerror(errno));
	if (!set_paths(r, e) || !read_manifest(r, e) || !check_front(r, e) || !find_owner(r, e))
		return false;
	if (!is_ready(r, ret, e) && (e->kind != ERR_NONE || !make_ready(r, ret, e)))
		return false;
	if (!put_in_place(r, e))
		return false;
	for (size_t i = 0; i < r->m.n_files; i++)
		ret->bytes += r->m.files[i].bytes;
	ret->files = r->m.n_files;
	note_rest(r);
	return true;
}

bool backup_restore(const struct restore_ask *ask, struct buf *notes, struct restore_said *ret,
		    struct err *e)
{
	struct restoring r = { .ask = ask, .notes = notes, .from = -1 };
	bool ok;

	*ret = (struct restore_said){ 0 };
	umask(077);
	arena_init(&r.arena, 4ull * MANIFEST_MAX);
	r.sha = sha256_new();
	r.block = malloc(BLOCK);
	ok = (r.sha && r.block) || err_set(e, ERR_LATER, "out of memory");
	ok = ok && restore(&r, ret, e);
	if (!ok && r.began) {
		(void)tree_remove(AT_FDCWD, r.data_new);
		(void)tree_remove(AT_FDCWD, r.spool_new);
	}
	if (r.from >= 0)
		close(r.from);
	sha256_free(r.sha);
	free(r.block);
	arena_done(&r.arena);
	return ok;
}
