/* loop/stream_test.c -- two streams of one process, one of them a TLS client. */
#include "loop/stream.h"

#include "loop/room_test.h"
#include "ops/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[32], cert[64], key[64], other_cert[64], other_key[64];
static struct tls_server *server;
static struct tls_client *client, *stranger;

static struct tls_server *server_new(const struct slice *certificates, const struct slice *keys)
{
	struct err e;
	struct tls_certs *read = tls_certs_read(certificates, keys, 1, &e);
	struct tls_server *t =
	    read ? tls_server_new(&(struct tls_server_conf){ .certs = read, .alpn = S("smtp") }, &e)
		 : NULL;

	tls_certs_free(read);
	return t;
}

static int set_up(void **state)
{
	struct err e = { 0 };
	struct slice certs[1], keys[1];

	snprintf(dir, sizeof dir, "/tmp/stream.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(cert, sizeof cert, "%s/cert.pem", dir);
	snprintf(key, sizeof key, "%s/key.pem", dir);
	snprintf(other_cert, sizeof other_cert, "%s/other.pem", dir);
	snprintf(other_key, sizeof other_key, "%s/other.key", dir);
	if (!tls_make_selfsigned(S("mail.example"), slice_str(cert), slice_str(key), &e) ||
	    !tls_make_selfsigned(S("mail.example"), slice_str(other_cert), slice_str(other_key),
				 &e))
		return -1;
	certs[0] = slice_str(cert);
	keys[0] = slice_str(key);
	server = server_new(certs, keys);
	client = tls_client_new(&(struct tls_client_conf){ .ca_file = slice_str(cert) }, &e);
	stranger =
	    tls_client_new(&(struct tls_client_conf){ .ca_file = slice_str(other_cert) }, &e);
	return server && client && stranger ? 0 : -1;
}

static int tear_down(void **state)
{
	tls_server_free(server);
	tls_client_free(client);
	tls_client_free(stranger);
	unlink(cert), unlink(key), unlink(other_cert), unlink(other_key);
	return rmdir(dir);
}

/* -- what verification says -- */

struct two {
	struct loop *loop;
	struct stream s, c;
	struct err se, ce;
};

static void nothing(void *arg)
{
	(void)arg;
}

/* No loop runs in these tests: each try is told of as a loop would. */
static enum stream_result try_read(struct stream *s, struct buf *in, size_t max)
{
	s->io.ready(s->io.arg);
	return stream_read(s, in, max);
}

static void two_open(struct two *t, int small)
{
	int fd[2];

	*t = (struct two){ .loop = loop_new(&t->se) };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	for (int i = 0; i < 2 && small; i++)
		assert_int_equal(setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	assert_true(stream_init(&t->s, t->loop, fd[0], nothing, NULL));
	assert_true(stream_init(&t->c, t->loop, fd[1], nothing, NULL));
}

static void two_close(struct two *t)
{
	stream_close(&t->s);
	stream_close(&t->s);
	stream_close(&t->c);
	loop_free(t->loop);
}

/* Both sides in turns until both are done. */
static void shake(struct two *t, enum stream_result *ret_s, enum stream_result *ret_c)
{
	*ret_s = *ret_c = STREAM_AGAIN;
	for (int i = 0; i < 10000 && (*ret_s == STREAM_AGAIN || *ret_c == STREAM_AGAIN); i++) {
		if (*ret_c == STREAM_AGAIN)
			*ret_c = stream_handshake(&t->c, &t->ce);
		if (*ret_s == STREAM_AGAIN)
			*ret_s = stream_handshake(&t->s, &t->se);
		if (*ret_c != STREAM_AGAIN && *ret_c != STREAM_OK)
			stream_close(&t->c);
	}
}

static void test_verify(void **state)
{
	static const struct {
		struct slice host;
		bool verify, strange;
		const char *text; /* NULL: accepted */
	} cases[] = {
		{ S("mail.example"), true, false, NULL },
		{ S("MAIL.example"), true, false, NULL },
		{ S("localhost"), true, false, NULL },
		{ S("127.0.0.1"), true, false, NULL },
		{ S("::1"), true, false, NULL },
		{ S("other.example"), true, false, "certificate: hostname mismatch" },
		{ S("x.mail.example"), true, false, "certificate: hostname mismatch" },
		{ S("192.0.2.1"), true, false, "certificate: IP address mismatch" },
		{ S("mail.example"), true, true, "certificate: self-signed certificate" },
		{ S("other.example"), false, false, NULL },
		{ S("mail.example"), false, true, NULL },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum stream_result rs, rc;
		struct two t;

		two_open(&t, 0);
		assert_true(stream_start_server(&t.s, server, &t.se));
		assert_true(stream_start_client(&t.c, cases[i].strange ? stranger : client,
						cases[i].host, cases[i].verify, &t.ce));
		assert_int_equal(stream_tls_info(&t.s).version.n, 0);
		shake(&t, &rs, &rc);
		if (cases[i].text) {
			assert_int_equal(rc, STREAM_ERROR);
			assert_int_equal(t.ce.kind, ERR_DENIED);
			assert_string_equal(t.ce.text, cases[i].text);
		} else {
			if (rc != STREAM_OK)
				fail_msg("%.*s: %s", SLICE_ARG(cases[i].host), t.ce.text);
			assert_int_equal(rs, STREAM_OK);
			assert_true(slice_eq(stream_tls_info(&t.s).version, S("TLSv1.3")));
			assert_true(slice_starts(stream_tls_info(&t.c).cipher, S("TLS_")));
			assert_false(stream_tls_info(&t.s).resumed);
		}
		two_close(&t);
	}
}

static void test_bad_hosts(void **state)
{
	static const struct slice hosts[] = { S(""), S("a\0b") };

	for (size_t i = 0; i < 2; i++) {
		struct two t;

		two_open(&t, 0);
		assert_false(stream_start_client(&t.c, client, hosts[i], true, &t.ce));
		assert_int_not_equal(t.ce.kind, ERR_NONE);
		two_close(&t);
	}
}

static void test_not_tls(void **state)
{
	enum stream_result r;
	struct two t;
	struct slice words = S("EHLO client.example\r\nEHLO again.example\r\n");

	two_open(&t, 0);
	assert_true(stream_start_server(&t.s, server, &t.se));
	assert_int_equal(stream_handshake(&t.s, &t.se), STREAM_AGAIN);
	assert_int_equal(stream_write_slice(&t.c, &words), STREAM_OK);
	r = stream_handshake(&t.s, &t.se);
	assert_int_equal(r, STREAM_ERROR);
	assert_string_equal(t.se.text, "TLS handshake: wrong version number");
	two_close(&t);

	two_open(&t, 0);
	assert_true(stream_start_server(&t.s, server, &t.se));
	stream_close(&t.c);
	assert_int_not_equal(stream_handshake(&t.s, &t.se), STREAM_AGAIN);
	assert_string_equal(t.se.text, "TLS handshake: connection closed");
	assert_int_equal(t.se.kind, ERR_LATER);
	two_close(&t);
}

/* -- bytes -- */

#define BIG (3u << 20)

static char byte_at(size_t i, bool to_server)
{
	return (char)(i * 2654435761u >> (to_server ? 13 : 11));
}

struct flow {
	struct stream *s;
	struct buf out, in;
	size_t sent, got; /* of BIG: put into out, taken from in */
	bool is_server;
};

/* One turn: a bit of everything that is possible. */
static void turn(struct flow *f)
{
	enum stream_result r;

	while (f->sent < BIG && f->out.n < 50000)
		buf_addc(&f->out, byte_at(f->sent++, !f->is_server));
	r = stream_write(f->s, &f->out);
	assert_true(r == STREAM_OK || r == STREAM_AGAIN);
	r = try_read(f->s, &f->in, f->is_server ? 1000000 : 777);
	assert_true(r == STREAM_OK || r == STREAM_AGAIN);
	for (size_t i = 0; i < f->in.n; i++)
		if (f->in.p[i] != byte_at(f->got++, f->is_server))
			fail_msg("byte %zu is wrong", f->got - 1);
	buf_clear(&f->in);
}

/* Large both ways at once through sockets that take little. */
static void test_big(void **state)
{
	for (int tls = 0; tls < 2; tls++) {
		struct two t;
		enum stream_result rs, rc;

		two_open(&t, 5000);
		if (tls) {
			assert_true(stream_start_server(&t.s, server, &t.se));
			assert_true(
			    stream_start_client(&t.c, client, S("mail.example"), true, &t.ce));
			shake(&t, &rs, &rc);
			assert_int_equal(rs, STREAM_OK);
			assert_int_equal(rc, STREAM_OK);
		}
		struct flow s = { .s = &t.s, .is_server = true }, c = { .s = &t.c };
		buf_init(&s.in, 20000); /* less than is asked for at once */
		buf_init(&s.out, 60000);
		buf_init(&c.in, 20000);
		buf_init(&c.out, 60000);
		for (size_t i = 0; i < 1000000 && (s.got < BIG || c.got < BIG); i++) {
			turn(&s);
			turn(&c);
		}
		assert_int_equal(s.got, BIG);
		assert_int_equal(c.got, BIG);
		assert_false(s.in.failed || s.out.failed || c.in.failed || c.out.failed);
		buf_done(&s.in), buf_done(&s.out), buf_done(&c.in), buf_done(&c.out);
		two_close(&t);
	}
}

static void test_no_room(void **state)
{
	struct two t;
	struct buf in;
	struct slice words = S("0123456789");

	two_open(&t, 0);
	buf_init(&in, 8);
	assert_int_equal(try_read(&t.s, &in, 100), STREAM_AGAIN);
	assert_int_equal(stream_write_slice(&t.c, &words), STREAM_OK);
	assert_int_equal(words.n, 0);
	assert_int_equal(try_read(&t.s, &in, 3), STREAM_OK);
	assert_int_equal(in.n, 3);
	assert_int_equal(try_read(&t.s, &in, 100), STREAM_OK);
	assert_int_equal(in.n, 8);
	assert_false(in.failed);
	assert_int_equal(try_read(&t.s, &in, 100), STREAM_ERROR);
	buf_shift(&in, 8);
	assert_int_equal(try_read(&t.s, &in, 100), STREAM_OK);
	assert_true(slice_eq(buf_slice(&in), S("89")));
	stream_close(&t.c);
	assert_int_equal(try_read(&t.s, &in, 100), STREAM_EOF);
	assert_int_equal(stream_write_slice(&t.s, &(struct slice){ "x", 1 }), STREAM_ERROR);
	buf_done(&in);
	two_close(&t);
}

/* The rest of a record is there to be read, without being told. */
static void test_rest_of_a_record(void **state)
{
	struct slice words = S("0123456789");
	enum stream_result rs, rc;
	struct two t;
	struct buf in;

	two_open(&t, 0);
	buf_init(&in, 100);
	assert_true(stream_start_server(&t.s, server, &t.se));
	assert_true(stream_start_client(&t.c, client, S("mail.example"), true, &t.ce));
	shake(&t, &rs, &rc);
	assert_int_equal(stream_write_slice(&t.c, &words), STREAM_OK);
	assert_int_equal(try_read(&t.s, &in, 3), STREAM_OK);
	assert_int_equal(stream_read(&t.s, &in, 100), STREAM_OK);
	assert_true(slice_eq(buf_slice(&in), S("0123456789")));
	assert_int_equal(stream_read(&t.s, &in, 90), STREAM_AGAIN);
	buf_done(&in);
	two_close(&t);
}

/* Buffers are given back and taken again, and never with something in them. */
static void test_relax(void **state)
{
	enum stream_result rs, rc;
	struct two t;
	struct buf in;

	(void)state;
	two_open(&t, 0);
	buf_init(&in, 100);
	stream_relax(&t.s); /* harmless without TLS */
	assert_true(stream_start_server(&t.s, server, &t.se));
	assert_true(stream_start_client(&t.c, client, S("mail.example"), true, &t.ce));
	stream_relax(&t.c); /* and in the middle of a handshake */
	shake(&t, &rs, &rc);
	assert_int_equal(rs, STREAM_OK);
	for (int i = 0; i < 4; i++) {
		struct slice words = S("0123456789");

		assert_true(i == 0 || !stream_holds(&t.s));
		assert_int_equal(stream_write_slice(&t.c, &words), STREAM_OK);
		assert_int_equal(try_read(&t.s, &in, 3), STREAM_OK);
		assert_true(stream_holds(&t.s));
		stream_relax(&t.s); /* seven bytes of the record are in there */
		assert_int_equal(stream_read(&t.s, &in, 100 - in.n), STREAM_OK);
		assert_true(slice_eq(buf_slice(&in), S("0123456789")));
		buf_clear(&in);
		assert_int_equal(stream_read(&t.s, &in, 100), STREAM_AGAIN);
		stream_relax(&t.s);
		stream_relax(&t.c);
	}
	buf_done(&in);
	two_close(&t);
}

/* -- driven by the loop -- */

struct told {
	struct stream s;
	struct loop *loop;
	struct buf in;
	unsigned calls, reads;
};

/* Reads as drivers do, until there is no more. */
static void on_told(void *arg)
{
	struct told *r = arg;

	r->calls++;
	while (stream_read(&r->s, &r->in, 100) == STREAM_OK)
		r->reads++;
	loop_stop(r->loop);
}

/* What a read has drained is not asked again, and what comes later is told of. */
static void test_drained(void **state)
{
	struct err e;
	struct told r = { .loop = loop_new(&e) };
	int fd[2];

	buf_init(&r.in, 1000);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	assert_true(stream_init(&r.s, r.loop, fd[0], on_told, &r));
	assert_int_equal(write(fd[1], "abc", 3), 3);
	assert_int_equal(stream_read(&r.s, &r.in, 2), STREAM_OK); /* there may be more */
	assert_int_equal(stream_read(&r.s, &r.in, 100), STREAM_OK);
	assert_int_equal(write(fd[1], "def", 3), 3);
	assert_int_equal(stream_read(&r.s, &r.in, 100), STREAM_AGAIN); /* nobody has told us */
	stream_want(&r.s, true, false);
	loop_run(r.loop);
	assert_int_equal(r.calls, 1);
	assert_int_equal(r.reads, 1);
	assert_true(slice_eq(buf_slice(&r.in), S("abcdef")));
	close(fd[1]);
	assert_int_equal(stream_read(&r.s, &r.in, 100), STREAM_AGAIN);
	r.s.io.ready(r.s.io.arg);
	assert_int_equal(stream_read(&r.s, &r.in, 100), STREAM_EOF);
	stream_close(&r.s);
	loop_free(r.loop);
	buf_done(&r.in);
}

struct reader {
	struct stream s;
	struct loop *loop;
	struct tls_server *tls;
	struct buf in;
	bool shaken;
	size_t wanted, step, stop_at;
	unsigned spins;
	enum stream_result end;
};

/* Reads `step` bytes in each turn, as a server that takes one command at a time. */
static void on_ready(void *arg)
{
	struct reader *r = arg;
	enum stream_result got;
	struct err e;

	r->spins++;
	if (!r->shaken) {
		got = stream_handshake(&r->s, &e);
		if (got == STREAM_OK)
			r->shaken = true;
		else if (got != STREAM_AGAIN)
			fail_msg("%s", e.text);
		stream_want(&r->s, true, stream_wants_write(&r->s));
		return;
	}
	got = stream_read(&r->s, &r->in, r->step);
	if ((got == STREAM_OK || got == STREAM_AGAIN) && r->in.n < r->stop_at) {
		stream_want(&r->s, true, false);
		return;
	}
	r->end = got;
	loop_stop(r->loop);
}

struct writer {
	struct stream s;
	struct buf out;
	bool shaken, closes;
};

static void on_writer(void *arg)
{
	struct writer *w = arg;
	enum stream_result r;
	struct err e;

	if (!w->shaken) {
		r = stream_handshake(&w->s, &e);
		if (r == STREAM_AGAIN) {
			stream_want(&w->s, true, stream_wants_write(&w->s));
			return;
		}
		assert_int_equal(r, STREAM_OK);
		w->shaken = true;
	}
	/* With the end of the handshake, in one go. */
	r = stream_write(&w->s, &w->out);
	assert_true(r == STREAM_OK || r == STREAM_AGAIN);
	stream_want(&w->s, false, w->out.n > 0);
	/* A close would wake the reader, too. */
	if (!w->out.n && w->closes)
		stream_close(&w->s);
}

static void on_end(void *arg)
{
	loop_stop(arg);
}

/* What TLS has taken from the socket and nobody has read yet makes no descriptor readable. */
static void test_nothing_is_forgotten(void **state)
{
	static const size_t steps[] = { 1, 7, 1000, 16384 }, sizes[] = { 1, 100, 40000 };

	for (size_t i = 0; i < 24; i++) {
		bool closes = i >= 12;
		struct loop_timer end;
		struct reader r = { .step = steps[i % 4], .wanted = sizes[i % 12 / 4] };
		struct writer w = { .closes = closes };
		struct err e;
		int fd[2];

		r.stop_at = closes ? SIZE_MAX : r.wanted;
		r.loop = loop_new(&e);
		buf_init(&r.in, 100000);
		buf_init(&w.out, 100000);
		for (size_t k = 0; k < r.wanted; k++)
			buf_addc(&w.out, byte_at(k, true));
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
		assert_true(stream_init(&r.s, r.loop, fd[0], on_ready, &r));
		assert_true(stream_init(&w.s, r.loop, fd[1], on_writer, &w));
		assert_true(stream_start_server(&r.s, server, &e));
		assert_true(stream_start_client(&w.s, client, S("mail.example"), true, &e));
		stream_want(&r.s, true, false);
		stream_want(&w.s, true, true);
		loop_timer_init(&end, r.loop, on_end, r.loop);
		loop_timer_set(&end, 5000);
		loop_run(r.loop);
		loop_timer_cancel(&end);
		assert_int_equal(r.in.n, r.wanted);
		for (size_t k = 0; k < r.wanted; k++)
			assert_int_equal(r.in.p[k], byte_at(k, true));
		assert_int_equal(r.end, closes ? STREAM_EOF : STREAM_OK);
		/* And without spinning. */
		assert_in_range(r.spins, 1, r.wanted / r.step + 40);
		stream_close(&r.s);
		stream_close(&w.s);
		buf_done(&r.in);
		buf_done(&w.out);
		loop_free(r.loop);
	}
}

/* A listener's context may go while its connections live. */
static void test_context_goes_first(void **state)
{
	struct slice certs[] = { slice_str(cert) }, keys[] = { slice_str(key) };
	struct err e;
	struct tls_server *own = server_new(certs, keys);
	struct tls_client *mine =
	    tls_client_new(&(struct tls_client_conf){ .ca_file = certs[0] }, &e);
	enum stream_result rs, rc;
	struct two t;

	two_open(&t, 0);
	assert_true(stream_start_server(&t.s, own, &t.se));
	assert_true(stream_start_client(&t.c, mine, S("mail.example"), true, &t.ce));
	tls_server_free(own);
	tls_client_free(mine);
	shake(&t, &rs, &rc);
	assert_int_equal(rs, STREAM_OK);
	assert_int_equal(rc, STREAM_OK);
	two_close(&t);
}

static void test_selfsigned(void **state)
{
	char one[64], two[64], want[120];
	struct err e = { 0 };
	struct stat s;

	assert_int_equal(stat(key, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	snprintf(one, sizeof one, "%s/new.pem", dir);
	snprintf(two, sizeof two, "%s/new.key", dir);
	/* The certificate is there already: no key stays behind. */
	assert_false(tls_make_selfsigned(S("h"), slice_str(cert), slice_str(two), &e));
	snprintf(want, sizeof want, "%s: File exists", cert);
	assert_string_equal(e.text, want);
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(stat(two, &s), -1);
	/* The key is there already: it stays, and no certificate comes. */
	assert_false(tls_make_selfsigned(S("h"), slice_str(one), slice_str(key), &e));
	assert_int_equal(e.kind, ERR_CONFLICT);
	assert_int_equal(stat(one, &s), -1);
	assert_int_equal(stat(key, &s), 0);
	assert_true(s.st_size > 100);
	assert_false(tls_make_selfsigned(S("h"), slice_str(one), S("/nonexistent/key"), &e));
	assert_string_equal(e.text, "/nonexistent/key: No such file or directory");
	assert_false(tls_make_selfsigned(S(""), slice_str(one), slice_str(two), &e));
	assert_int_equal(stat(two, &s), -1);
}

int test_stream(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_bad_hosts),
		cmocka_unit_test(test_not_tls),
		cmocka_unit_test(test_big),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_rest_of_a_record),
		cmocka_unit_test(test_relax),
		cmocka_unit_test(test_drained),
		cmocka_unit_test(test_nothing_is_forgotten),
		cmocka_unit_test(test_context_goes_first),
		cmocka_unit_test(test_selfsigned),
	};

	return cmocka_run_group_tests_name("stream", tests, set_up, tear_down);
}
