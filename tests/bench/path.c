/* tests/bench/path.c -- the way of a message in one thread, to be counted in instructions.
 *
 *     path MESSAGES DIRECTORY
 *
 * Sixteen clients log in, then send a 4 KiB message each, round after round, over serve/smtp_in and
 * everything under it: session, submit, commit into a spool of segments, delivery, outcome.
 * Sockets, TLS, threads, time and chance are those of path_twin.c. DIRECTORY is empty and takes the
 * spool. Exit 0: every message was acknowledged, handed on and settled. docs/benchmarks.md has the
 * figure and tests/scenarios/006_instructions.py the method. */
#include "path_twin.h"

#include "auth/known.h"
#include "base/b64.h"
#include "history/history.h"
#include "serve/deliver.h"
#include "serve/generation.h"
#include "serve/places.h"
#include "serve/server.h"
#include "serve/smtp_in.h"

#include <stdio.h>
#include <stdlib.h>

enum { CLIENTS = 16, MESSAGE = 4096 };

static const struct slice key_text = {
	"SG.AAECAwQFBgcICQoLDA0ODw.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 69
};
static const uint64_t hash_key[2] = { 1, 2 };

static struct server server;
static struct home home;
static struct generation *generation;
static struct buf login, message;

static void must(bool ok, const char *what, const struct err *e)
{
	if (ok)
		return;
	fprintf(stderr, "path: %s: %s\n", what, e ? e->text : "failed");
	exit(1);
}

/* -- the server, as serve/start makes it -- */

static void make_certificate(const char *dir)
{
	char cert[4096], key[4096];
	struct err e = { 0 };

	snprintf(cert, sizeof cert, "%s/c.pem", dir);
	snprintf(key, sizeof key, "%s/c.key", dir);
	must(tls_make_selfsigned(S("mx.path.example"), slice_str(cert), slice_str(key), &e),
	     "certificate", &e);
}

static void read_conf(const char *dir)
{
	struct err e = { 0 };
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/signet.conf", dir);
	f = fopen(path, "w");
	must(f, path, NULL);
	fprintf(f, "hostname = \"mx.path.example\"\n"
		   "data_dir = \".\"\n"
		   "spool { path = \"spool\" }\n"
		   "tls { certificate = c.pem\n key = c.key }\n"
		   "listener \"submission\" { address = {\"127.0.0.1:587\"} }\n"
		   "route \"all\" { type = capture\n path = nowhere\n connections = 4 }\n");
	must(!fclose(f), path, NULL);
	make_certificate(dir);
	server.boot = conf_read(path, &e);
	must(server.boot, "conf", &e);
}

static void make_store(void)
{
	static const struct schema *const schemas[] = { &account_schema, &sender_schema };
	const struct actor actor = { S("path"), 1 };
	struct store_handle *h;
	struct account account;
	struct domain domain;
	struct key key;
	struct key_spec spec = { .scopes = scopes_default() };
	struct err e = { 0 };

	server.store = store_open(&store_memory, &(struct store_conf){ 0 }, schemas, 2, &e);
	h = server.store ? store_attach(server.store, &e) : NULL;
	must(
	    h && account_add(h, &actor, S("path"), &account, &e) &&
		domain_add_verified(h, &actor, account.id, S("shop.example"), false, &domain, &e) &&
		key_import(h, &actor, account.id, &spec, secret(key_text), &key, &e),
	    "store", &e);
	store_detach(h);
}

static void *attach(void *store, struct err *e)
{
	return store_attach(store, e);
}

static void detach(void *handle)
{
	store_detach(handle);
}

static void make_home(void)
{
	static const unsigned char login_key[AUTH_KNOWN_KEY];
	struct err e = { 0 };

	server.homes = &home;
	server.n_homes = 1;
	server.places = places_new(1, smtp_in_call, &server);
	home = (struct home){ .server = &server, .loop = loop_new(&e) };
	home.senders = sender_cache_new(4096, hash_key);
	home.logins = auth_known_new(1024, login_key);
	home.smtp_in = smtp_in_home_new(&home);
	must(server.places && home.loop && home.senders && home.logins && home.smtp_in, "home", &e);
}

static void make_server(const char *dir)
{
	struct lane_conf work = { .name = "work", .open = attach, .close = detach };
	struct lane_conf files = { .name = "files" };
	struct spool_conf sc;
	struct err e = { 0 };

	read_conf(dir);
	make_store();
	make_home();
	sc = (struct spool_conf){ .path = server.boot->spool.path,
				  .segment_bytes = server.boot->spool.segment,
				  .reserve_bytes = server.boot->spool.reserve,
				  .messages_max = server.boot->spool.messages_max,
				  .hash_key = { hash_key[0], hash_key[1] } };
	server.spool_backend = &spool_segments;
	server.spool = server.spool_backend->open(&sc, &e);
	must(server.spool, "spool", &e);
	work.arg = server.store;
	server.work = lane_new(&work, &e);
	server.files = lane_new(&files, &e);
	server.committer = batch_new("committer", 65536, commit_run, &server, &e);
	server.addresses = tally_new(hash_key);
	server.accounts = tally_new(hash_key);
	generation = generation_new(&server, conf_hold(server.boot), NULL, &e);
	must(generation, "generation", &e);
	generation_enter(generation, &home);
	server.history =
	    history_open(&(struct history_conf){ S("history"), 86400000, 1 << 30 }, &e);
	must(server.history, "history", &e);
	server.deliver = deliver_new(&home, &e);
	must(server.deliver, "deliver", &e);
}

