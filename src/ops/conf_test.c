/* ops/conf_test.c -- what is read, what stands where nothing is written, and the way back. */
#include "ops/conf_rig_test.h"

#include "ops/room_test.h"

#include <stdio.h>

/* Every option with its default: in the struct, which the dump is made from. */
static const char defaults[] =
    "hostname = \"localhost\"\n"
    "user = \"\"\n"
    "data_dir = \"/var/lib/signet\"\n"
    "control_socket = \"/run/signet/control\"\n"
    "threads = 0\n"
    "\nspool {\n"
    "\tpath = \"/var/spool/signet\"\n"
    "\tsegment = 67108864\n"
    "\treserve = 268435456\n"
    "\tmessages_max = 5000000\n"
    "\tbody_memory = 262144\n"
    "}\n"
    "\ntls {\n"
    "\tcertificate = {\"%s/a.pem\"}\n"
    "\tkey = {\"%s/b.pem\"}\n"
    "\twatch = 60000ms\n"
    "}\n"
    "\nlimits {\n"
    "\tline = 2048\n"
    "\tauth_line = 12288\n"
    "\tmessage = 31457280\n"
    "\trecipients = 1000\n"
    "\tbody_line = 998\n"
    "\theader_size = 262144\n"
    "\theader_fields = 1000\n"
    "\treceived = 100\n"
    "\tcommands = 1000\n"
    "\terrors = 20\n"
    "\tauth_failures = 3\n"
    "\tmessages_per_connection = 0\n"
    "\tconnections = 10000\n"
    "\tconnections_per_address = 200\n"
    "\tconnections_per_account = 1000\n"
    "\tmemory = 536870912\n"
    "\ttime_proxy = 10000ms\n"
    "\ttime_login = 60000ms\n"
    "\ttime_tls = 30000ms\n"
    "\ttime_command = 300000ms\n"
    "\ttime_body = 180000ms\n"
    "\ttime_write = 60000ms\n"
    "\ttime_session = 86400000ms\n"
    "\tshutdown_grace = 30000ms\n"
    "\tbody_min_rate = 256\n"
    "\tbody_grace = 60000ms\n"
    "}\n"
    "\nretry {\n"
    "\tfirst = 60000ms\n"
    "\tfactor = 2000\n"
    "\tmax = 14400000ms\n"
    "\tjitter = 250\n"
    "\tlifetime = 432000000ms\n"
    "}\n"
    "\ndelivery {\n"
    "\tconnect = 30000ms\n"
    "\tgreeting = 300000ms\n"
    "\tehlo = 300000ms\n"
    "\ttls = 60000ms\n"
    "\tauth = 60000ms\n"
    "\tmail = 300000ms\n"
    "\trcpt = 300000ms\n"
    "\tdata = 120000ms\n"
    "\tbody = 180000ms\n"
    "\tdot = 600000ms\n"
    "\tquit = 10000ms\n"
    "\tidle = 5000ms\n"
    "\tconnections = 1000\n"
    "}\n"
    "\ndns {\n"
    "\tforward = {}\n"
    "\trecursive = \"no\"\n"
    "\ttrust_anchor = \"/usr/share/dns/root.key\"\n"
    "\tinsecure = {}\n"
    "\ttimeout = 20000ms\n"
    "}\n"
    "\nbounce {\n"
    "\tenabled = \"yes\"\n"
    "\tfrom = \"\"\n"
    "\tdelay_notice = 14400000ms\n"
    "\tdelay_warning = \"no\"\n"
    "\tfull_size = 262144\n"
    "\tper_hour = 1000\n"
    "}\n"
    "\nguard {\n"
    "\tfree = 3\n"
    "\tdelay = 500ms\n"
    "\tdelay_max = 10000ms\n"
    "\tban_after = 20\n"
    "\tban = 900000ms\n"
    "\tban_max = 86400000ms\n"
    "\thalf_life = 600000ms\n"
    "\tremember = 86400000ms\n"
    "\tper_minute = 600\n"
    "\tallow = {}\n"
    "\tmemory = 67108864\n"
    "}\n"
    "\nauthlog {\n"
    "\tkeep = 7776000000ms\n"
    "\trows = 1000000\n"
    "}\n"
    "\nqueue {\n"
    "\tclosed_keep = 604800000ms\n"
    "}\n"
    "\nhistory {\n"
    "\tkeep = 259200000ms\n"
    "\tmax_size = 1073741824\n"
    "}\n"
    "\nlog {\n"
    "\tformat = \"json\"\n"
    "}\n"
    "\nmetrics {\n"
    "\taddress = {}\n"
    "\tremote = \"no\"\n"
    "}\n"
    "\nlinks {\n"
    "\tbasic_auth = \"https://signet.example/docs/api-keys\"\n"
    "\tsender_identity = \"https://signet.example/docs/sender-identity\"\n"
    "}\n"
    "\nlistener \"one\" {\n"
    "\taddress = {\"127.0.0.1:587\"}\n"
    "\ttls = \"starttls\"\n"
    "\tproxy = {}\n"
    "\tmechanisms = {\"OAUTHBEARER\", \"XOAUTH2\", \"PLAIN\", \"LOGIN\"}\n"
    "\tclient_ca = \"\"\n"
    "\tbind_end_point = \"no\"\n"
    "}\n"
    "\nroute \"out\" {\n"
    "\tdomains = {\"*\"}\n"
    "\ttype = \"smarthost\"\n"
    "\tpath = \"\"\n"
    "\thost = \"mail.example\"\n"
    "\tport = 0\n"
    "\ttls = \"auto\"\n"
    "\tuser = \"\"\n"
    "\tpassword_file = \"\"\n"
    "\tca_file = \"\"\n"
    "\tallow = {}\n"
    "\tconnections = 10\n"
    "\tmessages_per_connection = 100\n"
    "}\n"
    "\nissuer \"sso\" {\n"
    "\turl = \"https://sso.example\"\n"
    "\tkind = \"jwt\"\n"
    "\taudience = \"mail\"\n"
    "\tscope = \"mail.send\"\n"
    "\talgorithms = {\"RS256\", \"PS256\", \"ES256\", \"EdDSA\"}\n"
    "\ttypes = {\"at+jwt\"}\n"
    "\tclaims = {\"sub\"}\n"
    "\tjwks = \"\"\n"
    "\tintrospection = \"\"\n"
    "\tclient_id = \"\"\n"
    "\tclient_secret_file = \"\"\n"
    "\tca_file = \"\"\n"
    "\ttimeout = 5000ms\n"
    "\tfresh = 3600000ms\n"
    "}\n";

