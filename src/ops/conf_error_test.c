/* ops/conf_error_test.c -- each complaint to the letter, with its file and line. */
#include "ops/conf_impl.h"

#include "ops/readable.h"
#include "ops/room_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The test's directory is the working directory: so that a file has a short and certain name. */
static char dir[32];

#define NOBODY 65534

static int set_up(void **state)
{
	FILE *f;

	snprintf(dir, sizeof dir, "/tmp/conf.XXXXXX");
	if (!mkdtemp(dir) || chdir(dir) || !(f = fopen("a.pem", "w")))
		return -1;
	fclose(f);
	return mkdir("sub", 0700);
}

static int tear_down(void **state)
{
	uid_t real, now, saved;

	/* A test failed while it was somebody else. */
	if (getresuid(&real, &now, &saved) || (now != saved && setresuid(saved, saved, saved)))
		return -1;
	unlink("a.pem");
	unlink("c");
	rmdir("sub");
	return chdir("/") || rmdir(dir);
}

#define TLS        "tls { certificate = {\"a.pem\"} key = {\"a.pem\"} }\n"
#define LISTEN     "listener \"x\" { address = {\"127.0.0.1:1\"} }\n"
#define HEAD       TLS LISTEN /* two lines */
#define NO_ADDRESS " is not ADDRESS:PORT (an IPv6 address stands in brackets)"
#define ISSUER(x)  "issuer \"i\" { audience = m\n\t" x "\n"
#define URL        "issuer: a URL begins with https://, or with http:// and 127.0.0.1, [::1] or localhost"
#define EIGHT      FOUR FOUR
#define FOUR       "1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,"
#define X32        "abcdefghijklmnopqrstuvwxyz012345"

