/* serve/init.c -- what needs no running server: a first data directory, the configuration, salvage.
 */
#include "issuer/issuer.h"
#include "serve/from_conf.h"
#include "serve/route_set.h"
#include "serve/start.h"

#include "account/account.h"
#include "account/key.h"
#include "base/auto.h"
#include "base/jsonout.h"
#include "keyring/keyring.h"
#include "loop/tls.h"
#include "ops/clock.h"
#include "ops/conf.h"
#include "sender/domain.h"
#include "spool/spool.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEMO_ACCOUNT "demo"
#define DEMO_DOMAIN  "demo.example"

static int complain(int code, const char *text)
{
	fprintf(stderr, "signet: %s\n", text);
	return code;
}

static int complain_conf(const struct err *e)
{
	return complain(78, e->text);
}

/* The certificates as the server would take them: readable is not enough. */
static bool check_certificates(const struct conf *c, struct err *e)
{
	struct tls_certs *t =
	    tls_certs_read(c->tls.certificate.at, c->tls.key.at, c->tls.certificate.n, e);

	tls_certs_free(t);
	return t;
}

static bool check_notices(const struct conf *c, struct err *e)
{
	struct bounce_conf bounce;
	struct arena a;
	bool ok;

	arena_init(&a, 64 << 10);
	ok = bounce_conf(c, &a, &bounce, e);
	arena_done(&a);
	return ok;
}

int serve_config_check(const char *config)
{
	struct err e = { 0 };
	const struct conf *c = conf_read(config, &e);
	struct route_set *routes;
	struct issuers *issuers;
	bool ok;

	if (!c)
		return complain_conf(&e);
	ok = check_certificates(c, &e) && check_notices(c, &e);
	issuers = ok ? issuers_new(c, NULL, &e) : NULL;
	ok = ok && issuers;
	issuers_free(issuers);
	routes = ok ? route_set_new(c, &e) : NULL;
	ok = routes;
	route_set_free(routes);
	conf_free(c);
	if (!ok)
		return complain_conf(&e);
	printf("%s: ok\n", config);
	return 0;
}

static int print(struct buf *text)
{
	int rc = text->failed || fwrite(text->p, 1, text->n, stdout) != text->n ? 70 : 0;

	buf_done(text);
	return rc;
}

int serve_config_dump(const char *config)
{
	struct err e = { 0 };
	const struct conf *c = conf_read(config, &e);
	struct buf text;

	if (!c)
		return complain_conf(&e);
	buf_init(&text, 4u << 20);
	conf_dump(c, &text);
	conf_free(c);
	return print(&text);
}

int serve_config_table(void)
{
	struct buf text;

	buf_init(&text, 4u << 20);
	conf_table(&text);
	return print(&text);
}

int serve_config_man(void)
{
	struct buf text;

	buf_init(&text, 4u << 20);
	conf_man(&text);
	return print(&text);
}

int serve_states(void)
{
	struct buf text;

	buf_init(&text, 65536);
	state_table(&text);
	return print(&text);
}

/* -- salvage -- */

static void show_damage(void *arg, const struct spool_damage *d)
{
	(void)arg;
	fprintf(stderr, "signet: lost: %s: %s\n", d->where, d->reason);
}

int serve_salvage(const char *from, const char *to, bool json)
{
	struct spool_salvage s = { 0 };
	struct spool_conf conf = { .path = slice_str(to) };
	struct err e = { 0 };
	char text[4200];

	if (access(from, F_OK)) {
		snprintf(text, sizeof text, "%s: %s", from, strerror(errno));
		return complain(66, text);
	}
	if (!spool_salvage(slice_str(from), &conf, show_damage, NULL, &s, &e))
		return complain(e.kind == ERR_CONFLICT ? 73 : 75, e.text);
	if (json)
		printf("{\"copied\":%llu,\"lost\":%llu}\n", (unsigned long long)s.copied,
		       (unsigned long long)s.lost);
	else
		printf("%llu messages copied to %s, %llu records lost\n",
		       (unsigned long long)s.copied, to, (unsigned long long)s.lost);
	return 0;
}

/* -- init -- */

