/* signet: `signet help` lists what it does. */
#include "backup/backup.h"
#include "ctl/ctl.h"
#include "ctl/manual.h"
#include "ctl/send.h"
#include "doctor/doctor.h"
#include "serve/start.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/signet/signet.conf"
#define DEFAULT_DATA   "/var/lib/signet"

/* Words of the command line are NUL-terminated where they stand. */
static const char *text(struct slice s, const char *standard)
{
	return s.n ? s.p : standard;
}

static int run(struct slice command, const struct ctl_args *a)
{
	const char *config = text(a->config, DEFAULT_CONFIG);

	if (slice_eq(command, S("serve")))
		return serve_run(config);
	if (slice_eq(command, S("init")))
		return serve_init(text(a->data, DEFAULT_DATA),
				  text(a->hostname, a->demo ? "localhost" : ""), a->demo);
	if (slice_eq(command, S("config check")))
		return serve_config_check(a->n_words ? a->words[0].p : config);
	if (slice_eq(command, S("config dump")))
		return serve_config_dump(a->n_words ? a->words[0].p : config);
	if (slice_eq(command, S("config table")))
		return serve_config_table();
	if (slice_eq(command, S("config man")))
		return serve_config_man();
	if (slice_eq(command, S("account states")))
		return serve_states();
	if (slice_eq(command, S("spool salvage")))
		return serve_salvage(a->words[0].p, a->words[1].p, a->json);
	if (slice_eq(command, S("keyring rotate")))
		return keyring_command(config, false, a->json);
	if (slice_eq(command, S("keyring prune")))
		return keyring_command(config, true, a->json);
	if (slice_eq(command, S("doctor")))
		return doctor_command(config, text(a->host, NULL), a->json);
	if (slice_eq(command, S("backup")))
		return backup_command(config, a->words[0].p, a->secrets, a->json);
	if (slice_eq(command, S("restore")))
		return restore_command(&(struct restore_ask){ .from = a->words[0].p,
							      .data = text(a->data, DEFAULT_DATA),
							      .spool = text(a->spool, NULL),
							      .expect = text(a->expect, NULL),
							      .deliver = a->deliver },
				       a->json);
	if (slice_eq(command, S("send")))
		return ctl_send(a, config);
	return ctl_run(command, a);
}

/* help in another form: what manual page and completion are made of. */
static int other_help(struct slice form)
{
	struct buf text;
	bool known = true;

	buf_init(&text, 4u << 20);
	if (slice_eq(form, S("man")))
		ctl_manual(&text);
	else
		known = ctl_completion(form, &text);
	if (known)
		fwrite(text.p, 1, text.n, stdout);
	else
		fprintf(stderr, "signet: usage: signet help [man|bash|zsh|fish]\n");
	buf_done(&text);
	return known ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct ctl_args args;
	struct slice command;
	struct err e = { 0 };

	if (argc > 1 && (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help"))) {
		if (argc > 2)
			return other_help(slice_str(argv[2]));
		ctl_help();
		return EXIT_DONE;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("signet %s\n", SIGNET_VERSION);
		return 0;
	}
	if (!ctl_parse(argc - 1, argv + 1, &command, &args, &e)) {
		fprintf(stderr, "signet: %s\n", e.text);
		return EXIT_USAGE;
	}
	return run(command, &args);
}
