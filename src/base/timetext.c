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

void time_add_rfc5322(struct buf *out, uint64_t unix_ms)
{
	/* strftime's names depend on the locale; these do not. */
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm = utc(unix_ms);

	buf_addf(out, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", days + (ptrdiff_t)tm.tm_wday * 3,
		 tm.tm_mday, months + (ptrdiff_t)tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour,
		 tm.tm_min, tm.tm_sec);
}

void time_add_rfc3339(struct buf *out, uint64_t unix_ms)
{
	struct tm tm = utc(unix_ms);

	buf_addf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(unix_ms % 1000));
}
