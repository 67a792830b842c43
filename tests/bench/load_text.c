/* tests/bench/load_text.c -- the generator's options, and the bytes that it sends, made once. */
#include "load.h"
#include "wire.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>
#include <unistd.h>

struct options opt = {
	.address = "127.0.0.1",
	.from = "bench@bench.example",
	.to = "rcpt@bench.example",
	.subject = "bench",
	.port = 587,
	.tls = TLS_STARTTLS,
	.pipelining = true,
	.connections = 1,
	.per_connection = 100,
	.size = 4096,
	.errors_max = 100,
};

/* -- options -- */

static const char usage[] =
    "usage: load [OPTION...]\n"
    "  --address IP --port N --tls none|starttls|implicit --user U --secret S\n"
    "  --from ADDRESS --to ADDRESS[,ADDRESS...] --subject TEXT --size BYTES\n"
    "  --connections N --per-connection N (0: no end) --messages N --seconds S\n"
    "  --no-pipelining    one command, one reply\n"
    "  --next             the next MAIL, RCPT, DATA right with the end of data\n"
    "  --rate N           open loop, N messages a second\n"
    "  --resume           TLS sessions are resumed\n"
    "  --hold             log in, then keep all connections idle until SIGTERM\n"
    "  --opening N        at most N connections not yet logged in\n"
    "  --errors-max N     then stop (100)\n";

static const struct option names[] = {
	{ "address", 1, NULL, 'a' },
	{ "port", 1, NULL, 'p' },
	{ "tls", 1, NULL, 't' },
	{ "user", 1, NULL, 'u' },
	{ "secret", 1, NULL, 'k' },
	{ "from", 1, NULL, 'f' },
	{ "to", 1, NULL, 'r' },
	{ "subject", 1, NULL, 'S' },
	{ "size", 1, NULL, 'z' },
	{ "connections", 1, NULL, 'c' },
	{ "per-connection", 1, NULL, 'm' },
	{ "messages", 1, NULL, 'n' },
	{ "seconds", 1, NULL, 's' },
	{ "no-pipelining", 0, NULL, 'P' },
	{ "next", 0, NULL, 'N' },
	{ "rate", 1, NULL, 'R' },
	{ "resume", 0, NULL, 'T' },
	{ "hold", 0, NULL, 'H' },
	{ "opening", 1, NULL, 'o' },
	{ "errors-max", 1, NULL, 'e' },
	{ NULL, 0, NULL, 0 },
};

static enum tls_mode tls_mode(const char *text)
{
	if (!strcmp(text, "none"))
		return TLS_NONE;
	if (!strcmp(text, "implicit"))
		return TLS_IMPLICIT;
	if (strcmp(text, "starttls") != 0)
		die("--tls: none, starttls or implicit");
	return TLS_STARTTLS;
}

static void option(int letter)
{
	switch (letter) {
	case 'a': opt.address = optarg; break;
	case 'p': opt.port = (int)number(optarg, "--port"); break;
	case 't': opt.tls = tls_mode(optarg); break;
	case 'u': opt.user = optarg; break;
	case 'k': opt.secret = optarg; break;
	case 'f': opt.from = optarg; break;
	case 'r': opt.to = optarg; break;
	case 'S': opt.subject = optarg; break;
	case 'z': opt.size = number(optarg, "--size"); break;
	case 'c': opt.connections = number(optarg, "--connections"); break;
	case 'm': opt.per_connection = number(optarg, "--per-connection"); break;
	case 'n': opt.messages = number(optarg, "--messages"); break;
	case 's': opt.seconds = real(optarg, "--seconds"); break;
	case 'P': opt.pipelining = false; break;
	case 'N': opt.next = true; break;
	case 'R': opt.rate = real(optarg, "--rate"); break;
	case 'T': opt.resume = true; break;
	case 'H': opt.hold = true; break;
	case 'o': opt.opening = number(optarg, "--opening"); break;
	case 'e': opt.errors_max = number(optarg, "--errors-max"); break;
	default: fputs(usage, stderr); exit(2);
	}
}

void load_options(int argc, char **argv)
{
	int letter;

	while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
		option(letter);
	if (optind != argc || !opt.connections) {
		fputs(usage, stderr);
		exit(2);
	}
	if (opt.next && !opt.pipelining)
		die("--next needs pipelining");
	/* An open loop knows beforehand how many there will be. */
	if (opt.rate && opt.seconds > 0)
		opt.messages = (long)(opt.rate * opt.seconds);
	if (opt.rate) {
		opt.per_connection = 0;
		opt.connections = MIN(opt.connections, opt.messages);
	}
	if (!opt.hold && !opt.messages && !(opt.seconds > 0))
		die("--messages or --seconds?");
}

/* -- the bytes -- */

struct blob hello, auth_line, envelope, message, message_next, message_quit;
size_t rcpts, stamp_at;

static void blob_add(struct blob *b, const char *p, size_t n)
{
	b->p = need(realloc(b->p, b->n + n + 1));
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

static void blob_text(struct blob *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void blob_text(struct blob *b, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof text)
		die("too long");
	blob_add(b, text, (size_t)n);
}

static void make_auth(void)
{
	char plain[1024], text[2048];
	int n;

	if (!opt.user)
		return;
	n = snprintf(plain, sizeof plain, "%c%s%c%s", 0, opt.user, 0, opt.secret ? opt.secret : "");
	if (n < 0 || (size_t)n >= sizeof plain)
		die("--secret is too long");
	EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, n);
	blob_text(&auth_line, "AUTH PLAIN %s\r\n", text);
}

static void make_message(void)
{
	static const char line[] =
	    "The quick brown fox jumps over the lazy dog, and then it does so once again.\r\n";
	time_t now = time(NULL);
	struct tm tm;
	char date[64];
	size_t left;

	gmtime_r(&now, &tm);
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
	blob_text(&message,
		  "From: <%s>\r\nTo: undisclosed-recipients:;\r\nSubject: %s\r\nDate: %s\r\n"
		  "Message-ID: <",
		  opt.from, opt.subject, date);
	stamp_at = message.n;
	blob_text(&message, "%0*d@%d.bench.example>\r\n\r\n", STAMP_N, 0, (int)getpid());
	if (message.n + 4 > (size_t)opt.size)
		die("--size: at least %zu", message.n + 4);
	message.p = need(realloc(message.p, (size_t)opt.size + 8));
	while ((left = (size_t)opt.size - message.n) > 2 * sizeof line) {
		memcpy(message.p + message.n, line, sizeof line - 1);
		message.n += sizeof line - 1;
	}
	memset(message.p + message.n, 'x', left - 2);
	message.n += left - 2;
	memcpy(message.p + message.n, "\r\n.\r\n", 6);
	message.n += 5;
}

void load_texts(void)
{
	char *to = need(strdup(opt.to)), *save = NULL;

	blob_text(&hello, "EHLO load.bench.example\r\n");
	make_auth();
	blob_text(&envelope, "MAIL FROM:<%s>\r\n", opt.from);
	for (char *one = strtok_r(to, ",", &save); one; one = strtok_r(NULL, ",", &save), rcpts++)
		blob_text(&envelope, "RCPT TO:<%s>\r\n", one);
	free(to);
	if (!rcpts || rcpts > 200)
		die("--to: 1 to 200 recipients");
	blob_text(&envelope, "DATA\r\n");
	make_message();
	blob_add(&message_next, message.p, message.n);
	blob_add(&message_next, envelope.p, envelope.n);
	blob_add(&message_quit, message.p, message.n);
	blob_text(&message_quit, "QUIT\r\n");
}
