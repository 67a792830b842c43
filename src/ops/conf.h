/* ops/conf.h -- the configuration: one table of options, one immutable result.
 *
 * The file is in libconfuse syntax. Parser, defaults, ranges, `config dump` and the table in
 * docs/configuration.md come from the option table in conf_table.c. Sizes are bytes (suffix K, M,
 * G), durations are kept in milliseconds and need a unit (ms, s, m, h, d). */
#ifndef OPS_CONF_H
#define OPS_CONF_H

#include "base/buf.h"
#include "base/err.h"

struct conf_list {
	const struct slice *at;
	size_t n;
};

struct conf_listener {
	struct slice name;
	struct conf_list address;
	struct slice tls;       /* "starttls" or "implicit" */
	struct conf_list proxy; /* peers that must send a PROXY header: net_parse() reads them */
	struct conf_list mechanisms;
	struct slice client_ca, bind_end_point;
};

struct conf_route {
	struct slice name;
	struct conf_list domains;
	struct slice type; /* "capture", "smarthost" or "mx" */
	struct slice path, host, tls, user, password_file, ca_file;
	struct conf_list allow; /* networks: net_parse() reads them */
	uint64_t port, connections, messages_per_connection;
};

/* Who tells what a bearer token is worth. */
struct conf_issuer {
	struct slice name, url, kind; /* "jwt" or "opaque" */
	struct slice audience, scope;
	struct conf_list algorithms, types, claims;
	struct slice jwks, introspection; /* URLs; empty: as the issuer's metadata says */
	struct slice client_id, client_secret_file, ca_file;
	uint64_t timeout, fresh;
};

#define CONF_THREADS_MAX 64

struct conf {
	struct slice hostname, user, data_dir, control_socket;
	uint64_t threads; /* 0: as many as cores, CONF_THREADS_MAX at most */
	struct {
		struct slice path;
		uint64_t segment, reserve, messages_max, body_memory;
	} spool;
	struct {
		struct conf_list certificate, key;
		uint64_t watch;
	} tls;
	struct {
		uint64_t line, auth_line, message, recipients, body_line, header_size,
		    header_fields, received, commands, errors, auth_failures,
		    messages_per_connection, connections, connections_per_address,
		    connections_per_account, memory;
		uint64_t time_proxy, time_login, time_tls, time_command, time_body, time_write,
		    time_session, shutdown_grace, body_min_rate, body_grace;
	} limits;
	struct {
		uint64_t first, factor, max, jitter, lifetime;
	} retry;
	struct {
		uint64_t connect, greeting, ehlo, tls, auth, mail, rcpt, data, body, dot, quit,
		    idle, connections;
	} delivery;
	struct {
		struct conf_list forward, insecure;
		struct slice recursive, trust_anchor;
		uint64_t timeout;
	} dns;
	struct {
		struct slice enabled, from, delay_warning;
		uint64_t delay_notice, full_size, per_hour;
	} bounce;
	struct {
		uint64_t free, delay, delay_max, ban_after, ban, ban_max, half_life, remember,
		    per_minute, memory;
		struct conf_list allow;
	} guard;
	struct {
		uint64_t keep, rows;
	} authlog;
	struct {
		uint64_t closed_keep;
	} queue;
	struct {
		uint64_t keep, max_size;
	} history;
	struct {
		struct slice format;
	} log;
	struct {
		struct conf_list address;
		struct slice remote; /* "yes": other addresses than loopback's are meant */
	} metrics;
	struct {
		struct slice basic_auth, sender_identity;
	} links;
	const struct conf_listener *listeners;
	size_t n_listeners;
	const struct conf_route *routes;
	size_t n_routes;
	const struct conf_issuer *issuers;
	size_t n_issuers;
};

/* Reads and checks the whole file. NULL: one sentence that begins with file:line where there is
 * one. Relative paths are taken from the directory of the file. */
const struct conf *conf_read(const char *path, struct err *e);
/* One more owner, who calls conf_free(). From any thread. */
const struct conf *conf_hold(const struct conf *);
void conf_free(const struct conf *); /* NULL is fine */

/* The control socket that a file names, as far as it can be read: one that is wrong is no reason
 * not to reach the server that runs. Appends the default when it names none. */
void conf_peek_socket(const char *path, struct buf *out);

/* What is wrong with a URL that is believed what it says: NULL: it is https, or http to this
 * machine. */
const char *conf_check_url(struct slice url);
bool conf_route_same(const struct conf_route *, const struct conf_route *);
bool conf_issuer_same(const struct conf_issuer *, const struct conf_issuer *);
/* Appends the names of the options that are not what they were at the start, and wait for the next
 * one: "threads, spool.path". */
void conf_waiting(const struct conf *running, const struct conf *now, struct buf *out);

#define CONF_ADDRESS_BYTES 18

/* ADDRESS:PORT in one form: 16 bytes of address (IPv4 mapped), two of port. */
bool conf_address(struct slice text, unsigned char ret[CONF_ADDRESS_BYTES], struct err *e);
/* Every option with the value in effect, in the syntax of the file. */
void conf_dump(const struct conf *, struct buf *out);
/* The option table as Markdown, for docs/configuration.md. */
void conf_table(struct buf *out);
/* The same as mdoc, for docs/man/signet.conf.5. */
void conf_man(struct buf *out);

#endif
