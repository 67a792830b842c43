/* ops/conf_table.c -- every option there is. */
#include "ops/conf_impl.h"

#include <arpa/inet.h>

#define KI   *1024ull
#define MI   *1024ull * 1024
#define GI   *1024ull * 1024 * 1024
#define SEC  *1000ull
#define MIN  *60000ull
#define HOUR *3600000ull
#define DAY  *86400000ull

#define TOP(f)      offsetof(struct conf, f)
#define LISTENER(f) offsetof(struct conf_listener, f)
#define ROUTE(f)    offsetof(struct conf_route, f)
#define ISSUER(f)   offsetof(struct conf_issuer, f)

#define RESTART true

/* clang-format off */
const struct conf_section_info conf_sections[SECTIONS] = {
	[IN_TOP]      = { NULL,       false, "At the top of the file" },
	[IN_SPOOL]    = { "spool",    false, "The queue" },
	[IN_TLS]      = { "tls",      false, "Certificates; several pairs stand side by side: RSA and ECDSA, and different names" },
	[IN_LIMITS]   = { "limits",   false, "What a client may do" },
	[IN_RETRY]    = { "retry",    false, "When a delivery is tried again" },
	[IN_DELIVERY] = { "delivery", false, "How long a remote server may take, phase by phase" },
	[IN_DNS]      = { "dns",      false, "How names are looked up, for delivery by MX" },
	[IN_BOUNCE]   = { "bounce",   false, "What senders are told of their mail, by mail" },
	[IN_GUARD]    = { "guard",    false, "How much a guesser may guess, at all doors together" },
	[IN_AUTHLOG]  = { "authlog",  false, "The authentication log: signet authlog" },
	[IN_QUEUE]    = { "queue",    false, "What becomes of queued mail" },
	[IN_HISTORY]  = { "history",  false, "What is known of messages that have left the queue (`signet message show`)" },
	[IN_LOG]      = { "log",      false, "The log, on standard error" },
	[IN_METRICS]  = { "metrics",  false, "/metrics for Prometheus and /healthz, by HTTP; the control socket has them, too" },
	[IN_LINKS]    = { "links",    false, "Links in replies, for people who read them" },
	[IN_LISTENER] = { "listener", true,  "A place where clients connect; one section each, with a name" },
	[IN_ROUTE]    = { "route",    true,  "Where mail is handed on; one section each, with a name" },
	[IN_ISSUER]   = { "issuer",   true,  "Who says what an OAuth 2.0 token is worth; one section each, with a name that `signet key create --token NAME:CLAIM=VALUE` refers to" },
};