static bool write_conf(int dir, const char *hostname, bool demo, struct err *e)
{
	AUTO_FD fd =
	    openat(dir, "signet.conf", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct buf t;
	bool ok;

	if (fd < 0)
		return err_set(e, errno == EEXIST ? ERR_CONFLICT : ERR_LATER, "signet.conf: %s",
			       strerror(errno));
	buf_init(&t, 16384);
	buf_addf(
	    &t,
	    "# Made by signet init. Every option: docs/configuration.md, or signet config dump.\n"
	    "hostname       = \"%s\"\n"
	    "data_dir       = \".\"\n"
	    "control_socket = \"control\"\n\n"
	    "spool { path = \"spool\" }\n\n"
	    "tls {\n"
	    "  certificate = {\"certificate.pem\"}\n"
	    "  key         = {\"certificate.key\"}\n"
	    "}\n\n",
	    hostname);
	if (demo)
		buf_add(&t, S("listener \"submission\" {\n"
			      "  address = {\"127.0.0.1:2525\", \"127.0.0.1:5870\"}\n"
			      "  tls     = starttls\n"
			      "}\n\n"
			      "listener \"submissions\" {\n"
			      "  address = {\"127.0.0.1:4650\"}\n"
			      "  tls     = implicit\n"
			      "}\n\n"
			      "# Nothing leaves this machine: all mail lands in a Maildir.\n"
			      "route \"capture\" {\n"
			      "  domains = {\"*\"}\n"
			      "  type    = capture\n"
			      "  path    = \"capture\"\n"
			      "}\n\n"
			      "# To watch it by eye; the default, json, is for programs.\n"
			      "log { format = text }\n"));
	else
		buf_add(
		    &t,
		    S("listener \"submission\" {\n"
		      "  address = {\"0.0.0.0:25\", \"[::]:25\", \"0.0.0.0:587\", \"[::]:587\",\n"
		      "             \"0.0.0.0:2525\", \"[::]:2525\"}\n"
		      "  tls     = starttls\n"
		      "}\n\n"
		      "listener \"submissions\" {\n"
		      "  address = {\"0.0.0.0:465\", \"[::]:465\"}\n"
		      "  tls     = implicit\n"
		      "}\n\n"
		      "# Where mail is handed on. Until a route exists, recipients are refused.\n"
		      "# To the world, to the mail exchangers of each domain:\n"
		      "# route \"world\" {\n"
		      "#   domains = {\"*\"}\n"
		      "#   type    = mx\n"
		      "# }\n"
		      "# Or all of it to one server:\n"
		      "# route \"onward\" {\n"
		      "#   domains       = {\"*\"}\n"
		      "#   type          = smarthost\n"
		      "#   host          = \"mail.example.net\"\n"
		      "#   port          = 587\n"
		      "#   tls           = must-verify\n"
		      "#   user          = \"relay@example.net\"\n"
		      "#   password_file = \"onward.password\"\n"
		      "# }\n"));
	ok = !t.failed && write(fd, t.p, t.n) == (ssize_t)t.n && !fsync(fd);
	buf_done(&t);
	return ok || err_set(e, ERR_LATER, "signet.conf: %s", strerror(errno));
}

static bool demo_rows(struct store_handle *h, struct buf *key, struct err *e)
{
	struct actor actor = { S("init"), clock_wall_ms() };
	struct key_spec spec = { .name = S("demo"), .scopes = scopes_default() };
	struct account a;
	struct domain d;
	struct key k;

	return account_add(h, &actor, S(DEMO_ACCOUNT), &a, e) &&
	       domain_add_verified(h, &actor, a.id, S(DEMO_DOMAIN), true, &d, e) &&
	       key_create(h, &actor, a.id, &spec, key, &k, e);
}

static bool make_store(const char *dir, bool demo, struct buf *key, struct err *e)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	char path[4200];
	struct store_conf sc = { 0 };
	struct store *s;
	struct store_handle *h;
	bool ok;

	snprintf(path, sizeof path, "%s/signet.db", dir);
	sc.path = slice_str(path);
	s = store_open(&store_sqlite, &sc, schemas, 2, e);
	h = s ? store_attach(s, e) : NULL;
	ok = h && (!demo || demo_rows(h, key, e));
	store_detach(h);
	store_close(s);
	return ok;
}