static void end_server(void)
{
	smtp_in_abort(home.smtp_in);
	lane_free(server.files);
	lane_free(server.work);
	batch_free(server.committer);
	deliver_free(server.deliver);
	server.spool_backend->close(server.spool);
	store_close(server.store);
	smtp_in_home_free(home.smtp_in);
	places_free(server.places);
	generation_enter(NULL, &home);
	generation_free(generation);
	sender_cache_free(home.senders);
	auth_known_free(home.logins);
	loop_free(home.loop);
	tally_free(server.addresses);
	tally_free(server.accounts);
	conf_free(server.boot);
	buf_done(&login);
	buf_done(&message);
}

/* -- the clients -- */

static void make_login(void)
{
	struct buf plain;

	buf_init(&plain, 256);
	buf_init(&login, 1024);
	buf_add(&plain, slice("\0apikey\0", 8));
	buf_add(&plain, key_text);
	buf_add(&login, S("AUTH PLAIN "));
	b64_encode(&login, buf_slice(&plain));
	buf_add(&login, S("\r\n"));
	buf_done(&plain);
	must(!login.failed, "login", NULL);
}

/* What a library sends: some fields, lines of text, now and then one that begins with a dot. */
static void make_message(void)
{
	static const struct slice lines[] = {
		{ "Your order has left our warehouse this morning and should be with you soon.\r\n",
		  77 },
		{ "..  It holds two parcels; both have the same number, and one invoice.\r\n", 71 },
		{ "\r\n", 2 },
	};

	buf_init(&message, MESSAGE + 256);
	buf_add(&message, S("From: \"The Shop\" <orders@shop.example>\r\n"
			    "To: \"A. Customer\" <customer@dest.example>\r\n"
			    "Reply-To: help@shop.example\r\n"
			    "Subject: Your order 4711 is on its way\r\n"
			    "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
			    "Message-ID: <4711.1700000000@shop.example>\r\n"
			    "MIME-Version: 1.0\r\n"
			    "Content-Type: text/plain; charset=utf-8\r\n"
			    "Content-Transfer-Encoding: 7bit\r\n\r\n"));
	for (size_t i = 0; message.n < MESSAGE; i = (i + 1) % 9)
		buf_add(&message, lines[i < 7 ? 0 : i - 6]);
	buf_add(&message, S(".\r\n"));
	must(!message.failed, "message", NULL);
}

/* The server does what there is to do; then each client must have heard `code`. */
static void all_hear(const char *code)
{
	twin_work(CLIENTS);
	for (int i = 0; i < CLIENTS; i++) {
		struct slice heard = twin_heard(i);

		if (slice_starts(heard, slice_str(code)))
			continue;
		fprintf(stderr, "path: client %d waits for %s, hears %.*s\n", i, code,
			SLICE_ARG(heard));
		exit(1);
	}
}

static void all_say(struct slice what, const char *code)
{
	for (int i = 0; i < CLIENTS; i++)
		twin_say(i, what);
	all_hear(code);
}

static void hello(void)
{
	for (int i = 0; i < CLIENTS; i++)
		smtp_in_accept(&home, &generation->doors[0], i, "192.0.2.1");
	all_hear("220");
	all_say(S("EHLO client.example\r\n"), "250");
	all_say(S("STARTTLS\r\n"), "220");
	all_say(S("EHLO client.example\r\n"), "250");
	all_say(buf_slice(&login), "235");
}

static void send_round(void)
{
	all_say(S("MAIL FROM:<orders@shop.example> BODY=8BITMIME SIZE=4096\r\n"), "250");
	all_say(S("RCPT TO:<customer@dest.example>\r\n"), "250");
	all_say(S("DATA\r\n"), "354");
	all_say(buf_slice(&message), "250 2.0.0 Ok: queued as ");
	twin_tick();
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0;
	struct spool_count count;

	if (!n || n % CLIENTS) {
		fprintf(stderr, "usage: path MESSAGES DIRECTORY (a multiple of %d)\n", CLIENTS);
		return 2;
	}
	make_login();
	make_message();
	make_server(argv[2]);
	hello();
	for (unsigned long i = 0; i < n; i += CLIENTS)
		send_round();
	server.spool_backend->count(server.spool, &count);
	must(atomic_load(&server.accepted) == n && !count.messages, "messages are left", NULL);
	end_server();
	printf("%lu messages\n", n);
	return 0;
}
