#include "ops/log.h"

#include "base/buf.h"
#include "base/timetext.h"
#include "base/utf8.h"
#include "ops/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RING           (1u << 20)
#define LINE_MAX_BYTES 16384
/* Lines are gathered this long before they are written: under load a wake, a poll and a write serve
 * many lines, not one. */
#define GATHER_MS 5
/* Of an event's name, for people: so that what follows stands in a column. */
#define NAME_WIDTH 18
/* Written at once. Small enough that poll's word holds for a pipe: it never blocks such a write. */
#define WRITE_MAX 4096

static const char *const names[] = {
#define X(symbol, name, about) name,
	LOG_EVENTS(X)
#undef X
};

/* The one writer of the process. Mutable state of this file, and nowhere else. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t some;
	pthread_t thread;
	char *ring;
	size_t from, n;
	uint64_t dropped, dropped_told;
	bool on, stop;
	enum { BUSY, IDLE, GATHERING } state; /* of the thread */
	uint64_t deadline_ms;
	int fd;
	enum log_format format;
} writer = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What stands in a line as it is, whatever stands around it. */
static bool is_plain(char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static void add_escaped(struct buf *out, struct slice s)
{
	static const char hex[] = "0123456789abcdef";
	bool utf8;

	utf8 = utf8_valid(s);
	if (s.n > LOG_TEXT_MAX) {
		s.n = LOG_TEXT_MAX;
		/* Not in the middle of a character. */
		while (utf8 && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
			s.n--;
	}
	for (size_t i = 0; i < s.n; i++) {
		size_t from = i;
		unsigned char c;

		while (i < s.n && is_plain(s.p[i]))
			i++;
		buf_add(out, slice(s.p + from, i - from));
		if (i == s.n)
			break;
		c = (unsigned char)s.p[i];
		if (c == '"' || c == '\\') {
			char two[2] = { '\\', (char)c };

			buf_add(out, slice(two, 2));
		} else if (c == 0xc2 && utf8 && (unsigned char)s.p[i + 1] < 0xa0) {
			/* U+0080 to U+009f: control characters, too, for some terminals. */
			unsigned char low = (unsigned char)s.p[++i];
			char six[6] = { '\\', 'u', '0', '0', hex[low >> 4], hex[low & 15] };

			buf_add(out, slice(six, 6));
		} else if (c < 0x20 || c == 0x7f || (c > 0x7f && !utf8)) {
			char six[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

			buf_add(out, slice(six, 6));
		} else {
			buf_addc(out, (char)c);
		}
	}
}

/* One word as it stands: nobody takes it for two, or for a field. */
static bool is_word(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\' ||
		    s.p[i] == '=')
			return false;
	return s.n && s.n <= LOG_TEXT_MAX;
}

static void add_field(struct buf *out, enum log_format format, const struct log_field *f)
{
	bool json = format == LOG_JSON;
	bool quoted = f->kind == LOG_TEXT || (json && f->kind == LOG_ID);

	if (!f->name)
		return;
	if (format == LOG_PEOPLE && f->kind == LOG_TEXT) {
		if (!f->text.n)
			return;
		quoted = !is_word(f->text);
	}
	buf_add(out, json ? S(",\"") : S(" "));
	buf_add(out, slice_str(f->name));
	buf_add(out, json ? S("\":") : S("="));
	if (quoted)
		buf_addc(out, '"');
	switch (f->kind) {
	case LOG_TEXT: add_escaped(out, f->text); break;
	case LOG_NUMBER: buf_addu(out, f->number); break;
	case LOG_BOOL: buf_add(out, f->number ? S("true") : S("false")); break;
	case LOG_ID: id_add(out, f->id); break;
	}
	if (quoted)
		buf_addc(out, '"');
}

void log_line(struct buf *out, enum log_format format, uint64_t unix_ms, enum log_name name,
	      const struct log_field *fields, size_t n)
{
	bool json = format == LOG_JSON;

	if (format == LOG_PEOPLE) {
		struct slice word = slice_str(names[name]);

		time_add_clock(out, unix_ms);
		buf_addc(out, ' ');
		for (size_t i = 0; i < word.n; i++)
			buf_addc(out, word.p[i] == '_' ? ' ' : word.p[i]);
		for (size_t i = word.n; i < NAME_WIDTH; i++)
			buf_addc(out, ' ');
		for (size_t i = 0; i < n; i++)
			add_field(out, format, &fields[i]);
		buf_addc(out, '\n');
		return;
	}
	buf_add(out, json ? S("{\"time\":\"") : S("time="));
	time_add_rfc3339(out, unix_ms);
	buf_add(out, json ? S("\",\"event\":\"") : S(" event="));
	buf_add(out, slice_str(names[name]));
	if (json)
		buf_addc(out, '"');
	for (size_t i = 0; i < n; i++)
		add_field(out, format, &fields[i]);
	buf_add(out, json ? S("}\n") : S("\n"));
}

/* The caller holds the lock. */
static bool ring_put(struct slice line)
{
	size_t at, first;

	if (line.n > RING - writer.n)
		return false;
	at = (writer.from + writer.n) % RING;
	first = line.n < RING - at ? line.n : RING - at;
	memcpy(writer.ring + at, line.p, first);
	memcpy(writer.ring, line.p + first, line.n - first);
	writer.n += line.n;
	return true;
}

void log_write(enum log_name name, const struct log_field *fields, size_t n)
{
	/* Release builds would clear all of it for each line. */
	char room[LINE_MAX_BYTES] __attribute__((uninitialized));
	struct buf line = { .p = room, .cap = sizeof room, .max = sizeof room };
	bool wake;

	/* A line that does not fit its room (many long fields) is dropped and counted. */
	log_line(&line, writer.format, clock_wall_ms(), name, fields, n);
	pthread_mutex_lock(&writer.lock);
	if (writer.on && (line.failed || !ring_put(buf_slice(&line))))
		writer.dropped++;
	wake = (writer.state == IDLE && writer.n) ||
	       (writer.state == GATHERING && writer.n > RING / 4);
	/* Under the lock: log_stop() takes the condition away. */
	if (wake) {
		writer.state = BUSY;
		pthread_cond_signal(&writer.some);
	}
	pthread_mutex_unlock(&writer.lock);
}

/* Under the lock, when there is room again: says how many were lost. */
static void tell_dropped(void)
{
	char room[256];
	struct buf line = { .p = room, .cap = sizeof room, .max = sizeof room };
	struct log_field f = F_U64("count", writer.dropped - writer.dropped_told);

	if (writer.dropped == writer.dropped_told)
		return;
	log_line(&line, writer.format, clock_wall_ms(), LOG_LINES_DROPPED, &f, 1);
	if (ring_put(buf_slice(&line)))
		writer.dropped_told = writer.dropped;
}

/* Under the lock. */
static bool time_over(void)
{
	return writer.stop && clock_mono_ms() >= writer.deadline_ms;
}

/* Waits until the reader takes more; false: give up (the end, and its time is over). */
static bool writable(void)
{
	struct pollfd p = { .fd = writer.fd, .events = POLLOUT };

	for (;;) {
		bool over;

		if (poll(&p, 1, 100) > 0)
			return true;
		pthread_mutex_lock(&writer.lock);
		over = time_over();
		pthread_mutex_unlock(&writer.lock);
		if (over)
			return false;
	}
}

static size_t lines_in(const char *p, size_t n)
{
	size_t lines = 0;

	for (size_t i = 0; i < n; i++)
		lines += p[i] == '\n';
	return lines;
}

/* Waits for a line, then a little for more. The caller holds the lock. */
static void gather(void)
{
	uint64_t until;
	struct timespec at;

	while (!writer.n && !writer.stop) {
		writer.state = IDLE;
		pthread_cond_wait(&writer.some, &writer.lock);
	}
	until = clock_mono_ms() + GATHER_MS;
	at = (struct timespec){ .tv_sec = (time_t)(until / 1000),
				.tv_nsec = (long)(until % 1000 * 1000000) };
	writer.state = GATHERING;
	while (!writer.stop && writer.state == GATHERING &&
	       pthread_cond_timedwait(&writer.some, &writer.lock, &at) == 0)
		;
	writer.state = BUSY;
}

static void *writer_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&writer.lock);
	for (;;) {
		size_t some;
		ssize_t n;

		if (writer.n < WRITE_MAX && !writer.stop)
			gather();
		/* A reader that takes a little now and then must not keep us, either. */
		if (!writer.n || time_over())
			break;
		some = writer.n < RING - writer.from ? writer.n : RING - writer.from;
		some = some < WRITE_MAX ? some : WRITE_MAX;
		pthread_mutex_unlock(&writer.lock);
		n = writable() ? write(writer.fd, writer.ring + writer.from, some) : -2;
		pthread_mutex_lock(&writer.lock);
		if (n == -2)
			break;
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		/* Nobody is there to read any more: the lines are lost, and counted as such. That
		 * is told when a write succeeds again, or the telling would be lost in an endless
		 * round. */
		if (n < 0)
			writer.dropped += lines_in(writer.ring + writer.from, some);
		writer.from = (writer.from + (n < 0 ? some : (size_t)n)) % RING;
		writer.n -= n < 0 ? some : (size_t)n;
		if (n > 0)
			tell_dropped();
	}
	pthread_mutex_unlock(&writer.lock);
	return NULL;
}

