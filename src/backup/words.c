/* backup/words.c -- the two commands, as the command line sees them. */
#include "backup/backup.h"

#include "base/jsonout.h"
#include "ctl/ctl.h"
#include "ops/conf.h"

#include <stdio.h>

static int complain(const struct err *e)
{
	fprintf(stderr, "signet: %s\n", e->text);
	/* A backup that is not whole is bad input; a bug it is not. */
	return e->kind == ERR_DAMAGED ? EXIT_INPUT : ctl_exit_code(e->kind);
}

static void print(FILE *to, struct buf *text)
{
	(void)fwrite(text->p, 1, text->n, to);
	buf_done(text);
}

int backup_command(const char *config, const char *to, bool secrets, bool json)
{
	struct backup_ask ask = { .config = config, .to = to, .secrets = secrets };
	bool stream = !strcmp(to, "-"), ok;
	struct backup_said said;
	struct err e = { 0 };
	struct json_out j;
	struct buf out;

	ask.conf = conf_read(config, &e);
	if (!ask.conf) {
		(void)complain(&e);
		return EXIT_CONFIG;
	}
	ok = backup_take(&ask, &said, &e);
	conf_free(ask.conf);
	if (!ok)
		return complain(&e);
	buf_init(&out, 4096);
	json_begin(&j, &out);
	if (json) {
		json_open(&j);
		json_knum(&j, "messages", said.messages);
		json_knum(&j, "files", said.files);
		json_knum(&j, "bytes", said.bytes);
		json_knum(&j, "left_out", said.absent);
		json_kstr(&j, "sha256", slice_str(said.sha256));
		json_close(&j);
		buf_addc(&out, '\n');
	} else {
		buf_addf(&out,
			 "%llu messages, %llu files, %llu bytes\n"
			 "manifest %s (restore --expect checks it)\n",
			 (unsigned long long)said.messages, (unsigned long long)said.files,
			 (unsigned long long)said.bytes, said.sha256);
		if (said.absent)
			buf_addf(
			    &out,
			    "left out: %llu files with secrets (--with-secrets takes them in)\n",
			    (unsigned long long)said.absent);
	}
	print(stream ? stderr : stdout, &out);
	return EXIT_DONE;
}

int restore_command(const struct restore_ask *ask, bool json)
{
	struct restore_said said;
	struct err e = { 0 };
	struct buf notes, out;
	struct json_out j;
	bool ok;

	buf_init(&notes, 1u << 20);
	ok = backup_restore(ask, &notes, &said, &e);
	if (!ok) {
		buf_done(&notes);
		return complain(&e);
	}
	buf_init(&out, 1u << 20);
	json_begin(&j, &out);
	if (json) {
		json_open(&j);
		json_knum(&j, "messages", said.messages);
		json_knum(&j, "held", said.held);
		json_knum(&j, "files", said.files);
		json_knum(&j, "bytes", said.bytes);
		json_kstr(&j, "notes", buf_slice(&notes));
		json_close(&j);
		buf_addc(&out, '\n');
	} else {
		buf_addf(&out, "%llu messages, %llu of them held; %llu files, %llu bytes\n",
			 (unsigned long long)said.messages, (unsigned long long)said.held,
			 (unsigned long long)said.files, (unsigned long long)said.bytes);
		buf_add(&out, buf_slice(&notes));
	}
	buf_done(&notes);
	print(stdout, &out);
	return EXIT_DONE;
}
