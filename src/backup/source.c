#include "backup/source.h"

#include "fetch/fetch.h"
#include "keyring/keyring.h"
#include "store/store.h"
#include "json/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A database of gigabytes takes its time. */
#define ASK_MS     600000
#define ANSWER_MAX (16u << 20)

/* -- of a running server -- */

static bool call(const struct conf *c, const char *method, struct buf *ret_body, unsigned *ret_code,
		 struct err *e)
{
	struct fetch_request f = { .method = method,
				   .unix_socket = c->control_socket,
				   .path = S("/control/backup"),
				   .timeout_ms = ASK_MS,
				   .body_max = ANSWER_MAX };

	return fetch_request(&f, ret_code, ret_body, e);
}

static enum err_kind kind_of(struct slice name)
{
	for (enum err_kind k = ERR_BUG; k <= ERR_DAMAGED; k++)
		if (slice_eq(name, slice_str(err_kind_name(k))))
			return k;
	return ERR_BUG;
}

static bool refused(const struct json *j, struct err *e)
{
	struct slice text = S("its answer cannot be read"), kind = S("");

	(void)json_as_text(json_get(json_get(j, "error"), "message"), &text);
	(void)json_as_text(json_get(json_get(j, "error"), "kind"), &kind);
	return err_set(e, kind_of(kind), "the server: %.*s", SLICE_ARG(text));
}

static bool read_segment(const struct json *j, struct spool_cut_segment *ret, struct err *e)
{
	struct slice name;

	if (!json_want_text(j, "name", true, &name, e) ||
	    !json_want_number(j, "bytes", true, &ret->bytes, e))
		return false;
	if (!name.n || name.n >= sizeof ret->name || memchr(name.p, '/', name.n))
		return err_set(e, ERR_BUG, "the server names a segment that is none");
	memcpy(ret->name, name.p, name.n);
	return true;
}

static bool read_cut(struct source *s, const struct json *j, struct err *e)
{
	const struct json *list;
	uint64_t format;

	if (!json_want_number(j, "messages", true, &s->cut.messages, e) ||
	    !json_want_between(j, "format", true, 1, UINT32_MAX, &format, e) ||
	    !json_want_list(j, "segments", true, &list, e))
		return false;
	s->format = (unsigned)format;
	s->cut.segments = calloc(json_length(list) + 1, sizeof *s->cut.segments);
	if (!s->cut.segments)
		return err_set(e, ERR_LATER, "out of memory");
	for (; s->cut.n_segments < json_length(list); s->cut.n_segments++)
		if (!read_segment(json_at(list, s->cut.n_segments),
				  &s->cut.segments[s->cut.n_segments], e))
			return false;
	return true;
}

static bool ask_server(struct source *s, const struct buf *body, unsigned code, struct err *e)
{
	struct json *j = json_read(buf_slice(body), e);
	bool ok = j && (code == 200 ? read_cut(s, j, e) : refused(j, e));

	s->running = code == 200;
	json_free(j);
	return ok;
}

/* -- of none -- */

/* The files are its user's, and what is made among them has to be, too. */
static bool become_owner(const char *path, struct err *e)
{
	struct stat st;

	if (geteuid() != 0)
		return true;
	if (stat(path, &st))
		return err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
	return (!setegid(st.st_gid) && !seteuid(st.st_uid)) ||
	       err_set(e, ERR_DENIED, "cannot become the owner of %s: %s", path, strerror(errno));
}

static void become_caller(void)
{
	/* Back to what we were: it cannot fail, and if it did, we would only be denied more. */
	if (seteuid(getuid()) || setegid(getgid()))
		return;
}

static bool copy_database(const struct conf *c, const char *directory, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];

	if (snprintf(from, sizeof from, "%.*s/signet.db", SLICE_ARG(c->data_dir)) >=
		(int)sizeof from ||
	    snprintf(to, sizeof to, "%s/signet.db", directory) >= (int)sizeof to)
		return err_set(e, ERR_INPUT, "the path is too long");
	return store_copy_file(slice_str(from), slice_str(to), e);
}

static bool open_here(struct source *s, struct err *e)
{
	const struct conf *c = s->conf;
	struct spool_conf sc = { .path = c->spool.path, .segment_bytes = c->spool.segment };
	char id[PATH_MAX];
	struct stat st;

	/* Opening would make what is not there. */
	snprintf(id, sizeof id, "%.*s/spool.id", SLICE_ARG(c->spool.path));
	if (stat(id, &st))
		return err_set(e, ERR_ABSENT, "%s: %s", id, strerror(errno));
	keyring_random(sc.hash_key, sizeof sc.hash_key);
	s->spool = spool_segments.open(&sc, e);
	s->format = spool_segments.format;
	return s->spool && spool_segments.cut(s->spool, &s->cut, e) &&
	       copy_database(c, s->directory, e);
}

/* -- both -- */

static bool lock_cut(struct source *s, struct err *e)
{
	char path[PATH_MAX + 8];

	snprintf(path, sizeof path, "%s/lock", s->directory);
	s->lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return (s->lock >= 0 && !flock(s->lock, LOCK_SH | LOCK_NB)) ||
	       err_set(e, ERR_LATER, "%s: %s", path, strerror(errno));
}

bool source_open(struct source *s, const struct conf *c, struct err *e)
{
	char spool[PATH_MAX];
	struct err why = { 0 };
	struct buf body;
	unsigned code;
	bool ok;

	*s = (struct source){ .conf = c, .lock = -1 };
	if (snprintf(spool, sizeof spool, "%.*s", SLICE_ARG(c->spool.path)) >= (int)sizeof spool ||
	    snprintf(s->directory, sizeof s->directory, "%s/" SPOOL_CUT_DIR, spool) >=
		(int)sizeof s->directory)
		return err_set(e, ERR_INPUT, "spool.path is too long");
	if (call(c, "POST", &body, &code, &why)) {
		ok = ask_server(s, &body, code, e);
		buf_done(&body);
		return ok && lock_cut(s, e);
	}
	buf_done(&body);
	ok = become_owner(spool, e) && open_here(s, e);
	become_caller();
	if (!ok && e && e->kind == ERR_CONFLICT)
		err_in(e, why.text); /* it has the spool, and did not answer */
	return ok && lock_cut(s, e);
}

void source_close(struct source *s)
{
	struct buf body;
	unsigned code;

	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
	if (s->running) {
		/* Without an answer it is given up by itself. */
		(void)call(s->conf, "DELETE", &body, &code, NULL);
		buf_done(&body);
	} else if (s->spool) {
		struct err ignored;
		char spool[PATH_MAX];

		snprintf(spool, sizeof spool, "%.*s", SLICE_ARG(s->conf->spool.path));
		if (become_owner(spool, &ignored)) {
			spool_segments.uncut(s->spool);
			spool_segments.close(s->spool);
		}
		become_caller();
	}
	s->running = false;
	s->spool = NULL;
	free(s->cut.segments);
	s->cut.segments = NULL;
	s->cut.n_segments = 0;
}
