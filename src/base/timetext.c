#include "base/timetext.h"

#include <time.h>

static struct tm utc(uint64_t unix_ms)
{
	/* The years that four digits can show; a broken clock must not break a header. */
	const uint64_t last = 253402300799000;
	time_t t = (time_t)((unix_ms > last ? last : unix_ms) / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	return tm;
}

/* n digits of v, with leading zeros. Digits by hand: every message and every log line has a time
 * in it, and printf costs some thousand instructions for each. */
static char *digits(char *p, int v, size_t n)
{
	for (size_t i = n; i--; v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + n;
}

static char *text(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}

static char *clock_time(char *p, const struct tm *tm)
{
	p = digits(p, tm->tm_hour, 2);
	*p++ = ':';
	p = digits(p, tm->tm_min, 2);
	*p++ = ':';
	return digits(p, tm->tm_sec, 2);
}

void time_add_rfc5322(struct buf *out, uint64_t unix_ms)
{
	/* strftime's names depend on the locale; these do not. */
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = utc(unix_ms);
	char all[sizeof "Mon, 23 Nov 2026 22:43:16 +0000"], *p = all;

	p = text(p, days + (ptrdiff_t)tm.tm_wday * 3, 3);
	p = text(p, ", ", 2);
	p = digits(p, tm.tm_mday, 2);
	*p++ = ' ';
	p = text(p, months + (ptrdiff_t)tm.tm_mon * 3, 3);
	*p++ = ' ';
	p = digits(p, tm.tm_year + 1900, 4);
	*p++ = ' ';
	p = clock_time(p, &tm);
	p = text(p, " +0000", 6);
	buf_add(out, slice(all, (size_t)(p - all)));
}

void time_add_rfc3339(struct buf *out, uint64_t unix_ms)
{
	struct tm tm = utc(unix_ms);
	char all[sizeof "2026-11-23T22:43:16.042Z"], *p = all;

	p = digits(p, tm.tm_year + 1900, 4);
	*p++ = '-';
	p = digits(p, tm.tm_mon + 1, 2);
	*p++ = '-';
	p = digits(p, tm.tm_mday, 2);
	*p++ = 'T';
	p = clock_time(p, &tm);
	*p++ = '.';
	p = digits(p, (int)(unix_ms % 1000), 3);
	*p++ = 'Z';
	buf_add(out, slice(all, (size_t)(p - all)));
}

void time_add_clock(struct buf *out, uint64_t unix_ms)
{
	struct tm tm = utc(unix_ms);
	char all[sizeof "22:43:16"], *p = clock_time(all, &tm);

	buf_add(out, slice(all, (size_t)(p - all)));
}

void time_add_span(struct buf *out, uint64_t ms)
{
	static const struct {
		uint64_t ms;
		struct slice name;
	} units[] = {
		{ 86400000, { " day", 4 } },
		{ 3600000, { " hour", 5 } },
		{ 60000, { " minute", 7 } },
		{ 1000, { " second", 7 } },
	};
	size_t i = 0;

	while (i < 3 && ms < 2 * units[i].ms)
		i++;
	buf_addu(out, ms / units[i].ms);
	buf_add(out, units[i].name);
	if (ms / units[i].ms != 1)
		buf_addc(out, 's');
}
