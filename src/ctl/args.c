/* ctl/args.c -- what can be typed: two tables, and the parser and the help made from them. */
#include "ctl/ctl.h"
#include "ctl/manual.h"

#include <stdio.h>

enum opt_kind { OPT_TEXT, OPT_FLAG, OPT_SCOPE, OPT_CERTIFICATE, OPT_TOKEN };

/* clang-format off */
static const struct opt {
	struct slice name;
	enum opt_kind kind;
	size_t at;
	const char *value, *help;
} opts[] = {
#define TEXT(n, f, v, h) { S(n), OPT_TEXT, offsetof(struct ctl_args, f), v, h }
#define FLAG(n, f, h)    { S(n), OPT_FLAG, offsetof(struct ctl_args, f), NULL, h }
	TEXT("config",     config,     "FILE",    "configuration file (default: /etc/signet/signet.conf)"),
	TEXT("socket",     socket,     "PATH",    "control socket, instead of the one the configuration names"),
	FLAG("json",       json,                  "print JSON for programs instead of tables"),
	TEXT("data",       data,       "DIR",     "init, restore: directory to create"),
	TEXT("hostname",   hostname,   "NAME",    "init: the name this server goes by"),
	FLAG("demo",       demo,                  "init: listen on loopback, capture all mail, make an account and a key"),
	TEXT("account",    account,    "NAME",    "the account a key or a domain belongs to; queue: only its mail"),
	TEXT("name",       name,       "LABEL",   "a label for the key"),
	{ S("scope"), OPT_SCOPE, 0,    "SCOPE",   "a scope of the key; may be repeated (default: mail.send)" },
	TEXT("expires",    expires,    "SECONDS", "the key ends after so many seconds"),
	TEXT("mechanisms", mechanisms, "LIST",    "the key may log in by these alone, with commas between; any: by all"),
	TEXT("networks",   networks,   "LIST",    "the key may be used from these addresses and networks alone, with commas between; any: from everywhere"),
	FLAG("cram-md5",   cram_md5,              "the key can be used with CRAM-MD5: what that takes is kept, sealed"),
	{ S("token"),       OPT_TOKEN,       0, "WHOSE", "whose tokens stand for the key, as ISSUER:CLAIM=VALUE (\"sso:sub=robot\"); may be repeated" },
	{ S("certificate"), OPT_CERTIFICATE, 0, "ID", "a client certificate that stands for the key: spki:HEX, dns:NAME, email:ADDRESS, uri:URI; may be repeated" },
	FLAG("import",     import_key,            "read an existing key from standard input"),
	FLAG("verified",   verified,              "the domain is known to be the account's"),
	FLAG("subdomains", subdomains,            "names below the domain, too"),
	TEXT("queued",     queued,     "WHAT",    "account, key: what becomes of queued mail: keep, hold or cancel"),
	TEXT("key",        key,        "ID",      "queue, authlog: only what came with this key"),
	TEXT("domain",     dest,       "DOMAIN",  "queue: only deliveries for this domain"),
	TEXT("site",       site,       "NAME",    "queue: only deliveries that go to this site: a route, a mail server"),
	TEXT("older-than", older,      "AGE",     "queue: only what was accepted longer ago: 90s, 15m, 2h, 3d"),
	TEXT("state",      state,      "STATE",   "queue: all, pending, deferred, under-way, held or failed"),
	FLAG("all",        all,                   "queue: really all of it"),
	TEXT("limit",      limit,      "N",       "rows at most (default 100)"),
	TEXT("after",      after,      "ID",      "queue list: rows behind this one"),
	TEXT("since",      since,      "TIME",    "authlog: from so long ago on, 90s, 15m, 6h, 30d (default: 1d)"),
	TEXT("address",    address,    "ADDRESS", "authlog: only of this client"),
	TEXT("identity",   identity,   "NAME",    "authlog: only what claimed to be this"),
	TEXT("result",     result,     "RESULT",  "authlog: ok, failed, withdrawn or banned"),
	FLAG("follow",     follow,                "authlog: go on with what comes"),
	TEXT("reason",     reason,     "TEXT",    "a ban's reason; authlog: only rows with this one"),
	TEXT("for",        seconds,    "TIME",    "ban: so long, 15m, 6h, 30d (default: until it is lifted)"),
	TEXT("from",       from,       "ADDRESS", "send: header From and reverse-path"),
	TEXT("to",         to,         "ADDRESS", "send: recipient"),
	TEXT("subject",    subject,    "TEXT",    "send: subject"),
	TEXT("text",       text,       "TEXT",    "send: body (default: a short test text)"),
	TEXT("host",       host,       "ADDRESS", "send: server (default: the first listener of the configuration); doctor: try its port 25"),
	TEXT("port",       port,       "N",       "send: port"),
	FLAG("with-secrets", secrets,             "backup: master key, certificates, keys and passwords, too"),
	TEXT("spool",      spool,      "DIR",     "restore: the spool (default: spool in --data)"),
	TEXT("expect",     expect,     "DIGEST",  "restore: SHA-256 of the manifest, as backup printed it"),
	FLAG("deliver",    deliver,               "restore: messages are due at once, instead of held"),
	TEXT("key-file",   key_file,   "FILE",    "send: file with the API key, - for standard input"),
};