static void assert_dump(const struct conf *c, struct buf *ret)
{
	buf_init(ret, 1 << 20);
	conf_dump(c, ret);
	buf_addc(ret, 0);
	assert_false(ret->failed);
}

static void test_defaults(void **state)
{
	const struct conf *c = read_text(
	    SMALLEST "route \"out\" { host = \"mail.example\" }\n"
		     "issuer \"sso\" { url = \"https://sso.example\" audience = mail }\n");
	struct buf want, got;

	buf_init(&want, 1 << 20);
	/* The format is ours, not anybody's input. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	buf_addf(&want, defaults, conf_dir, conf_dir);
#pragma GCC diagnostic pop
	buf_addc(&want, 0);
	assert_dump(c, &got);
	assert_string_equal(got.p, want.p);
	buf_done(&want);
	buf_done(&got);
	/* The dump and the struct are one: look at some places that could be mixed up. */
	assert_int_equal(c->limits.errors, 20);
	assert_int_equal(c->limits.time_session, 86400000);
	assert_int_equal(c->delivery.idle, 5000);
	assert_int_equal(c->retry.lifetime, 432000000);
	assert_int_equal(c->n_listeners, 1);
	assert_int_equal(c->n_routes, 1);
	assert_slice(c->routes[0].tls, "auto");
	conf_free(c);
}

static void test_no_routes(void **state)
{
	const struct conf *c = read_text(SMALLEST);

	assert_int_equal(c->n_routes, 0);
	conf_free(c);
}