static void fails(const char *text, const char *want)
{
	struct err e = { .kind = ERR_BUG };
	FILE *f = fopen("c", "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
	if (conf_read("c", &e))
		fail_msg("accepted, not \"%s\":\n%s", want, text);
	assert_string_equal(e.text, want);
	assert_int_equal(e.kind, ERR_INPUT);
}

static const struct {
	const char *text, *want;
} cases[] = {
	/* names */
	{ HEAD "nope = 1\n", "c:3: no such option 'nope'" },
	{ HEAD "spool {\n\tnope = 1\n}\n", "c:4: no such option 'nope'" },
	{ HEAD "nope {\n}\n", "c:3: no such option 'nope'" },
	{ HEAD "route \"r\" {\n\n\tSize = 1\n}\n", "c:5: no such option 'Size'" },
	/* mail exchangers */
	{ HEAD "route \"r\" {\n\ttype = mx\n\thost = \"a\"\n}\n",
	  "c:6: route: mx goes to the mail exchangers: no host, no path" },
	{ HEAD "route \"r\" {\n\ttype = mx\n\tpath = \"a\"\n}\n",
	  "c:6: route: mx goes to the mail exchangers: no host, no path" },
	{ HEAD "route \"r\" {\n\ttype = mx\n\tuser = \"a\"\n}\n",
	  "c:6: route: mx sends no password: no user" },
	{ HEAD "route \"r\" {\n\ttype = mx\n\ttls = implicit-verify\n}\n",
	  "c:6: route: mx has no implicit TLS; set tls to may, must or must-verify" },
	{ HEAD "route \"r\" {\n\thost = \"a\"\n\tallow = {\"10.0.0.0/8\"}\n}\n",
	  "c:6: route: allow is for type mx" },
	{ HEAD "route \"r\" {\n\tallow = {\"10.0.0.1/8\"}\n}\n",
	  "c:4: allow: \"10.0.0.1/8\" is not ADDRESS or ADDRESS/BITS, with no bit set behind "
	  "BITS" },
	/* issuers */
	{ HEAD "issuer \"i\" {\n\taudience = m\n}\n", "c:5: issuer: url is missing" },
	{ HEAD "issuer \"i\" {\n\turl = \"https://i\"\n}\n",
	  "c:5: issuer: jwt needs an audience: without it a token for another service would be one "
	  "for this" },
	{ HEAD ISSUER("url = \"http://i\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"http://127.0.0.1.evil\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"http://localhost@evil\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"ftp://i\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"https://\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"https:///x\"") "}\n", "c:5: " URL },
	{ HEAD ISSUER("url = \"https://i\"\n\tjwks = \"http://i\"") "}\n", "c:6: " URL },
	{ HEAD ISSUER("url = \"https://i?x\"") "}\n",
	  "c:5: issuer: url has no query (RFC 8414 2)" },
	{ HEAD ISSUER("url = \"https://i\"") "}\nissuer j { url = \"https://i\" audience = m }\n",
	  "c:6: issuer: two of them have this url" },
	{ HEAD ISSUER("url = \"https://i\"\n\ttypes = {}") "}\n",
	  "c:6: issuer: algorithms, types and claims must not be empty" },
	{ HEAD ISSUER("url = \"https://i\"\n\talgorithms = {HS256}") "}\n",
	  "c:5: algorithms: \"HS256\" is not one of: RS256 RS384 RS512 PS256 PS384 PS512 ES256 "
	  "ES384 "
	  "ES512 EdDSA" },
	{ HEAD ISSUER("url = \"https://i\"\n\talgorithms = {none}") "}\n",
	  "c:5: algorithms: \"none\" is not one of: RS256 RS384 RS512 PS256 PS384 PS512 ES256 "
	  "ES384 "
	  "ES512 EdDSA" },
	{ HEAD ISSUER("url = \"https://i\"\n\tclient_id = x") "}\n",
	  "c:6: issuer: client_id, client_secret_file and introspection are for kind opaque" },
	{ HEAD ISSUER("url = \"https://i\"\n\tkind = opaque\n\tjwks = \"https://i\"") "}\n",
	  "c:7: issuer: jwks is for kind jwt" },
	{ HEAD ISSUER("url = \"https://i\"\n\tkind = opaque\n\tclient_id = x") "}\n",
	  "c:7: issuer: opaque needs client_id and client_secret_file" },
	{ HEAD ISSUER("kind = saml") "}\n", "c:4: kind: \"saml\" is not one of: jwt opaque" },
	{ HEAD "dns { forward = {\"127.0.0.1\"} }\n", "c:3: forward: \"127.0.0.1\"" NO_ADDRESS },
	/* form */
	{ "threads =", "c: it ends inside a section, a value or a comment" },
	{ "spool {\n", "c: it ends inside a section, a value or a comment" },
	{ HEAD "spool {", "c: it ends inside a section, a value or a comment" },
	{ HEAD "/* spool {", "c: it ends inside a section, a value or a comment" },
	{ HEAD "\"spool", "c: it ends inside a section, a value or a comment" },
	{ HEAD "threads", "c: it ends inside a section, a value or a comment" },
	{ TLS "listener \"x\" { address = {\"1.1.1.1:1\"",
	  "c: it ends inside a section, a value or a comment" },
	{ "threads = 1\n}\n", "c:2: unexpected closing brace" },
	{ "threads 1\n", "c:1: missing equal sign after option 'threads'" },
	{ "spool = 1\n", "c:1: missing opening brace for section 'spool'" },
	{ "listener { }\n", "c:1: missing title for section 'listener'" },
	{ "spool {\n\tpath = \"x\"\n", "c: it ends inside a section, a value or a comment" },
	{ "hostname = \"x\n", "c: it ends inside a section, a value or a comment" },
	/* lines are counted through comments and strings */
	{ "# a\n\nthreads = x\n", "c:3: threads: \"x\" is not a number" },
	{ "// \"a\n\nthreads = x\n", "c:3: threads: \"x\" is not a number" },
	{ "/* a\n\n*/\nthreads = x\n", "c:4: threads: \"x\" is not a number" },
	{ "hostname = \"#a\" // '\nuser = '//' # \"\n/**/threads = x\n",
	  "c:3: threads: \"x\" is not a number" },
	{ "hostname = a#b\nuser=http://u\nlinks { basic_auth = \"\\\"#\" # a\n}\nthreads = "
	  "x/*b*/\n",
	  "c:5: threads: \"x\" is not a number" },
	/* twice */
	{ "threads = 1\n\nthreads = 1\n", "c:3: threads is given twice" },
	{ "limits {\n\tline = 512\n\terrors = 1\n\tline = 512\n}\n", "c:4: line is given twice" },
	{ "limits {\n\tline = 512\n}\nlimits {\n\terrors = 1\n}\n",
	  "c:6: section limits is given twice" },
	{ "limits {\n\tline = 512\n}\nlimits {\n\tline = 512\n}\n",
	  "c:6: section limits is given twice" },
	{ "tls {\n\tkey = {\"a.pem\"}\n\tkey = {\"./a.pem\"}\n}\n", "c:3: key is given twice" },
	{ "tls {\n\tkey = {\"a.pem\", \"a.pem\"}\n\tkey = {\"a.pem\"}\n}\n",
	  "c:3: key is given twice" },
	{ "tls {\n\tkey = {\"a.pem\"}\n\tkey = {\"a.pem\", \"a.pem\"}\n}\n",
	  "c:3: key is given twice" },
	{ "listener x {\n\taddress = \"1.2.3.4:5\"\n\taddress = \"1.2.3.4:6\"\n}\n",
	  "c:3: address is given twice" },
	{ HEAD "listener \"x\" {\n\taddress = {\"1.2.3.4:6\"}\n}\n",
	  "c:3: found duplicate title 'x'" },
	{ HEAD "route \"r\" { host = h }\nroute \"r\" { host = h }\n",
	  "c:4: found duplicate title 'r'" },
	/* values */
	{ "threads = x\n", "c:1: threads: \"x\" is not a number" },
	{ "threads = 65\n", "c:1: threads: \"65\" is out of range (0 to 64)" },
	{ "threads = -1\n", "c:1: threads: \"-1\" is not a number" },
	{ "\nretry {\n\tfirst = 5\n}\n",
	  "c:3: first: \"5\" is not a number with a unit: ms, s, m, h or d" },
	{ "retry { first = 5M }\n",
	  "c:1: first: \"5M\" is not a number with a unit: ms, s, m, h or d" },
	{ "retry { first = 9ms }\n", "c:1: first: \"9ms\" is out of range (10 to 86400000 ms)" },
	{ "retry { first = 2d }\n", "c:1: first: \"2d\" is out of range (10 to 86400000 ms)" },
	{ "spool { segment = 5m }\n",
	  "c:1: segment: \"5m\" is not a number of bytes, or one with K, M or G" },
	{ "spool { segment = 2G }\n",
	  "c:1: segment: \"2G\" is out of range (1048576 to 1073741824)" },
	{ "spool { segment = 99999999999999G }\n",
	  "c:1: segment: \"99999999999999G\" is out of range (1048576 to 1073741824)" },
	{ "log { format = xml }\n", "c:1: format: \"xml\" is not one of: json logfmt text" },
	{ TLS "listener \"x\" {\nmechanisms = {\"PLAIN\", \"DIGEST-MD5\"}\n}\n",
	  "c:3: mechanisms: \"DIGEST-MD5\" is not one of: SCRAM-SHA-256-PLUS SCRAM-SHA-256 "
	  "EXTERNAL "
	  "OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5" },
	{ TLS "listener \"x\" {\nmechanisms = {plain}\n}\n",
	  "c:3: mechanisms: \"plain\" is not one of: SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL "
	  "OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5" },
	{ TLS "listener \"x\" {\naddress = {\"1.1.1.1:1\"}\nmechanisms = {}\n}\n",
	  "c:5: listener: nobody can log in without mechanisms" },
	{ "log { format = \"\" }\n", "c:1: format: \"\" is not one of: json logfmt text" },
	{ "log { format = \"json logfmt\" }\n",
	  "c:1: format: \"json logfmt\" is not one of: json logfmt text" },
	{ "hostname = \"\"\n", "c:1: hostname: needs 1 to 253 characters" },
	{ "user = " X32 X32 "x\n", "c:1: user: needs 0 to 64 characters" },
	{ "hostname = \"a\\nb\"\n", "c:1: hostname: control characters are not allowed" },
	{ "listener \"x\" {\n\taddress = {\"1.2.3.4:5\", \"\"}\n}\n",
	  "c:2: address: \"\"" NO_ADDRESS },
	{ "listener \"x\" {\n\taddress = {\"localhost:25\"}\n}\n",
	  "c:2: address: \"localhost:25\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"1.2.3.4:0\" }\n",
	  "c:1: address: \"1.2.3.4:0\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"1.2.3.4:65536\" }\n",
	  "c:1: address: \"1.2.3.4:65536\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"1.2.3.4\" }\n", "c:1: address: \"1.2.3.4\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"::1:25\" }\n", "c:1: address: \"::1:25\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"[1.2.3.4]:25\" }\n",
	  "c:1: address: \"[1.2.3.4]:25\"" NO_ADDRESS },
	{ "listener \"x\" { address = \"[" X32 X32 "]:25\" }\n",
	  "c:1: address: \"[" X32 X32 "]:25\"" NO_ADDRESS },
	{ "route \"r\" {\n\tdomains = {\"a\", \"\"}\n}\n",
	  "c:2: domains: an empty value in the list" },
	{ "route \"r\" {\n\tdomains = {\"a\", \"\\t\"}\n}\n",
	  "c:2: domains: control characters are not allowed" },
	/* one place, one listener: however it is written */
	{ HEAD "listener \"y\" {\n\taddress = {\"127.0.0.1:2\", \"127.0.0.1:01\"}\n}\n",
	  "c:5: listener: address 127.0.0.1:01 is given twice" },
	{ TLS "listener \"y\" { address = {\"[::1]:1\", \"[0::01]:1\"} }\n",
	  "c:2: listener: address [0::01]:1 is given twice" },
	{ "listener \"x\" { address = {" EIGHT "\n" EIGHT "1.1.1.1:1} }\n",
	  "c:2: address: more than 16 values" },
	{ "tls { certificate = {\"a.pem\",\n\"none.pem\"} }\n",
	  "c:2: certificate: none.pem: No such file or directory" },
	/* names of sections */
	{ HEAD "route \"Upper\" {\n}\n", "c:4: a name has 1 to 32 of a-z, 0-9 and -" },
	{ HEAD "route \"\" {}\n", "c:3: a name has 1 to 32 of a-z, 0-9 and -" },
	{ HEAD "route \"a b\" {}\n", "c:3: a name has 1 to 32 of a-z, 0-9 and -" },
	{ HEAD "listener \"" X32 "x\" {}\n", "c:3: a name has 1 to 32 of a-z, 0-9 and -" },
	/* what does not fit together */
	{ "", "c: no listener is configured" },
	{ LISTEN, "c: tls: a certificate is needed" },
	{ LISTEN "tls { certificate = {\"a.pem\"} }\n",
	  "c: tls: as many keys as certificates are needed" },
	{ LISTEN "tls { key = {\"a.pem\"} }\n", "c: tls: as many keys as certificates are needed" },
	{ TLS "listener \"x\" {\n}\n", "c:3: listener: address is missing" },
	{ TLS "listener \"x\" {\n\taddress = {}\n}\n", "c:4: listener: address is missing" },
	{ HEAD "route \"r\" {\n}\n", "c:4: route: a smarthost needs a host" },
	{ HEAD "route \"r\" {\n\ttype = capture\n}\n", "c:5: route: a capture needs a path" },
	{ HEAD "route \"r\" {\n\thost = h\n\tdomains = {}\n}\n", "c:6: route: domains is empty" },
	{ HEAD "route \"r\" { host = h user = u }\n", "c:3: route: user without password_file" },
	{ HEAD "route \"r\" { host = h user = u password_file = f tls = none }\n",
	  "c:3: route: a password is never sent without TLS; set tls" },
	{ HEAD "metrics {\n\taddress = {127.0.0.1:1, \"0.0.0.0:2\"}\n}\n",
	  "c:5: metrics: an address is not on loopback; set remote = yes if that is meant" },
	{ HEAD "metrics {\n\taddress = \"[::]:2\"\n}\n",
	  "c:5: metrics: an address is not on loopback; set remote = yes if that is meant" },
	{ TLS "listener \"x\" { address = 1.1.1.1:1\n\tproxy = {\"10.0.0.0/8\", 10.0.0.1/8} }\n",
	  "c:3: proxy: \"10.0.0.1/8\" is not ADDRESS or ADDRESS/BITS, with no bit set behind "
	  "BITS" },
	{ HEAD "spool { body_memory = 255K }\n",
	  "c: spool: body_memory is smaller than limits.header_size" },
};

static void test_texts(void **state)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		fails(cases[i].text, cases[i].want);
}

/* Nothing that grows is mistaken for something given twice. */
static void test_not_twice(void **state)
{
	static const char *const good[] = {
		HEAD "listener \"y\" { tls = starttls address = {\"127.0.0.1:2\"} }\n"
		     "listener \"z\" { tls = starttls address = {\"127.0.0.2:2\"} }\n",
		TLS "listener \"x\" { address = {\"0.0.0.0:1\", \"[::]:1\", \"127.0.0.1:1\"} }\n",
		TLS "listener \"x\" { address = {\"1.1.1.1:1\"} address += {\"1.1.1.1:2\", "
		    "\"1.1.1.1:3\"} }\n",
		TLS "listener \"x\" { address = 1.1.1.1:1 }\n"
		    "listener \"y\" { address = 1.1.1.1:2 }\n",
		HEAD "route \"q\" { host = h domains = {\"a\", \"a\", \"a\"} }\n",
		HEAD "route \"r\" { host = h domains = {\"*\"} }\nroute \"s\" { host = h }\n",
	};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct err e = { 0 };
		FILE *f = fopen("c", "w");
		const struct conf *c;

		assert_true(fputs(good[i], f) >= 0);
		fclose(f);
		c = conf_read("c", &e);
		if (!c)
			fail_msg("%s", e.text);
		conf_free(c);
	}
}

static void test_files(void **state)
{
	struct err e = { 0 };
	char name[64], want[200];

	assert_null(conf_read("none", &e));
	assert_string_equal(e.text, "none: No such file or directory");
	assert_int_equal(e.kind, ERR_INPUT);
	assert_null(conf_read("sub", &e));
	assert_string_equal(e.text, "sub: Is a directory");
	/* Named as it was asked for; its certificates are looked for beside it. */
	fails(HEAD "threads = x\n", "c:3: threads: \"x\" is not a number");
	snprintf(name, sizeof name, "%s/c", dir);
	snprintf(want, sizeof want, "%s:3: threads: \"x\" is not a number", name);
	assert_null(conf_read(name, &e));
	assert_string_equal(e.text, want);
	fails("tls { key = {\"none.pem\"} }\n", "c:1: key: none.pem: No such file or directory");
	snprintf(want, sizeof want, "%s:1: key: %s/none.pem: No such file or directory", name, dir);
	assert_null(conf_read(name, &e));
	assert_string_equal(e.text, want);
}

/* The ends of each range, and one beyond. */
static void test_ranges(void **state)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option *o = &conf_options[i];
		const struct conf_section_info *s = &conf_sections[o->section];
		const char *unit = o->type == CONF_DURATION ? "ms" : "";
		const uint64_t values[4] = { o->min, o->max, o->min - 1, o->max + 1 };

		if (o->type != CONF_UINT && o->type != CONF_SIZE && o->type != CONF_DURATION)
			continue;
		for (size_t k = 0; k < 4; k++) {
			char text[200], want[200];
			unsigned long long v = values[k];

			if (k == 2 && !o->min)
				continue;
			snprintf(text, sizeof text, "%s%s %s %s = %llu%s %s\n",
				 s->name ? s->name : "", s->titled ? " x" : "", s->name ? "{" : "",
				 o->name, v, unit, s->name ? "}" : "");
			snprintf(want, sizeof want,
				 "c:1: %s: \"%llu%s\" is out of range (%llu to %llu%s)", o->name, v,
				 unit, (unsigned long long)o->min, (unsigned long long)o->max,
				 *unit ? " ms" : "");
			/* In range: the first complaint is about what is missing. */
			fails(text, k >= 2 ? want
				    : o->section == IN_LISTENER
					? "c:1: listener: address is missing"
					: "c: no listener is configured");
		}
	}
}

/* Root reads everything: as root, somebody else asks. */
static void test_unreadable(void **state)
{
	bool root = !geteuid();
	char want[300];
	struct err why;

	assert_int_equal(chmod("a.pem", 0), 0);
	if (root) {
		unlink("c");
		assert_int_equal(chown(".", NOBODY, NOBODY), 0);
		assert_int_equal(setresuid(NOBODY, NOBODY, 0), 0);
	}
	assert_false(readable_check("a.pem", &why));
	snprintf(want, sizeof want, "c:1: certificate: %s", why.text);
	fails(HEAD, want);
	if (root)
		assert_int_equal(setresuid(0, 0, 0), 0);
	assert_int_equal(chmod("a.pem", 0600), 0);
}

int test_conf_errors(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),      cmocka_unit_test(test_not_twice),
		cmocka_unit_test(test_files),      cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests_name("conf errors", tests, set_up, tear_down);
}
