/* backup/rotate.c -- the master key is replaced, with the server stopped: it holds the keys in
 * memory, and what it sealed with an old one after that was dropped would be lost. */
#include "backup/backup.h"

#include "account/key.h"
#include "base/auto.h"
#include "ctl/ctl.h"
#include "keyring/keyring.h"
#include "ops/conf.h"
#include "sender/domain.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Root becomes the user that the files belong to, for good. */
static bool become_owner(const char *path, struct err *e)
{
	struct stat st;

	if (geteuid() != 0)
		return true;
	if (stat(path, &st))
		return err_set(e, ERR_ABSENT, "%s: %s", path, strerror(errno));
	return (!setgid(st.st_gid) && !setuid(st.st_uid)) ||
	       err_set(e, ERR_DENIED, "cannot become the owner of %s: %s", path, strerror(errno));
}

/* Held until the descriptor is closed: no server starts meanwhile. */
static bool keep_server_out(const char *lock, int *ret_fd, struct err *e)
{
	*ret_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*ret_fd < 0)
		return err_set(e, errno == ENOENT ? ERR_ABSENT : ERR_LATER, "%s: %s", lock,
			       strerror(errno));
	return !flock(*ret_fd, LOCK_EX | LOCK_NB) ||
	       err_set(e, ERR_CONFLICT, "stop the server first: it has the keys in memory");
}

/* Everything is sealed with the first key of the file afterwards. */
static bool reseal(const char *data, const char *key, size_t *ret_n, struct err *e)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	struct keyring *k = keyring_open(slice_str(key), e);
	char path[PATH_MAX + 16];
	struct store_conf sc = { 0 };
	struct store_handle *h;
	struct store *s;
	bool ok;

	snprintf(path, sizeof path, "%s/signet.db", data);
	sc.path = slice_str(path);
	s = k ? store_open(&store_sqlite, &sc, schemas, 2, e) : NULL;
	h = s ? store_attach(s, e) : NULL;
	ok = h && key_reseal(h, k, ret_n, e);
	store_detach(h);
	store_close(s);
	keyring_close(k);
	return ok;
}

static bool change(const struct conf *c, bool prune, unsigned *ret_number, unsigned *ret_keys,
		   size_t *ret_resealed, struct err *e)
{
	char data[PATH_MAX], key[PATH_MAX], lock[PATH_MAX];
	struct keyring *k;
	AUTO_FD fd = -1;

	snprintf(data, sizeof data, "%.*s", SLICE_ARG(c->data_dir));
	snprintf(key, sizeof key, "%.*s/master.key", SLICE_ARG(c->data_dir));
	snprintf(lock, sizeof lock, "%.*s/lock", SLICE_ARG(c->spool.path));
	if (!become_owner(data, e) || !keep_server_out(lock, &fd, e) ||
	    (!prune && !keyring_rotate(slice_str(key), e)) || !reseal(data, key, ret_resealed, e) ||
	    (prune && !keyring_prune(slice_str(key), e)))
		return false;
	k = keyring_open(slice_str(key), e);
	if (!k)
		return false;
	*ret_number = keyring_number(k);
	*ret_keys = keyring_keys(k);
	keyring_close(k);
	return true;
}

int keyring_command(const char *config, bool prune, bool json)
{
	struct err e = { 0 };
	const struct conf *c = conf_read(config, &e);
	unsigned number = 0, keys = 0;
	size_t resealed = 0;
	bool ok;

	if (!c) {
		fprintf(stderr, "signet: %s\n", e.text);
		return EXIT_CONFIG;
	}
	umask(077);
	ok = change(c, prune, &number, &keys, &resealed, &e);
	conf_free(c);
	if (!ok) {
		fprintf(stderr, "signet: %s\n", e.text);
		return ctl_exit_code(e.kind);
	}
	if (json)
		printf("{\"number\":%u,\"older\":%u,\"resealed\":%zu}\n", number, keys - 1,
		       resealed);
	else
		printf(
		    "master key %u seals from now on; %u older are kept; %zu secrets were sealed "
		    "anew\n",
		    number, keys - 1, resealed);
	return EXIT_DONE;
}