static const struct command {
	struct slice name;
	const char *words;
	size_t min, max;
	bool local; /* needs no server: main runs it */
	const char *help;
} commands[] = {
	{ S("serve"),           "",        0, 0, true,  "run the server" },
	{ S("init"),            "",        0, 0, true,  "create a data directory: configuration, database, spool, master key, certificate" },
	{ S("config check"),    "[FILE]",  0, 1, true,  "check a configuration; exit 78 when it is wrong" },
	{ S("config dump"),     "[FILE]",  0, 1, true,  "print every option with the value in effect" },
	{ S("config table"),    "",        0, 0, true,  "print the table of options as in docs/configuration.md" },
	{ S("config man"),      "",        0, 0, true,  "print the table of options as in the manual signet.conf(5)" },
	{ S("spool salvage"),   "FROM TO", 2, 2, true,  "copy every sound message of a damaged spool into a new one" },
	{ S("keyring rotate"),  "",        0, 0, true,  "seal with a fresh master key from now on; the older ones stay (server stopped)" },
	{ S("keyring prune"),   "",        0, 0, true,  "drop the older master keys: what they sealed is lost (server stopped)" },
	{ S("doctor"),          "",        0, 0, true,  "look whether everything is as it should be; exit 0 well, 1 warnings, 2 failures" },
	{ S("backup"),          "DIR",     1, 1, true,  "copy everything into a new directory, while mail goes on; -: tar on standard output" },
	{ S("restore"),         "DIR",     1, 1, true,  "make --data out of a backup; its messages are held (--deliver: not)" },
	{ S("send"),            "",        0, 0, true,  "compose a test message and submit it through the real door" },
	{ S("status"),          "",        0, 0, false, "what the running server does" },
	{ S("health"),          "",        0, 0, false, "whether messages can be taken now; exit 75 when not, and why" },
	{ S("metrics"),         "",        0, 0, false, "print what is counted, as Prometheus reads it" },
	{ S("reload"),          "",        0, 0, false, "read configuration, certificates and routes anew; says what came of it" },
	{ S("account add"),     "NAME",    1, 1, false, "make an account" },
	{ S("account list"),    "",        0, 0, false, "list the accounts" },
	{ S("account hold"),    "NAME",    1, 1, false, "refuse logins and new mail of an account; its queued mail waits (--queued)" },
	{ S("account release"), "NAME",    1, 1, false, "undo hold and close" },
	{ S("account close"),   "NAME",    1, 1, false, "as hold; queued mail is cancelled after queue.closed_keep" },
	{ S("account states"),  "",        0, 0, true,  "print what each state of an account or a key means" },
	{ S("key create"),      "",        0, 0, false, "make an API key, shown once (--import: take an existing one)" },
	{ S("key list"),        "",        0, 0, false, "list the keys of an account" },
	{ S("key show"),        "ID",      1, 1, false, "show a key (never its secret)" },
	{ S("key limit"),       "ID",      1, 1, false, "change what a key is limited to: --networks, --mechanisms" },
	{ S("key revoke"),      "ID",      1, 1, false, "end a key; bites within a second; its queued mail waits (--queued)" },
	{ S("domain add"),      "NAME",    1, 1, false, "give a domain to an account (needs --verified for now)" },
	{ S("domain list"),     "",        0, 0, false, "list the domains of an account" },
	{ S("domain remove"),   "NAME",    1, 1, false, "take a domain away" },
	{ S("ban list"),        "",        0, 0, false, "list who is not let in, and until when" },
	{ S("ban add"),         "NETWORK", 1, 1, false, "let an address or a network in no more" },
	{ S("ban lift"),        "NETWORK", 1, 1, false, "end a ban" },
	{ S("authlog"),         "",        0, 0, false, "the authentication log: who logged in or failed to, from where, and why" },
	{ S("queue list"),      "",        0, 0, false, "list queued messages" },
	{ S("queue show"),      "ID",      1, 1, false, "show one message with its recipients" },
	{ S("queue count"),     "",        0, 0, false, "count what waits" },
	{ S("queue why"),       "ID",      1, 1, false, "say in a sentence why each delivery of a message waits" },
	{ S("queue retry"),     "[ID...]", 0, 8, false, "try now what is named, or what the filter finds" },
	{ S("queue hold"),      "[ID...]", 0, 8, false, "the same is not handed on until it is released" },
	{ S("queue release"),   "[ID...]", 0, 8, false, "undo hold" },
	{ S("queue cancel"),    "[ID...]", 0, 8, false, "the same is dropped, for ever" },
	{ S("message show"),    "ID",      1, 1, false, "everything known of a message, also after it has left the queue" },
	{ S("queue damaged"),   "",        0, 0, false, "list records that were set aside" },
};
/* clang-format on */

