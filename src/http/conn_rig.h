/* http/conn_rig.h -- a driver for tests: plays bytes into a connection, in pieces, and keeps what
 * was told and what was answered. Each request is answered 200 with what was understood of it. */
#ifndef HTTP_CONN_RIG_H
#define HTTP_CONN_RIG_H

#include "http/conn.h"

struct rig {
	struct http_conn *conn;
	struct buf in, out; /* not yet understood; answered */
	struct buf body;    /* of the request at hand */
	struct buf told;    /* "head" and "ask" with their requests, "close" */
	uint32_t question;  /* open, when replies are held back */
	bool hold;          /* do not answer at ASK_REPLY */
	bool hasty;         /* answer at GOT_HEAD, with 401 */
	bool closed;
	struct slice date;
	enum http_want want; /* what the last step said */
};

void rig_start(struct rig *r, const struct http_config *cfg);
void rig_stop(struct rig *r);
/* More bytes have come; steps until nothing moves. */
void rig_feed(struct rig *r, struct slice piece);
/* Answers the question that was held back, and goes on. */
bool rig_answer(struct rig *r, uint32_t question);
void rig_steps(struct rig *r);

extern const struct http_config rig_config;

#define RIG_FIELDS "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
#define RIG_OK(n, s)                                                                               \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" RIG_FIELDS "Content-Length: " n          \
	"\r\n\r\n" s
#define RIG_LAST(n, s)                                                                             \
	"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" RIG_FIELDS "Content-Length: " n          \
	"\r\nConnection: close\r\n\r\n" s
#define RIG_REFUSED(s)                                                                             \
	"HTTP/1.1 " s "\r\n" RIG_FIELDS "Content-Length: 0\r\nConnection: close\r\n\r\n"
#define RIG_HASTY "HTTP/1.1 401 Unauthorized\r\n" RIG_FIELDS "Content-Length: 0\r\n"
#define RIG_GO_ON "HTTP/1.1 100 Continue\r\n\r\n"

#endif
