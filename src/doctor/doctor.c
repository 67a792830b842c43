#include "doctor/doctor_impl.h"

#include "base/buf.h"
#include "base/jsonout.h"
#include "doctor/doctor.h"
#include "fetch/fetch.h"
#include "ops/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FINDING_MAX 2048
#define OUTPUT_MAX  (1u << 20)

static const struct check {
	const char *name;
	unsigned seconds; /* then it is ended */
	check_fn *run;
} checks[] = {
	{ "server", 5, check_server },
	{ "permissions", 5, check_permissions },
	{ "disk", 20, check_disk },
	{ "spool", 5, check_spool },
	{ "clock", 5, check_clock },
	{ "limits", 5, check_limits },
	{ "certificates", 5, check_certificates },
	{ "listeners", 40, check_listeners },
	{ "relay", 60, check_relay },
	{ "dns", 15, check_dns },
	{ "hostname", 30, check_hostname },
	{ "routes", 40, check_routes },
	{ "issuers", 40, check_issuers },
};

static const char *const level_names[] = { "ok", "skip", "warn", "fail" };

/* -- findings: level, what, why, todo, each ended by NUL -- */

void tell(struct doctor *d, enum level level, const char *what, const char *todo, const char *why,
	  ...)
{
	char line[FINDING_MAX], text[1024];
	va_list args;
	int n;

	va_start(args, why);
	vsnprintf(text, sizeof text, why, args);
	va_end(args);
	/* A name service or a server may have had a word in it. */
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	n = snprintf(line, sizeof line, "%d%c%.100s%c%s%c%.600s%c", (int)level, 0, what, 0, text, 0,
		     todo ? todo : "", 0);
	if (n > 0 && write(d->to, line, (size_t)n) != n)
		_exit(1);
}

struct printed {
	struct json_out json;
	struct buf out;
	bool as_json;
	enum level worst;
};

static void print_one(struct printed *p, const char *check, enum level level, const char *what,
		      const char *why, const char *todo)
{
	p->worst = level > p->worst ? level : p->worst;
	if (p->as_json) {
		json_open(&p->json);
		json_kstr(&p->json, "check", slice_str(check));
		json_kstr(&p->json, "level", slice_str(level_names[level]));
		json_kstr(&p->json, "what", slice_str(what));
		json_kstr(&p->json, "why", slice_str(why));
		json_kstr(&p->json, "do", slice_str(todo));
		json_close(&p->json);
		return;
	}
	printf("%-4s  %s: %s%s%s\n", level_names[level], what, why, *todo ? "; " : "", todo);
	fflush(stdout);
}

/* The last finding may have been cut off by the end of its process: then it is left out. */
static size_t print_all(struct printed *p, const char *check, const struct buf *b)
{
	const char *at = b->p, *end = b->p + b->n, *part[4];
	size_t found = 0;

	for (;;) {
		for (int i = 0; i < 4; i++) {
			const char *nul = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;

			if (!nul)
				return found;
			part[i] = at;
			at = nul + 1;
		}
		if (part[0][0] >= '0' && part[0][0] <= '3')
			print_one(p, check, (enum level)(part[0][0] - '0'), part[1], part[2],
				  part[3]);
		found++;
	}
}

/* -- processes -- */

static pid_t begin(const struct check *c, const struct doctor *d, int *ret_from)
{
	struct doctor own = *d;
	int pipes[2];
	pid_t pid;

	if (pipe(pipes))
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		/* It does not outlive whoever asked, and its words are for the pipe. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGPIPE, SIG_IGN);
		close(pipes[0]);
		own.to = pipes[1];
		c->run(&own);
		_exit(0);
	}
	close(pipes[1]);
	*ret_from = pipes[0];
	if (pid < 0)
		close(pipes[0]);
	return pid;
}

/* True: it ended by itself. */
static bool collect(pid_t pid, int from, unsigned seconds, struct buf *out)
{
	uint64_t until = clock_mono_ms() + seconds * 1000u;
	struct pollfd p = { .fd = from, .events = POLLIN };
	bool ended = false;
	int status = 0;

	while (!ended) {
		uint64_t now = clock_mono_ms();
		char *to = buf_room_for(out, FINDING_MAX);
		ssize_t n;

		if (!to || now >= until || poll(&p, 1, (int)(until - now)) == 0)
			break;
		n = read(from, to, FINDING_MAX);
		if (n > 0)
			buf_grew(out, (size_t)n);
		ended = n == 0;
	}
	if (!ended)
		kill(pid, SIGKILL);
	close(from);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void run(const struct check *c, const struct doctor *d, struct printed *p)
{
	struct buf out;
	int from = -1;
	pid_t pid = begin(c, d, &from);
	char why[80];

	buf_init(&out, OUTPUT_MAX);
	if (pid < 0) {
		print_one(p, c->name, LEVEL_SKIP, c->name, "no process can be started", "");
		return;
	}
	if (!collect(pid, from, c->seconds, &out)) {
		print_all(p, c->name, &out);
		snprintf(why, sizeof why, "no end after %u seconds", c->seconds);
		print_one(p, c->name, LEVEL_FAIL, c->name, why, "find out what hangs");
	} else if (!print_all(p, c->name, &out)) {
		print_one(p, c->name, LEVEL_SKIP, c->name, "nothing of that kind is configured",
			  "");
	}
	buf_done(&out);
}

static bool server_answers(const struct conf *c)
{
	struct fetch_request f = { .method = "GET",
				   .unix_socket = c->control_socket,
				   .path = S("/control/status"),
				   .timeout_ms = 5000,
				   .body_max = 1u << 20 };
	struct buf body;
	unsigned code = 0;
	bool ok = fetch_request(&f, &code, &body, NULL);

	buf_done(&body);
	return ok && code == 200;
}

static int end(struct printed *p)
{
	if (p->as_json) {
		json_close_list(&p->json);
		json_close(&p->json);
		buf_addc(&p->out, '\n');
		(void)fwrite(p->out.p, 1, p->out.n, stdout);
	}
	buf_done(&p->out);
	return p->worst == LEVEL_FAIL ? 2 : p->worst == LEVEL_WARN ? 1 : 0;
}

int doctor_command(const char *config, const char *probe, bool json)
{
	struct doctor d = { .config = config, .probe = probe };
	struct printed p = { .as_json = json };
	struct err e = { 0 };

	buf_init(&p.out, OUTPUT_MAX);
	json_begin(&p.json, &p.out);
	if (json) {
		json_open(&p.json);
		json_key(&p.json, "findings");
		json_open_list(&p.json);
	}
	d.conf = conf_read(config, &e);
	if (!d.conf) {
		print_one(&p, "configuration", LEVEL_FAIL, "configuration", e.text,
			  "mend it: nothing else can be looked at");
		return end(&p);
	}
	print_one(&p, "configuration", LEVEL_OK, "configuration", config, "");
	d.running = server_answers(d.conf);
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
		run(&checks[i], &d, &p);
	conf_free(d.conf);
	return end(&p);
}