#define COUNT(a) (sizeof(a) / sizeof *(a))

int ctl_exit_code(enum err_kind kind)
{
	switch (kind) {
	case ERR_NONE: return EXIT_DONE;
	case ERR_BUG:
	case ERR_DAMAGED: return EXIT_BUG;
	case ERR_INPUT: return EXIT_INPUT;
	case ERR_DENIED: return EXIT_REFUSED;
	case ERR_ABSENT: return EXIT_ABSENT;
	case ERR_CONFLICT: return EXIT_EXISTS;
	case ERR_LATER: return EXIT_RETRY;
	}
	return EXIT_BUG;
}

static bool set_option(const struct opt *o, struct slice value, struct ctl_args *args,
		       struct err *e)
{
	char *field = (char *)args + o->at;

	switch (o->kind) {
	case OPT_TEXT: memcpy(field, &value, sizeof value); return true;
	case OPT_FLAG: *(bool *)(void *)field = true; return true;
	case OPT_SCOPE:
		if (args->n_scopes == COUNT(args->scopes))
			return err_set(e, ERR_INPUT, "more than %zu scopes", COUNT(args->scopes));
		args->scopes[args->n_scopes++] = value;
		return true;
	case OPT_CERTIFICATE:
		if (args->n_certificates == COUNT(args->certificates))
			return err_set(e, ERR_INPUT, "more than %zu certificates",
				       COUNT(args->certificates));
		args->certificates[args->n_certificates++] = value;
		return true;
	case OPT_TOKEN:
		if (args->n_tokens == COUNT(args->tokens))
			return err_set(e, ERR_INPUT, "more than %zu tokens", COUNT(args->tokens));
		args->tokens[args->n_tokens++] = value;
		return true;
	}
	return false;
}

