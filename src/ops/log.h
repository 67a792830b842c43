/* ops/log.h -- one structured line for each fact, written off the loop.
 *
 * log_event() formats the line and puts it into a bounded ring; a thread of its own writes. When
 * the reader of the log does not read, the ring fills, further lines are counted and dropped, and
 * the count is logged when it flows again: nothing else waits. Text is escaped and cut at
 * LOG_TEXT_MAX bytes, so a value is never a line or a field of its own. There is no field for a
 * secret. Before log_start() and after log_stop() events go nowhere. */
#ifndef OPS_LOG_H
#define OPS_LOG_H

#include "base/err.h"
#include "base/id.h"
#include "base/slice.h"
#include "ops/events.h"

#define LOG_TEXT_MAX 512

enum log_name {
#define X(symbol, name, about) symbol,
	LOG_EVENTS(X)
#undef X
	    LOG_NAMES
};

/* LOG_PEOPLE: to be read by eye, not by programs: the time of day (UTC), quotes only where they are
 * needed, nothing for what is empty. */
enum log_format { LOG_JSON, LOG_LOGFMT, LOG_PEOPLE };

enum log_kind { LOG_TEXT, LOG_NUMBER, LOG_BOOL, LOG_ID };

struct log_field {
	const char *name;
	enum log_kind kind;
	struct slice text;
	uint64_t number;
	struct id id;
};

#define F_STR(n, s)  ((struct log_field){ .name = (n), .kind = LOG_TEXT, .text = (s) })
#define F_CSTR(n, s) ((struct log_field){ .name = (n), .kind = LOG_TEXT, .text = slice_str(s) })
/* Left out when s is empty. */
#define F_SOME(label, slice_)                                                                      \
	((struct log_field){                                                                       \
	    .name = (slice_).n ? (label) : NULL, .kind = LOG_TEXT, .text = (slice_) })
#define F_U64(n, v)  ((struct log_field){ .name = (n), .kind = LOG_NUMBER, .number = (v) })
#define F_BOOL(n, v) ((struct log_field){ .name = (n), .kind = LOG_BOOL, .number = (v) })
#define F_ID(n, v)   ((struct log_field){ .name = (n), .kind = LOG_ID, .id = (v) })

#define log_event(which, ...)                                                                      \
	log_write((which), (const struct log_field[]){ __VA_ARGS__ },                              \
		  sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

/* Lines go to fd, which stays the caller's. */
bool log_start(int fd, enum log_format format, struct err *e);
/* Writes what is in the ring, for wait_ms at most, and ends the thread. */
void log_stop(unsigned wait_ms);
/* From any thread. */
void log_write(enum log_name, const struct log_field *, size_t n);
/* Lines dropped since the start. */
uint64_t log_dropped(void);

/* The line log_write() would write at that time, line end included. For log_write() and tests. */
struct buf;
void log_line(struct buf *out, enum log_format, uint64_t unix_ms, enum log_name,
	      const struct log_field *, size_t n);

#endif