/* Everything set to something else, in as many spellings as there are. */
static const char other[] =
    "# a comment\n"
    "hostname = mail.example\n"
    "user = 'signet'\n"
    "data_dir = \"state\"\n"
    "control_socket = \"run/control\"\n"
    "threads = 3 // another\n"
    "spool { path = \"/q\" segment = 2M reserve = 1G messages_max = 0 body_memory = 64K }\n"
    "tls {\n"
    "\tcertificate = { \"a.pem\", b.pem }\n"
    "\tkey = { \"b.pem\", \"a.pem\" }\n"
    "\twatch = 0s\n"
    "}\n"
    "limits {\n"
    "\tline = 512 auth_line = 16K message = 1M recipients = 100 body_line = 0\n"
    "\theader_size = 64K header_fields = 51 received = 11 commands = 1 errors = 2\n"
    "\tauth_failures = 4 messages_per_connection = 5 connections = 6\n"
    "\tconnections_per_address = 7 connections_per_account = 8 memory = 2M\n"
    "\ttime_proxy = 9s time_login = 1s time_tls = 1500ms time_command = 1m time_body = 2m "
    "time_write = 3m\n"
    "\ttime_session = 30d shutdown_grace = 0s body_min_rate = 0 body_grace = 1h\n"
    "}\n"
    "retry { first = 10ms factor = 1000 max = 7d jitter = 0 lifetime = 1s }\n"
    "delivery {\n"
    "\tconnect = 101ms greeting = 102ms ehlo = 103ms tls = 104ms auth = 105ms mail = 106ms\n"
    "\trcpt = 107ms data = 108ms body = 109ms dot = 110ms quit = 111ms idle = 0ms\n"
    "\tconnections = 12\n"
    "}\n"
    "dns { forward = {\"127.0.0.1:53\", \"[::1]:5353\"} recursive = yes trust_anchor = \"\"\n"
    "\tinsecure = {\"corp.test\"} timeout = 1s }\n"
    "bounce { enabled = no from = a@b.example delay_notice = 1h delay_warning = yes\n"
    "\tfull_size = 0 per_hour = 7 }\n"
    "guard { free = 1 delay = 2s delay_max = 3s ban_after = 4 ban = 5m ban_max = 6h half_life = "
    "7s\n"
    "\tremember = 8d per_minute = 9 allow = { 10.0.0.0/8, \"::1\" } memory = 1M }\n"
    "authlog { keep = 0ms rows = 1000 }\n"
    "log { format = logfmt }\n"
    "metrics { address = { 127.0.0.1:1, \"[::1]:2\", 192.0.2.1:3 } remote = yes }\n"
    "links { basic_auth = \"x\" sender_identity = 'a \"b\" \\\\ ${HOME}' }\n"
    "listener \"one\" { address = { \"127.0.0.1:587\", \"[::1]:587\" } }\n"
    "listener two-2 { address = \"[::]:465\" tls = implicit\n"
    "\tproxy = { 10.0.0.0/8, \"::1\" } }\n"
    "route \"kept\" { domains = { \"a.example\", b.example } type = capture path = \"mail\" }\n"
    "route \"on\" { host = h port = 25 tls = may connections = 1 messages_per_connection = 0 }\n"
    "route \"out\" { domains = \"c.example\" host = \"192.0.2.1\" tls = implicit-verify user = u\n"
    "\tpassword_file = pw ca_file = \"/ca.pem\" port = 65535 }\n"
    "route \"world\" { domains = \"d.example\" type = mx allow = {\"10.0.0.0/8\", \"::1\"} }\n";

