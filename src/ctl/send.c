#include "ctl/send.h"

#include "base/buf.h"
#include "base/jsonout.h"
#include "fetch/submit.h"
#include "mime/compose.h"
#include "ops/clock.h"
#include "ops/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_TEXT "This is a test message of signet send.\n"

static int complain(int code, const char *text)
{
	fprintf(stderr, "signet: %s\n", text);
	return code;
}

/* The first line; by file or standard input, for the command line is for all to see. */
static bool read_key(struct slice where, char *key, size_t size, struct err *e)
{
	FILE *f = slice_eq(where, S("-")) ? stdin : fopen(where.p, "re");
	bool ok = f && fgets(key, (int)size, f);

	if (f && f != stdin)
		fclose(f);
	if (!ok)
		return err_set(e, ERR_INPUT, "%s: no key there", where.p);
	key[strcspn(key, "\r\n")] = '\0';
	return true;
}

/* Where the configuration listens first; 0.0.0.0 and [::] are reached on loopback. */
static bool first_address(const struct conf *c, char *host, size_t size, uint16_t *ret_port,
			  bool *ret_implicit)
{
	struct slice h, p;
	uint64_t port;

	if (!c->n_listeners || !slice_rcut(c->listeners[0].address.at[0], ':', &h, &p) ||
	    !slice_u64(p, &port) || port > 65535)
		return false;
	if (slice_eq(h, S("0.0.0.0")))
		h = S("127.0.0.1");
	if (slice_eq(h, S("[::]")))
		h = S("[::1]");
	snprintf(host, size, "%.*s", SLICE_ARG(h));
	*ret_port = (uint16_t)port;
	*ret_implicit = slice_eq(c->listeners[0].tls, S("implicit"));
	return true;
}

static bool compose(const struct ctl_args *a, struct slice hostname, struct buf *out, struct err *e)
{
	unsigned char random[12];
	char token[2 * sizeof random + 1];
	struct mime_letter l = { .from = a->from,
				 .to = a->to,
				 .subject = a->subject.n ? a->subject : S("Test message"),
				 .text = a->text.n ? a->text : S(DEFAULT_TEXT),
				 .now_ms = clock_wall_ms(),
				 .hostname = hostname };

	if (getrandom(random, sizeof random, 0) != sizeof random)
		return err_set(e, ERR_LATER, "no random bytes");
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	l.token = slice_str(token);
	return mime_compose(&l, out, e);
}

static void print_json(struct slice reply)
{
	struct json_out json;
	struct buf text;

	buf_init(&text, 8192);
	json_begin(&json, &text);
	json_open(&json);
	json_kstr(&json, "reply", reply);
	json_close(&json);
	printf("%.*s\n", SLICE_ARG(buf_slice(&text)));
	buf_done(&text);
}

static int send(const struct ctl_args *a, const struct conf *c, const char *key)
{
	char host[300];
	uint16_t port = 0;
	bool implicit = false;
	uint64_t wanted = 587;
	struct buf message, reply;
	struct err e = { 0 };
	struct fetch_mail m;
	int rc = EXIT_DONE;

	if (a->host.n) {
		snprintf(host, sizeof host, "%.*s", SLICE_ARG(a->host));
	} else if (!first_address(c, host, sizeof host, &port, &implicit)) {
		return complain(EXIT_CONFIG, "the configuration has no listener");
	}
	if (a->port.n && (!slice_u64(a->port, &wanted) || !wanted || wanted > 65535))
		return complain(EXIT_USAGE, "--port is not a port");
	if (a->host.n || a->port.n)
		port = (uint16_t)wanted;
	if (a->port.n)
		implicit = wanted == 465 || wanted == 4650;
	buf_init(&message, 1 << 20);
	buf_init(&reply, 4096);
	m = (struct fetch_mail){ .host = host,
				 .port = port,
				 .implicit_tls = implicit,
				 .user = "apikey",
				 .password = key,
				 .from = a->from.p,
				 .to = a->to.p,
				 /* Our own certificate is usually its own authority; elsewhere the
				    system's count. */
				 .ca_file = a->host.n ? NULL : c->tls.certificate.at[0].p,
				 .any_name = !a->host.n };
	if (!compose(a, c->hostname, &message, &e)) {
		rc = complain(EXIT_INPUT, e.text);
	} else {
		m.message = buf_slice(&message);
		if (!fetch_submit(&m, &reply, &e))
			rc = complain(ctl_exit_code(e.kind), e.text);
		else if (a->json)
			print_json(buf_slice(&reply));
		else
			printf("%.*s\n", SLICE_ARG(buf_slice(&reply)));
	}
	buf_done(&message);
	buf_done(&reply);
	return rc;
}

int ctl_send(const struct ctl_args *a, const char *config)
{
	const struct conf *c;
	char key[256];
	struct err e = { 0 };
	int rc;

	if (!a->from.n || !a->to.n || !a->key_file.n)
		return complain(EXIT_USAGE, "usage: signet send --from A --to B --key-file FILE|-");
	if (!read_key(a->key_file, key, sizeof key, &e))
		return complain(EXIT_USAGE, e.text);
	c = conf_read(config, &e);
	rc = c ? send(a, c, key) : complain(EXIT_CONFIG, e.text);
	explicit_bzero(key, sizeof key);
	conf_free(c);
	return rc;
}