const struct conf_option conf_options[] = {
	{ IN_TOP, "hostname",       CONF_STRING, TOP(hostname),       "localhost", 1, 253, NULL, "the name this server goes by: greeting, Received, EHLO" },
	{ IN_TOP, "user",           CONF_STRING, TOP(user),           "",          0, 64,  NULL, "when started as root: the user to become after binding; empty: stay", RESTART },
	{ IN_TOP, "data_dir",       CONF_PATH,   TOP(data_dir),       "/var/lib/signet", 1, 4000, NULL, "database and master key", RESTART },
	{ IN_TOP, "control_socket", CONF_PATH,   TOP(control_socket), "/run/signet/control", 1, 107, NULL, "where the command line reaches the server; root and its own user only", RESTART },
	{ IN_TOP, "threads",        CONF_UINT,   TOP(threads),        "0",         0, CONF_THREADS_MAX, NULL, "event loops; 0: one for each core that it may use, 64 at most", RESTART },

	{ IN_SPOOL, "path",         CONF_PATH,   TOP(spool.path),     "/var/spool/signet", 1, 4000, NULL, "directory of the queue", RESTART },
	{ IN_SPOOL, "segment",      CONF_SIZE,   TOP(spool.segment),  "64M", 1 MI, 1 GI, NULL, "size of a segment file", RESTART },
	{ IN_SPOOL, "reserve",      CONF_SIZE,   TOP(spool.reserve),  "256M", 0, 1024 GI, NULL, "free disk space only outcomes may use; below it: 452 4.3.1", RESTART },
	{ IN_SPOOL, "messages_max", CONF_UINT,   TOP(spool.messages_max), "5000000", 0, 1000000000, NULL, "messages waiting; beyond: 452 4.3.1; 0: no limit", RESTART },
	{ IN_SPOOL, "body_memory",  CONF_SIZE,   TOP(spool.body_memory), "256K", 16 KI, 64 MI, NULL, "bytes of a body kept in memory; more goes to a file" },

	{ IN_TLS, "certificate",    CONF_READABLE, TOP(tls.certificate), "", 0, 100, NULL, "certificate chains, PEM; the first is for whoever asks for no name that is here" },
	{ IN_TLS, "key",            CONF_READABLE, TOP(tls.key),         "", 0, 100, NULL, "their private keys, in the same order" },
	{ IN_TLS, "watch",          CONF_DURATION, TOP(tls.watch),       "1m", 0, 1 DAY, NULL, "how often to look whether these files have changed, and then to reload them; 0s: never" },

	{ IN_LIMITS, "line",           CONF_SIZE, TOP(limits.line),          "2048", 512, 64 KI, NULL, "a command line, CRLF included: 500 5.5.2" },
	{ IN_LIMITS, "auth_line",      CONF_SIZE, TOP(limits.auth_line),     "12288", 12288, 64 KI, NULL, "a line inside AUTH: 500 5.5.6" },
	{ IN_LIMITS, "message",        CONF_SIZE, TOP(limits.message),       "31457280", 64 KI, 1 GI, NULL, "a message, announced as SIZE: 552 5.3.4" },
	{ IN_LIMITS, "recipients",     CONF_UINT, TOP(limits.recipients),    "1000", 100, 100000, NULL, "recipients of a message: 452 4.5.3, the earlier ones stay" },
	{ IN_LIMITS, "body_line",      CONF_UINT, TOP(limits.body_line),     "998", 0, 1 GI, NULL, "octets of a text line without CRLF: 554 5.6.0; 0: no limit" },
	{ IN_LIMITS, "header_size",    CONF_SIZE, TOP(limits.header_size),   "256K", 8 KI, 16 MI, NULL, "the header: 552 5.3.4" },
	{ IN_LIMITS, "header_fields",  CONF_UINT, TOP(limits.header_fields), "1000", 50, 100000, NULL, "fields of a header: 554 5.6.0" },
	{ IN_LIMITS, "received",       CONF_UINT, TOP(limits.received),      "100", 10, 1000, NULL, "Received fields, a loop: 554 5.4.6" },
	{ IN_LIMITS, "commands",       CONF_UINT, TOP(limits.commands),      "1000", 0, 1000000, NULL, "commands since the last message that do not lead to one: 421 4.7.0; 0: no limit" },
	{ IN_LIMITS, "errors",         CONF_UINT, TOP(limits.errors),        "20", 0, 1000000, NULL, "refused commands of a connection: 421 4.7.0; 0: no limit" },
	{ IN_LIMITS, "auth_failures",  CONF_UINT, TOP(limits.auth_failures), "3", 0, 1000, NULL, "failed logins of a connection: 421 4.7.0; 0: no limit" },
	{ IN_LIMITS, "messages_per_connection", CONF_UINT, TOP(limits.messages_per_connection), "0", 0, 1000000000, NULL, "MAIL commands of a connection: 421 4.7.0; 0: no limit" },
	{ IN_LIMITS, "connections",    CONF_UINT, TOP(limits.connections),   "10000", 1, 1000000, NULL, "in all; beyond, the oldest not logged in goes, else 421 4.7.0" },
	{ IN_LIMITS, "connections_per_address", CONF_UINT, TOP(limits.connections_per_address), "200", 0, 1000000, NULL, "of one client address: 421 4.7.0; 0: no limit" },
	{ IN_LIMITS, "connections_per_account", CONF_UINT, TOP(limits.connections_per_account), "1000", 0, 1000000, NULL, "logged in for one account: 454 4.7.0, then 421; 0: no limit" },
	{ IN_LIMITS, "memory",         CONF_SIZE, TOP(limits.memory),        "512M", 1 MI, 1024 GI, NULL, "bodies in memory, all together; beyond: to files at once, new connections 421 4.3.2" },
	{ IN_LIMITS, "time_proxy",     CONF_DURATION, TOP(limits.time_proxy),   "10s", 1 SEC, 1 HOUR, NULL, "the PROXY header of a listed peer; then the connection is closed" },
	{ IN_LIMITS, "time_login",     CONF_DURATION, TOP(limits.time_login),   "60s", 1 SEC, 1 HOUR, NULL, "without a command before login: 421 4.4.2" },
	{ IN_LIMITS, "time_tls",       CONF_DURATION, TOP(limits.time_tls),     "30s", 1 SEC, 1 HOUR, NULL, "a TLS handshake; then the connection is closed" },
	{ IN_LIMITS, "time_command",   CONF_DURATION, TOP(limits.time_command), "5m", 1 SEC, 1 DAY, NULL, "without a command after login: 421 4.4.2" },
	{ IN_LIMITS, "time_body",      CONF_DURATION, TOP(limits.time_body),    "3m", 1 SEC, 1 HOUR, NULL, "without a byte inside a message: 421 4.4.2" },
	{ IN_LIMITS, "time_write",     CONF_DURATION, TOP(limits.time_write),   "60s", 1 SEC, 1 HOUR, NULL, "replies that the client does not read; then the connection is closed" },
	{ IN_LIMITS, "time_session",   CONF_DURATION, TOP(limits.time_session), "24h", 0, 30 DAY, NULL, "a connection in all: 421 4.4.2; 0s: no limit" },
	{ IN_LIMITS, "shutdown_grace", CONF_DURATION, TOP(limits.shutdown_grace), "30s", 0, 1 HOUR, NULL, "at the end: time for open transactions, then 421 4.3.2" },
	{ IN_LIMITS, "body_min_rate",  CONF_SIZE, TOP(limits.body_min_rate), "256", 0, 1 GI, NULL, "bytes per second of a message after body_grace: 421 4.4.2; 0: no limit" },
	{ IN_LIMITS, "body_grace",     CONF_DURATION, TOP(limits.body_grace), "60s", 0, 1 HOUR, NULL, "before body_min_rate applies" },

	{ IN_RETRY, "first",    CONF_DURATION, TOP(retry.first),    "1m", 10, 1 DAY, NULL, "before the second attempt" },
	{ IN_RETRY, "factor",   CONF_UINT,     TOP(retry.factor),   "2000", 1000, 10000, NULL, "growth from one delay to the next, thousandths" },
	{ IN_RETRY, "max",      CONF_DURATION, TOP(retry.max),      "4h", 10, 7 DAY, NULL, "the longest delay" },
	{ IN_RETRY, "jitter",   CONF_UINT,     TOP(retry.jitter),   "250", 0, 1000, NULL, "random part of a delay, thousandths" },
	{ IN_RETRY, "lifetime", CONF_DURATION, TOP(retry.lifetime), "5d", 1 SEC, 365 DAY, NULL, "after this a recipient has failed" },

	{ IN_DELIVERY, "connect",  CONF_DURATION, TOP(delivery.connect),  "30s", 100, 1 HOUR, NULL, "TCP connection" },
	{ IN_DELIVERY, "greeting", CONF_DURATION, TOP(delivery.greeting), "5m", 100, 1 HOUR, NULL, "the 220" },
	{ IN_DELIVERY, "ehlo",     CONF_DURATION, TOP(delivery.ehlo),     "5m", 100, 1 HOUR, NULL, "EHLO, HELO" },
	{ IN_DELIVERY, "tls",      CONF_DURATION, TOP(delivery.tls),      "1m", 100, 1 HOUR, NULL, "STARTTLS and its handshake" },
	{ IN_DELIVERY, "auth",     CONF_DURATION, TOP(delivery.auth),     "1m", 100, 1 HOUR, NULL, "AUTH" },
	{ IN_DELIVERY, "mail",     CONF_DURATION, TOP(delivery.mail),     "5m", 100, 1 HOUR, NULL, "MAIL" },
	{ IN_DELIVERY, "rcpt",     CONF_DURATION, TOP(delivery.rcpt),     "5m", 100, 1 HOUR, NULL, "RCPT" },
	{ IN_DELIVERY, "data",     CONF_DURATION, TOP(delivery.data),     "2m", 100, 1 HOUR, NULL, "the 354" },
	{ IN_DELIVERY, "body",     CONF_DURATION, TOP(delivery.body),     "3m", 100, 1 HOUR, NULL, "a block of the message" },
	{ IN_DELIVERY, "dot",      CONF_DURATION, TOP(delivery.dot),      "10m", 100, 1 HOUR, NULL, "the reply to the end of data" },
	{ IN_DELIVERY, "quit",     CONF_DURATION, TOP(delivery.quit),     "10s", 100, 1 HOUR, NULL, "QUIT" },
	{ IN_DELIVERY, "idle",     CONF_DURATION, TOP(delivery.idle),     "5s", 0, 5 MIN, NULL, "a connection kept for the next message" },
	{ IN_DELIVERY, "connections", CONF_UINT, TOP(delivery.connections), "1000", 1, 100000, NULL, "outward, all routes together" },

	{ IN_DNS, "forward",      CONF_ADDRESSES, TOP(dns.forward),      "", 0, 8, NULL, "resolvers to ask, ADDRESS:PORT; none: those of /etc/resolv.conf", RESTART },
	{ IN_DNS, "recursive",    CONF_CHOICE,    TOP(dns.recursive),    "no", 0, 0, "no yes", "yes, and no forward: asks no resolver but the name servers of the world, from the root down", RESTART },
	{ IN_DNS, "trust_anchor", CONF_PATH,      TOP(dns.trust_anchor), "/usr/share/dns/root.key", 0, 4000, NULL, "the root's key (Debian: dns-root-data); empty or not there: answers are not validated (DNSSEC)", RESTART },
	{ IN_DNS, "insecure",     CONF_STRINGS,   TOP(dns.insecure),     "", 0, 100, NULL, "zones of one's own that the public tree does not know of: not validated", RESTART },
	{ IN_DNS, "timeout",      CONF_DURATION,  TOP(dns.timeout),      "20s", 100, 5 MIN, NULL, "an answer in all; then the delivery is tried later", RESTART },

	{ IN_BOUNCE, "enabled",       CONF_CHOICE,   TOP(bounce.enabled),       "yes", 0, 0, "yes no", "send notices; no: failed recipients stay in the queue for the operator" },
	{ IN_BOUNCE, "from",          CONF_STRING,   TOP(bounce.from),          "", 0, 253, NULL, "address that notices are from; empty: mailer-daemon at hostname" },
	{ IN_BOUNCE, "delay_notice",  CONF_DURATION, TOP(bounce.delay_notice),  "4h", 10, 365 DAY, NULL, "a sender who asked for it is told once that mail takes longer than this" },
	{ IN_BOUNCE, "delay_warning", CONF_CHOICE,   TOP(bounce.delay_warning), "no", 0, 0, "yes no", "tell senders who did not say what they want (NOTIFY), too" },
	{ IN_BOUNCE, "full_size",     CONF_SIZE,     TOP(bounce.full_size),     "256K", 0, 16 MI, NULL, "RET=FULL: up to this size a message goes back whole, else its header" },
	{ IN_BOUNCE, "per_hour",      CONF_UINT,     TOP(bounce.per_hour),      "1000", 0, 1000000000, NULL, "notices to one sender in an hour; beyond, only the log says it; 0: no limit" },

	{ IN_GUARD, "free",       CONF_UINT,     TOP(guard.free),       "3", 0, 1000, NULL, "different wrong secrets that cost nothing; the same one again counts once" },
	{ IN_GUARD, "delay",      CONF_DURATION, TOP(guard.delay),      "500ms", 0, 1 MIN, NULL, "so late is the answer to the next one; doubles with each; 0: never late" },
	{ IN_GUARD, "delay_max",  CONF_DURATION, TOP(guard.delay_max),  "10s", 0, 1 MIN, NULL, "up to this" },
	{ IN_GUARD, "ban_after",  CONF_UINT,     TOP(guard.ban_after),  "20", 0, 1000, NULL, "wrong secrets of one address, and three times as many of an IPv6 /64, before it is banned: 421 4.7.0; 0: never" },
	{ IN_GUARD, "ban",        CONF_DURATION, TOP(guard.ban),        "15m", 1000, 365 DAY, NULL, "the first ban; each further one of an address lasts twice as long" },
	{ IN_GUARD, "ban_max",    CONF_DURATION, TOP(guard.ban_max),    "1d", 1000, 365 DAY, NULL, "up to this" },
	{ IN_GUARD, "half_life",  CONF_DURATION, TOP(guard.half_life),  "10m", 1000, 30 DAY, NULL, "what was counted fades: after so long, half of it" },
	{ IN_GUARD, "remember",   CONF_DURATION, TOP(guard.remember),   "1d", 0, 365 DAY, NULL, "an address that authenticated well is not banned so long, and the guessing of others does not delay it" },
	{ IN_GUARD, "per_minute", CONF_UINT,     TOP(guard.per_minute), "600", 0, 1000000, NULL, "wrong secrets in all; beyond, who is not remembered waits; 0: no limit" },
	{ IN_GUARD, "allow",      CONF_NETWORKS, TOP(guard.allow),      "", 0, 1000, NULL, "ADDRESS or ADDRESS/BITS that are never counted, delayed or banned" },
	{ IN_GUARD, "memory",     CONF_SIZE,     TOP(guard.memory),     "64M", 64 KI, 4 GI, NULL, "for counting, at most; the least suspicious are forgotten first", RESTART },

	{ IN_AUTHLOG, "keep", CONF_DURATION, TOP(authlog.keep), "90d", 0, 3650 DAY, NULL, "so long rows are kept; 0: none is written" },
	{ IN_AUTHLOG, "rows", CONF_UINT,     TOP(authlog.rows), "1000000", 1000, 100000000, NULL, "rows kept, about (300 bytes each); the oldest go first" },

	{ IN_QUEUE, "closed_keep", CONF_DURATION, TOP(queue.closed_keep), "7d", 0, 365 DAY, NULL, "mail that a closed account has queued waits so long, then it is cancelled" },

	{ IN_HISTORY, "keep",     CONF_DURATION, TOP(history.keep),     "3d", 0, 365 DAY, NULL, "so long at least, room permitting; 0s: none is kept", RESTART },
	{ IN_HISTORY, "max_size", CONF_SIZE,     TOP(history.max_size), "1G", 1 MI, 1024 GI, NULL, "of all its files (data_dir/history), about; beyond, the oldest goes", RESTART },

	{ IN_LOG, "format", CONF_CHOICE, TOP(log.format), "json", 0, 0, "json logfmt text", "form of the lines; text: for the eye, not for programs", RESTART },

	{ IN_METRICS, "address", CONF_ADDRESSES, TOP(metrics.address), "", 0, 8, NULL, "ADDRESS:PORT on loopback; whoever reaches it may read, nobody is asked who they are" },
	{ IN_METRICS, "remote",  CONF_CHOICE,    TOP(metrics.remote), "no", 0, 0, "no yes", "yes: the addresses may be others than loopback's" },

	{ IN_LINKS, "basic_auth",      CONF_STRING, TOP(links.basic_auth),      "https://signet.example/docs/api-keys", 1, 300, NULL, "in the refusal of an address as user name" },
	{ IN_LINKS, "sender_identity", CONF_STRING, TOP(links.sender_identity), "https://signet.example/docs/sender-identity", 1, 300, NULL, "in the refusal of a foreign From" },

	{ IN_LISTENER, "address", CONF_ADDRESSES, LISTENER(address), "", 1, 16, NULL, "ADDRESS:PORT, an IPv6 address in brackets" },
	{ IN_LISTENER, "tls",     CONF_CHOICE,  LISTENER(tls), "starttls", 0, 0, "starttls implicit", "STARTTLS, or TLS from the first byte" },
	{ IN_LISTENER, "proxy",   CONF_NETWORKS, LISTENER(proxy), "", 0, 64, NULL, "load balancers, as ADDRESS or ADDRESS/BITS: each connection of theirs must begin with a PROXY header (version 1 or 2), and the client's address is the one in it; nobody else's header is read" },

	{ IN_LISTENER, "mechanisms", CONF_STRINGS, LISTENER(mechanisms), "OAUTHBEARER XOAUTH2 PLAIN LOGIN", 1, 8, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2 PLAIN LOGIN CRAM-MD5", "ways to log in that are offered inside TLS; those with tokens once there is an issuer, EXTERNAL to clients with a certificate" },
	{ IN_LISTENER, "client_ca", CONF_PATH, LISTENER(client_ca), "", 0, 4000, NULL, "EXTERNAL: certificates whose names (SubjectAltName) stand for keys when one of these has issued them; empty: public keys only" },
	{ IN_LISTENER, "bind_end_point", CONF_CHOICE, LISTENER(bind_end_point), "no", 0, 0, "yes no", "SCRAM-SHA-256-PLUS: tls-server-end-point will do, too, where tls-exporter (TLS 1.3) is the rule" },

	{ IN_ROUTE, "domains",  CONF_STRINGS, ROUTE(domains), "*", 1, 1000, NULL, "recipient domains, each with the names below it; \"*\": all others" },
	{ IN_ROUTE, "type",     CONF_CHOICE,  ROUTE(type), "smarthost", 0, 0, "capture smarthost mx", "a Maildir on this machine, a mail server, or the mail exchangers of each domain" },
	{ IN_ROUTE, "path",     CONF_PATH,    ROUTE(path), "", 0, 4000, NULL, "capture: the Maildir" },
	{ IN_ROUTE, "host",     CONF_STRING,  ROUTE(host), "", 0, 253, NULL, "smarthost: name or address" },
	{ IN_ROUTE, "port",     CONF_UINT,    ROUTE(port), "0", 0, 65535, NULL, "0: 587 of a smarthost, 25 by mx" },
	{ IN_ROUTE, "tls",      CONF_CHOICE,  ROUTE(tls), "auto", 0, 0, "auto none may must must-verify implicit implicit-verify", "what is demanded; only -verify checks the certificate; auto: must-verify of a smarthost, may by mx" },
	{ IN_ROUTE, "user",     CONF_STRING,  ROUTE(user), "", 0, 255, NULL, "smarthost: AUTH user; empty: no AUTH" },
	{ IN_ROUTE, "password_file", CONF_PATH, ROUTE(password_file), "", 0, 4000, NULL, "smarthost: file with the password, its first line" },
	{ IN_ROUTE, "ca_file",  CONF_PATH,    ROUTE(ca_file), "", 0, 4000, NULL, "smarthost, mx: certificates to trust; empty: the system's" },
	{ IN_ROUTE, "allow",    CONF_NETWORKS, ROUTE(allow), "", 0, 1000, NULL, "mx: ADDRESS/BITS that may be connected to though they are private, loopback, special otherwise or our own" },
	{ IN_ROUTE, "connections", CONF_UINT, ROUTE(connections), "10", 1, 1000, NULL, "at once; by mx: to one set of mail exchangers" },
	{ IN_ROUTE, "messages_per_connection", CONF_UINT, ROUTE(messages_per_connection), "100", 0, 1000000, NULL, "then a new connection; 0: no limit" },

	{ IN_ISSUER, "url",      CONF_STRING,  ISSUER(url), "", 1, 2000, NULL, "the issuer's identifier, byte for byte as in `iss`; its metadata is looked for there (RFC 8414, OpenID Connect Discovery); https, or http to this machine" },
	{ IN_ISSUER, "kind",     CONF_CHOICE,  ISSUER(kind), "jwt", 0, 0, "jwt opaque", "tokens that are signed (RFC 9068), or ones that the issuer is asked about (RFC 7662)" },
	{ IN_ISSUER, "audience", CONF_STRING,  ISSUER(audience), "", 0, 1000, NULL, "what `aud` has to name; jwt: needed; opaque: empty for any" },
	{ IN_ISSUER, "scope",    CONF_STRING,  ISSUER(scope), "mail.send", 0, 255, NULL, "one word that `scope` (or `scp`) has to have; empty: none" },
	{ IN_ISSUER, "algorithms", CONF_STRINGS, ISSUER(algorithms), "RS256 PS256 ES256 EdDSA", 1, 10, "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA", "jwt: signatures that count" },
	{ IN_ISSUER, "types",    CONF_STRINGS, ISSUER(types), "at+jwt", 1, 8, NULL, "jwt: values of `typ` that are access tokens of this issuer; \"-\": there is none; \"JWT\" lets identity tokens in, too" },
	{ IN_ISSUER, "claims",   CONF_STRINGS, ISSUER(claims), "sub", 1, 8, NULL, "claims by which a key may know whose a token is" },
	{ IN_ISSUER, "jwks",     CONF_STRING,  ISSUER(jwks), "", 0, 2000, NULL, "jwt: URL of the keys; empty: as the metadata says" },
	{ IN_ISSUER, "introspection", CONF_STRING, ISSUER(introspection), "", 0, 2000, NULL, "opaque: URL to ask; empty: as the metadata says" },
	{ IN_ISSUER, "client_id", CONF_STRING, ISSUER(client_id), "", 0, 255, NULL, "opaque: who we are when we ask" },
	{ IN_ISSUER, "client_secret_file", CONF_PATH, ISSUER(client_secret_file), "", 0, 4000, NULL, "opaque: file with our secret there, its first line" },
	{ IN_ISSUER, "ca_file",  CONF_PATH,    ISSUER(ca_file), "", 0, 4000, NULL, "certificates to trust; empty: the system's" },
	{ IN_ISSUER, "timeout",  CONF_DURATION, ISSUER(timeout), "5s", 100, 1 MIN, NULL, "one question to the issuer, in all; then it is down, and the client is told 454 4.7.0" },
	{ IN_ISSUER, "fresh",    CONF_DURATION, ISSUER(fresh), "1h", 1 SEC, 1 DAY, NULL, "jwt: keys older than that are fetched again before they count" },
};
/* clang-format on */

const size_t conf_n_options = sizeof conf_options / sizeof *conf_options;

static bool split_unit(struct slice text, uint64_t *ret, struct slice *unit)
{
	size_t n = 0;

	while (n < text.n && ascii_digit(text.p[n]))
		n++;
	*unit = slice_from(text, n);
	return slice_u64(slice(text.p, n), ret);
}

bool conf_number(enum conf_type type, struct slice text, uint64_t min, uint64_t max, uint64_t *ret,
		 struct err *e)
{
	static const struct unit {
		enum conf_type type;
		struct slice name;
		uint64_t times;
	} units[] = {
		{ CONF_UINT, { "", 0 }, 1 },           { CONF_SIZE, { "", 0 }, 1 },
		{ CONF_SIZE, { "K", 1 }, 1 KI },       { CONF_SIZE, { "M", 1 }, 1 MI },
		{ CONF_SIZE, { "G", 1 }, 1 GI },       { CONF_DURATION, { "ms", 2 }, 1 },
		{ CONF_DURATION, { "s", 1 }, 1 SEC },  { CONF_DURATION, { "m", 1 }, 1 MIN },
		{ CONF_DURATION, { "h", 1 }, 1 HOUR }, { CONF_DURATION, { "d", 1 }, 1 DAY },
	};
	const char *wanted = type == CONF_DURATION ? "a number with a unit: ms, s, m, h or d"
			     : type == CONF_SIZE   ? "a number of bytes, or one with K, M or G"
						   : "a number";
	struct slice unit;
	uint64_t v;

	if (!split_unit(text, &v, &unit))
		return err_set(e, ERR_INPUT, "\"%.*s\" is not %s", SLICE_ARG(text), wanted);
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (units[i].type != type || !slice_eq(units[i].name, unit))
			continue;
		if (__builtin_mul_overflow(v, units[i].times, &v) || v < min || v > max)
			return err_set(e, ERR_INPUT, "\"%.*s\" is out of range (%llu to %llu%s)",
				       SLICE_ARG(text), (unsigned long long)min,
				       (unsigned long long)max, type == CONF_DURATION ? " ms" : "");
		*ret = v;
		return true;
	}
	return err_set(e, ERR_INPUT, "\"%.*s\" is not %s", SLICE_ARG(text), wanted);
}

bool conf_address(struct slice text, unsigned char ret[CONF_ADDRESS_BYTES], struct err *e)
{
	struct slice host, port_text;
	uint64_t port = 0;
	char name[64];
	bool six, ok;

	ok = slice_rcut(text, ':', &host, &port_text) && slice_u64(port_text, &port) && port > 0 &&
	     port <= 65535;
	six = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
	if (six)
		host = slice(host.p + 1, host.n - 2);
	ok = ok && host.n < sizeof name;
	if (ok) {
		memset(ret, 0, 10);
		memset(ret + 10, 0xff, 2);
		memcpy(name, host.p, host.n);
		name[host.n] = '\0';
		ok = six ? inet_pton(AF_INET6, name, ret) == 1
			 : inet_pton(AF_INET, name, ret + 12) == 1;
		ret[16] = (unsigned char)(port >> 8);
		ret[17] = (unsigned char)port;
	}
	return ok || err_set(e, ERR_INPUT,
			     "\"%.*s\" is not ADDRESS:PORT (an IPv6 address stands in brackets)",
			     SLICE_ARG(text));
}