static void test_everything_else(void **state)
{
	const struct conf *c = read_text(other);
	char path[80];

	assert_slice(c->hostname, "mail.example");
	assert_slice(c->user, "signet");
	snprintf(path, sizeof path, "%s/state", conf_dir);
	assert_slice(c->data_dir, path);
	snprintf(path, sizeof path, "%s/run/control", conf_dir);
	assert_slice(c->control_socket, path);
	assert_int_equal(c->threads, 3);
	assert_slice(c->spool.path, "/q");
	assert_int_equal(c->spool.segment, 2 << 20);
	assert_int_equal(c->spool.reserve, 1 << 30);
	assert_int_equal(c->spool.messages_max, 0);
	assert_int_equal(c->spool.body_memory, 65536);
	assert_int_equal(c->tls.certificate.n, 2);
	snprintf(path, sizeof path, "%s/b.pem", conf_dir);
	assert_slice(c->tls.certificate.at[1], path);
	assert_slice(c->tls.key.at[0], path);
	assert_int_equal(c->limits.line, 512);
	assert_int_equal(c->limits.auth_line, 16384);
	assert_int_equal(c->limits.message, 1 << 20);
	assert_int_equal(c->limits.recipients, 100);
	assert_int_equal(c->limits.body_line, 0);
	assert_int_equal(c->limits.header_size, 65536);
	assert_int_equal(c->limits.header_fields, 51);
	assert_int_equal(c->limits.received, 11);
	assert_int_equal(c->limits.commands, 1);
	assert_int_equal(c->limits.errors, 2);
	assert_int_equal(c->limits.auth_failures, 4);
	assert_int_equal(c->limits.messages_per_connection, 5);
	assert_int_equal(c->limits.connections, 6);
	assert_int_equal(c->limits.connections_per_address, 7);
	assert_int_equal(c->limits.connections_per_account, 8);
	assert_int_equal(c->limits.memory, 2 << 20);
	assert_int_equal(c->limits.time_proxy, 9000);
	assert_int_equal(c->limits.time_login, 1000);
	assert_int_equal(c->limits.time_tls, 1500);
	assert_int_equal(c->limits.time_command, 60000);
	assert_int_equal(c->limits.time_body, 120000);
	assert_int_equal(c->limits.time_write, 180000);
	assert_int_equal(c->limits.time_session, 2592000000);
	assert_int_equal(c->limits.shutdown_grace, 0);
	assert_int_equal(c->limits.body_min_rate, 0);
	assert_int_equal(c->limits.body_grace, 3600000);
	assert_int_equal(c->retry.first, 10);
	assert_int_equal(c->retry.factor, 1000);
	assert_int_equal(c->retry.max, 604800000);
	assert_int_equal(c->retry.jitter, 0);
	assert_int_equal(c->retry.lifetime, 1000);
	assert_int_equal(c->delivery.connect, 101);
	assert_int_equal(c->delivery.greeting, 102);
	assert_int_equal(c->delivery.ehlo, 103);
	assert_int_equal(c->delivery.tls, 104);
	assert_int_equal(c->delivery.auth, 105);
	assert_int_equal(c->delivery.mail, 106);
	assert_int_equal(c->delivery.rcpt, 107);
	assert_int_equal(c->delivery.data, 108);
	assert_int_equal(c->delivery.body, 109);
	assert_int_equal(c->delivery.dot, 110);
	assert_int_equal(c->delivery.quit, 111);
	assert_int_equal(c->delivery.idle, 0);
	assert_int_equal(c->delivery.connections, 12);
	assert_int_equal(c->dns.forward.n, 2);
	assert_slice(c->dns.forward.at[1], "[::1]:5353");
	assert_slice(c->dns.recursive, "yes");
	assert_slice(c->dns.trust_anchor, "");
	assert_slice(c->dns.insecure.at[0], "corp.test");
	assert_int_equal(c->dns.timeout, 1000);
	assert_slice(c->bounce.enabled, "no");
	assert_slice(c->bounce.from, "a@b.example");
	assert_int_equal(c->bounce.delay_notice, 3600000);
	assert_slice(c->bounce.delay_warning, "yes");
	assert_int_equal(c->bounce.full_size, 0);
	assert_int_equal(c->bounce.per_hour, 7);
	assert_int_equal(c->guard.free, 1);
	assert_int_equal(c->guard.delay, 2000);
	assert_int_equal(c->guard.delay_max, 3000);
	assert_int_equal(c->guard.ban_after, 4);
	assert_int_equal(c->guard.ban, 5 * 60000);
	assert_int_equal(c->guard.ban_max, 6 * 3600000);
	assert_int_equal(c->guard.half_life, 7000);
	assert_int_equal(c->guard.remember, 8 * 86400000);
	assert_int_equal(c->guard.per_minute, 9);
	assert_int_equal(c->guard.allow.n, 2);
	assert_slice(c->guard.allow.at[1], "::1");
	assert_int_equal(c->guard.memory, 1 << 20);
	assert_int_equal(c->authlog.keep, 0);
	assert_int_equal(c->authlog.rows, 1000);
	assert_slice(c->log.format, "logfmt");
	assert_slice(c->links.basic_auth, "x");
	assert_slice(c->links.sender_identity, "a \"b\" \\ ${HOME}");
	assert_int_equal(c->n_listeners, 2);
	assert_slice(c->listeners[0].name, "one");
	assert_int_equal(c->listeners[0].address.n, 2);
	assert_slice(c->listeners[0].address.at[1], "[::1]:587");
	assert_slice(c->listeners[0].tls, "starttls");
	assert_slice(c->listeners[1].name, "two-2");
	assert_slice(c->listeners[1].tls, "implicit");
	assert_int_equal(c->listeners[0].proxy.n, 0);
	assert_int_equal(c->listeners[1].proxy.n, 2);
	assert_slice(c->listeners[1].proxy.at[0], "10.0.0.0/8");
	assert_int_equal(c->metrics.address.n, 3);
	assert_slice(c->metrics.address.at[1], "[::1]:2");
	assert_slice(c->metrics.remote, "yes");
	assert_int_equal(c->n_routes, 4);
	assert_slice(c->routes[3].type, "mx");
	assert_int_equal(c->routes[3].allow.n, 2);
	assert_slice(c->routes[3].allow.at[1], "::1");
	assert_slice(c->routes[0].name, "kept");
	assert_int_equal(c->routes[0].domains.n, 2);
	assert_slice(c->routes[0].domains.at[1], "b.example");
	snprintf(path, sizeof path, "%s/mail", conf_dir);
	assert_slice(c->routes[0].path, path);
	assert_int_equal(c->routes[1].domains.n, 1);
	assert_slice(c->routes[1].domains.at[0], "*");
	assert_int_equal(c->routes[1].port, 25);
	assert_slice(c->routes[1].tls, "may");
	assert_int_equal(c->routes[1].connections, 1);
	assert_int_equal(c->routes[1].messages_per_connection, 0);
	assert_slice(c->routes[2].user, "u");
	snprintf(path, sizeof path, "%s/pw", conf_dir);
	assert_slice(c->routes[2].password_file, path);
	assert_slice(c->routes[2].ca_file, "/ca.pem");
	assert_int_equal(c->routes[2].port, 65535);
	conf_free(c);
}