/* --name VALUE or --name=VALUE. Returns the words of argv it used, 0 on error. */
static int option(int left, char **argv, struct ctl_args *args, struct err *e)
{
	struct slice name, value;
	bool glued = slice_cut(slice_from(slice_str(argv[0]), 2), '=', &name, &value);

	for (size_t i = 0; i < COUNT(opts); i++) {
		const struct opt *o = &opts[i];
		bool wants = o->kind != OPT_FLAG;

		if (!slice_eq(o->name, name))
			continue;
		if (!wants && glued)
			return err_set(e, ERR_INPUT, "--%s takes no value", o->name.p);
		if (wants && !glued && left < 2)
			return err_set(e, ERR_INPUT, "--%s needs a value: --%s %s", o->name.p,
				       o->name.p, o->value);
		if (wants && !glued)
			value = slice_str(argv[1]);
		if (!set_option(o, value, args, e))
			return 0;
		return wants && !glued ? 2 : 1;
	}
	return err_set(e, ERR_INPUT, "unknown option %s; try: signet help", argv[0]);
}

static const struct command *command_of(struct ctl_args *args)
{
	char two[64];
	int n = 0;

	if (args->n_words >= 2)
		n = snprintf(two, sizeof two, "%.*s %.*s", SLICE_ARG(args->words[0]),
			     SLICE_ARG(args->words[1]));
	for (size_t i = 0; i < COUNT(commands); i++) {
		size_t used = 0;

		if (args->n_words && slice_eq(commands[i].name, args->words[0]))
			used = 1;
		else if (n > 0 && (size_t)n < sizeof two &&
			 slice_eq(commands[i].name, slice(two, (size_t)n)))
			used = 2;
		if (!used)
			continue;
		args->n_words -= used;
		memmove(args->words, args->words + used, args->n_words * sizeof *args->words);
		return &commands[i];
	}
	return NULL;
}

bool ctl_parse(int argc, char **argv, struct slice *ret_command, struct ctl_args *args,
	       struct err *e)
{
	const struct command *c;
	bool only_words = false;

	*args = (struct ctl_args){ 0 };
	for (int i = 0; i < argc;) {
		if (!only_words && !strcmp(argv[i], "--")) {
			only_words = true;
			i++;
		} else if (!only_words && !strncmp(argv[i], "--", 2)) {
			int used = option(argc - i, argv + i, args, e);

			if (!used)
				return false;
			i += used;
		} else if (args->n_words == COUNT(args->words)) {
			return err_set(e, ERR_INPUT, "too many words; try: signet help");
		} else {
			args->words[args->n_words++] = slice_str(argv[i++]);
		}
	}
	c = command_of(args);
	if (!c)
		return err_set(e, ERR_INPUT, "%s; try: signet help",
			       args->n_words ? "unknown command" : "a command is needed");
	if (args->n_words < c->min || args->n_words > c->max)
		return err_set(e, ERR_INPUT, "usage: signet %s %s", c->name.p, c->words);
	*ret_command = c->name;
	return true;
}

bool ctl_knows(struct slice command)
{
	for (size_t i = 0; i < COUNT(commands); i++)
		if (slice_eq(commands[i].name, command))
			return !commands[i].local;
	return false;
}

void ctl_help(void)
{
	printf("signet - authenticated mail submission\n\nCommands:\n");
	for (size_t i = 0; i < COUNT(commands); i++)
		printf("  %-16s %-8s %s\n", commands[i].name.p, commands[i].words,
		       commands[i].help);
	printf("\nOptions:\n");
	for (size_t i = 0; i < COUNT(opts); i++)
		printf("  --%-12s %-8s %s\n", opts[i].name.p, opts[i].value ? opts[i].value : "",
		       opts[i].help);
	printf("\nExit codes: 0 done, 64 command line, 65 input refused, 66 not found, 69 server "
	       "does not\n"
	       "answer, 70 bug, 73 exists already, 75 try again later, 77 not allowed, 78 "
	       "configuration.\n");
}

bool ctl_command_row(size_t i, struct ctl_row *ret)
{
	if (i >= COUNT(commands))
		return false;
	*ret = (struct ctl_row){ commands[i].name, commands[i].words, commands[i].help };
	return true;
}

bool ctl_option_row(size_t i, struct ctl_row *ret)
{
	if (i >= COUNT(opts))
		return false;
	*ret = (struct ctl_row){ opts[i].name, opts[i].value, opts[i].help };
	return true;
}
