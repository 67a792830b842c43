/* ctl/ctl.h -- the command line: each subcommand is one call to the running server over its local
 * control socket, or, for a few, work that needs no server.
 *
 * Exit codes are part of the contract (sysexits.h): 0 done; 64 the command line is wrong; 65 the
 * server refused the input; 66 what was named does not exist; 69 the server does not answer; 70 a
 * bug; 73 it exists already; 75 try again later; 77 not allowed; 78 the configuration is wrong. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "base/err.h"
#include "base/slice.h"

enum {
	EXIT_DONE = 0,
	EXIT_USAGE = 64,
	EXIT_INPUT = 65,
	EXIT_ABSENT = 66,
	EXIT_UNREACHED = 69,
	EXIT_BUG = 70,
	EXIT_EXISTS = 73,
	EXIT_RETRY = 75,
	EXIT_REFUSED = 77,
	EXIT_CONFIG = 78,
};

int ctl_exit_code(enum err_kind kind);

/* Words a command was given, and its options; filled by ctl_parse(). */
struct ctl_args {
	struct slice words[8]; /* positional, behind the command's own words */
	size_t n_words;
	struct slice config, socket, data, hostname, account, name, from, to, subject, text, host,
	    port, key_file, dest, state, limit, expires, spool, expect, since, address, identity,
	    key, result, reason, seconds, site, older, queued, after;
	struct slice scopes[32];
	size_t n_scopes;
	struct slice certificates[16];
	size_t n_certificates;
	struct slice tokens[16];
	size_t n_tokens;
	struct slice mechanisms, networks; /* commas between */
	bool cram_md5, json, verified, subdomains, import_key, demo, secrets, deliver, follow, all;
};

/* argv behind the program's name. On success *ret_command is the command's name ("account add")
 * and args its arguments; on a usage error the text says what to type. */
bool ctl_parse(int argc, char **argv, struct slice *ret_command, struct ctl_args *args,
	       struct err *e);

/* True when ctl_run() knows the command; the others (serve, init, config, ...) are main's. */
bool ctl_knows(struct slice command);
int ctl_run(struct slice command, const struct ctl_args *);

/* The whole help text, to stdout. */
void ctl_help(void);

#endif