/* A dump is a file that means the same. */
static void test_dump_again(void **state)
{
	static const char *const texts[] = { SMALLEST, other };

	for (size_t i = 0; i < 2; i++) {
		const struct conf *c = read_text(texts[i]);
		struct buf first, second;

		assert_dump(c, &first);
		conf_free(c);
		c = read_text(first.p);
		assert_dump(c, &second);
		conf_free(c);
		assert_string_equal(first.p, second.p);
		buf_done(&first);
		buf_done(&second);
	}
}

static void test_numbers(void **state)
{
	static const struct {
		enum conf_type type;
		struct slice text;
		uint64_t value;
		bool bad;
	} cases[] = {
		{ CONF_UINT, S("0"), 0 },
		{ CONF_UINT, S("18446744073709551615"), UINT64_MAX },
		{ CONF_UINT, S("18446744073709551616"), .bad = true },
		{ CONF_UINT, S(""), .bad = true },
		{ CONF_UINT, S("1K"), .bad = true },
		{ CONF_UINT, S("-1"), .bad = true },
		{ CONF_UINT, S("+1"), .bad = true },
		{ CONF_UINT, S(" 1"), .bad = true },
		{ CONF_UINT, S("1 "), .bad = true },
		{ CONF_UINT, S("0x10"), .bad = true },
		{ CONF_SIZE, S("7"), 7 },
		{ CONF_SIZE, S("7K"), 7168 },
		{ CONF_SIZE, S("7M"), 7340032 },
		{ CONF_SIZE, S("7G"), 7516192768 },
		{ CONF_SIZE, S("7k"), .bad = true },
		{ CONF_SIZE, S("7KB"), .bad = true },
		{ CONF_SIZE, S("7 K"), .bad = true },
		{ CONF_SIZE, S("K"), .bad = true },
		{ CONF_SIZE, S("17179869184G"), .bad = true }, /* 2^64 */
		{ CONF_DURATION, S("7ms"), 7 },
		{ CONF_DURATION, S("7s"), 7000 },
		{ CONF_DURATION, S("7m"), 420000 },
		{ CONF_DURATION, S("7h"), 25200000 },
		{ CONF_DURATION, S("7d"), 604800000 },
		{ CONF_DURATION, S("0s"), 0 },
		{ CONF_DURATION, S("7"), .bad = true },
		{ CONF_DURATION, S("7S"), .bad = true },
		{ CONF_DURATION, S("7.5s"), .bad = true },
		{ CONF_DURATION, S("1h30m"), .bad = true },
		{ CONF_DURATION, S("ms"), .bad = true },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = { 0 };
		uint64_t v = 77;
		bool ok = conf_number(cases[i].type, cases[i].text, 0, UINT64_MAX, &v, &e);

		if (ok == cases[i].bad || (ok && v != cases[i].value))
			fail_msg("%.*s: %d, %llu", SLICE_ARG(cases[i].text), ok,
				 (unsigned long long)v);
		assert_int_equal(e.kind, ok ? ERR_NONE : ERR_INPUT);
	}
}

int test_conf(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),        cmocka_unit_test(test_no_routes),
		cmocka_unit_test(test_everything_else), cmocka_unit_test(test_dump_again),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests_name("conf", tests, conf_set_up, conf_tear_down);
}
