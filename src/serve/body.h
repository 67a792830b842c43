/* serve/body.h -- where a message collects until its end: in memory, then in a file.
 *
 * The first bytes always stay in memory, so that the head can be parsed; what exceeds `memory`
 * bytes is written to an unnamed file of the spool by jobs of the files lane. While a job runs
 * (body_busy) nothing may be added: the connection does not read, and TCP holds the client back. */
#ifndef SERVE_BODY_H
#define SERVE_BODY_H

#include "base/buf.h"
#include "base/err.h"
#include "loop/work.h"
#include "spool/spool.h"

struct conf;
struct server;

struct body {
	struct server *server;
	const struct conf *conf;
	struct buf front;    /* the first bytes; everything while there is no file */
	struct buf back;     /* bytes on their way to the file */
	int fd;              /* -1: no file yet */
	uint64_t file_bytes; /* written so far */
	uint64_t counted;    /* bytes of ours in server->memory */
	bool failed;         /* a write failed: the message gets 452 */
	struct err error;
};

/* conf stays for as long as the body. */
void body_init(struct body *, struct server *, const struct conf *);
void body_done(struct body *);
/* Adds bytes. False: memory is out. */
bool body_add(struct body *, struct slice);
/* True when the memory part is full: call body_write() on the files lane before adding more. */
bool body_full(const struct body *);
/* At the end of data: must body_write(last) be called before the message is complete? */
bool body_wants_file(const struct body *);
/* On the files lane: writes what has collected; at the end of data also syncs the file. Sets
 * failed and error when it cannot. */
void body_write(struct body *, bool last);
/* The message behind the first head_bytes bytes, as the spool takes it. */
void body_content(const struct body *, size_t head_bytes, struct spool_content *ret);

#endif