static bool make_spool(const char *dir, struct err *e)
{
	char path[4200];
	struct spool_conf c = { 0 };
	struct spool *s;

	snprintf(path, sizeof path, "%s/spool", dir);
	c.path = slice_str(path);
	keyring_random(c.hash_key, sizeof c.hash_key);
	s = spool_segments.open(&c, e);
	if (s)
		spool_segments.close(s);
	return s;
}

static bool make_files(const char *dir, const char *hostname, bool demo, struct buf *key,
		       struct err *e)
{
	char master[4200], cert[4200], cert_key[4200];
	AUTO_FD fd = -1;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_set(e, ERR_LATER, "%s: %s", dir, strerror(errno));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, ERR_LATER, "%s: %s", dir, strerror(errno));
	if (faccessat(fd, "signet.conf", F_OK, 0) == 0)
		return err_set(e, ERR_CONFLICT, "%s: there is a signet.conf already", dir);
	snprintf(master, sizeof master, "%s/master.key", dir);
	snprintf(cert, sizeof cert, "%s/certificate.pem", dir);
	snprintf(cert_key, sizeof cert_key, "%s/certificate.key", dir);
	/* The configuration last: it is what makes the directory complete. */
	return keyring_create(slice_str(master), e) &&
	       tls_make_selfsigned(slice_str(hostname), slice_str(cert), slice_str(cert_key), e) &&
	       make_store(dir, demo, key, e) && make_spool(dir, e) &&
	       write_conf(fd, hostname, demo, e) &&
	       (!fsync(fd) || err_set(e, ERR_LATER, "%s: %s", dir, strerror(errno)));
}

static void show_demo(const char *dir, struct slice key)
{
	printf("Created %s: account %s, domain %s (and names below it).\n\n"
	       "The API key, shown this once:\n\n    %.*s\n\n"
	       "When the server runs, send a first message from another terminal:\n\n"
	       "    swaks --server 127.0.0.1:5870 --tls --auth PLAIN --auth-user apikey \\\n"
	       "          --auth-password '%.*s' \\\n"
	       "          --from hello@" DEMO_DOMAIN
	       " --to you@example.com --header 'Subject: first light'\n\n"
	       "or\n\n"
	       "    printf 'From: hello@" DEMO_DOMAIN
	       "\\r\\nTo: you@example.com\\r\\nSubject: first light\\r\\n\\r\\nIt works.\\r\\n' |\n"
	       "    curl --url smtps://127.0.0.1:4650 --cacert %s/certificate.pem --user "
	       "'apikey:%.*s' \\\n"
	       "         --mail-from hello@" DEMO_DOMAIN
	       " --mail-rcpt you@example.com --upload-file -\n\n"
	       "Delivered mail lands in %s/capture/new.\n",
	       dir, DEMO_ACCOUNT, DEMO_DOMAIN, SLICE_ARG(key), SLICE_ARG(key), dir, SLICE_ARG(key),
	       dir);
}

int serve_init(const char *dir, const char *hostname, bool demo)
{
	struct err e = { 0 };
	struct buf key;
	bool ok;

	umask(077);
	for (const char *p = hostname; *p; p++)
		if (!ascii_alpha(*p) && !ascii_digit(*p) && *p != '.' && *p != '-')
			return complain(64, "--hostname is not a host name");
	if (!hostname[0] || strlen(hostname) > 253)
		return complain(64, "--hostname NAME is needed: the name this server goes by");
	buf_init(&key, 256);
	ok = make_files(dir, hostname, demo, &key, &e);
	if (ok && demo)
		show_demo(dir, buf_slice(&key));
	else if (ok)
		printf("Created %s. Look at %s/signet.conf, then: signet serve --config "
		       "%s/signet.conf\n",
		       dir, dir, dir);
	buf_wipe(&key);
	if (ok)
		return 0;
	return complain(e.kind == ERR_CONFLICT ? 73 : 75, e.text);
}