bool log_start(int fd, enum log_format format, struct err *e)
{
	pthread_condattr_t steady;
	sigset_t all, old;
	int rc;

	writer.ring = malloc(RING);
	if (!writer.ring)
		return err_set(e, ERR_LATER, "log: out of memory");
	writer.fd = fd;
	writer.format = format;
	writer.from = writer.n = 0;
	writer.stop = false;
	writer.state = BUSY;
	/* A step of the wall clock must not hold lines back. */
	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&writer.some, &steady);
	pthread_condattr_destroy(&steady);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&writer.thread, NULL, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		pthread_cond_destroy(&writer.some);
		free(writer.ring);
		return err_set(e, ERR_LATER, "log: thread: %s", strerror(rc));
	}
	pthread_setname_np(writer.thread, "log");
	pthread_mutex_lock(&writer.lock);
	writer.on = true;
	pthread_mutex_unlock(&writer.lock);
	return true;
}

void log_stop(unsigned wait_ms)
{
	pthread_mutex_lock(&writer.lock);
	if (!writer.on) {
		pthread_mutex_unlock(&writer.lock);
		return;
	}
	writer.on = false;
	writer.stop = true;
	writer.deadline_ms = clock_mono_ms() + wait_ms;
	pthread_cond_signal(&writer.some);
	pthread_mutex_unlock(&writer.lock);
	pthread_join(writer.thread, NULL);
	pthread_cond_destroy(&writer.some);
	free(writer.ring);
	writer.ring = NULL;
}

uint64_t log_dropped(void)
{
	uint64_t n;

	pthread_mutex_lock(&writer.lock);
	n = writer.dropped;
	pthread_mutex_unlock(&writer.lock);
	return n;
}
