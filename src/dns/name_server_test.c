/* dns/name_server_test.c -- a name server with a table. */
#include "base/buf.h"
#include "base/must.h"
#include "dns/dns.h"
#include "dns/room_test.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct name_server {
	const struct served *at;
	size_t n;
	int fd;
	unsigned port;
	atomic_uint asked;
	pthread_t thread;
};

static void add16(struct buf *b, unsigned v)
{
	buf_addc(b, (char)(v >> 8));
	buf_addc(b, (char)v);
}

static void add_name(struct buf *b, struct slice name)
{
	struct slice label;

	while (name.n) {
		slice_cut(name, '.', &label, &name);
		buf_addc(b, (char)label.n);
		buf_add(b, label);
	}
	buf_addc(b, '\0');
}

static void add_record(struct buf *b, struct slice owner, unsigned type, struct slice data)
{
	add_name(b, owner);
	add16(b, type);
	add16(b, 1);
	add16(b, 0);
	add16(b, 300);
	add16(b, (unsigned)data.n);
	buf_add(b, data);
}

/* The question's name as text; what is behind it is type and class. */
static bool read_question(struct slice q, char *name, size_t size, unsigned *ret_type,
			  size_t *ret_n)
{
	size_t n = 0, at = 12;

	while (at < q.n && q.p[at]) {
		size_t length = (unsigned char)q.p[at++];

		if (at + length > q.n || n + length + 2 > size)
			return false;
		if (n)
			name[n++] = '.';
		for (size_t i = 0; i < length; i++)
			name[n++] = ascii_lower(q.p[at++]);
	}
	name[n] = '\0';
	if (at + 5 > q.n)
		return false;
	*ret_type = (unsigned)(unsigned char)q.p[at + 1] << 8 | (unsigned char)q.p[at + 2];
	*ret_n = at + 5;
	return true;
}

static const struct served *find(const struct name_server *s, const char *name, unsigned type)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->at[i].name, name) && s->at[i].type == (int)type)
			return &s->at[i];
	return NULL;
}

static void add_answers(struct buf *b, const struct served *s)
{
	struct slice owner = slice_str(s->name);
	struct buf target;

	if (s->cname) {
		buf_init(&target, 512);
		add_name(&target, slice_str(s->cname));
		add_record(b, owner, 5, buf_slice(&target));
		buf_done(&target);
		owner = slice_str(s->cname);
	}
	for (size_t i = 0; i < s->n; i++)
		add_record(b, owner, (unsigned)s->type, s->data[i]);
}

static void add_authority(struct buf *b, const struct served *s)
{
	if (s->sends_on)
		add_record(b, slice_str(s->sends_on), DNS_NS, S("\2ns\4test\0"));
	if (s->begins)
		add_record(b, slice_str(s->begins), 6,
			   S("\2ns\4test\0\0\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1"));
}

static void answer(struct name_server *s, struct slice q, const struct sockaddr_in *from)
{
	const struct served *found;
	size_t question = 0;
	unsigned type = 0;
	char name[300];
	struct buf b;

	if (!read_question(q, name, sizeof name, &type, &question))
		return;
	found = find(s, name, type);
	atomic_fetch_add(&s->asked, 1);
	if (found && found->rcode < 0)
		return;
	buf_init(&b, 65536);
	buf_add(&b, slice(q.p, 2));
	buf_addc(&b, (char)0x81);
	buf_addc(&b, (char)(0x80 | (found ? found->rcode : 3)));
	add16(&b, 1);
	add16(&b, found ? (unsigned)(found->n + (found->cname ? 1 : 0)) : 0);
	add16(&b, found ? (found->sends_on != NULL) + (unsigned)(found->begins != NULL) : 0);
	add16(&b, 0);
	buf_add(&b, slice(q.p + 12, question - 12));
	if (found) {
		add_answers(&b, found);
		add_authority(&b, found);
	}
	sendto(s->fd, b.p, b.n, 0, (const struct sockaddr *)from, sizeof *from);
	buf_done(&b);
}

static void *serve(void *arg)
{
	struct name_server *s = arg;
	struct sockaddr_in from;
	char q[2048];
	ssize_t n;

	for (;;) {
		socklen_t size = sizeof from;

		n = recvfrom(s->fd, q, sizeof q, 0, (struct sockaddr *)&from, &size);
		if (n == 1) /* stop */
			return NULL;
		if (n > 12)
			answer(s, slice(q, (size_t)n), &from);
	}
}

struct name_server *name_server_start(const struct served *at, size_t n)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct name_server *s = calloc(1, sizeof *s);
	socklen_t size = sizeof here;

	MUST(s);
	s->at = at;
	s->n = n;
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	MUST(s->fd >= 0 && !bind(s->fd, (struct sockaddr *)&here, size));
	MUST(!getsockname(s->fd, (struct sockaddr *)&here, &size));
	s->port = ntohs(here.sin_port);
	MUST(!pthread_create(&s->thread, NULL, serve, s));
	return s;
}

unsigned name_server_port(const struct name_server *s)
{
	return s->port;
}

unsigned name_server_asked(struct name_server *s)
{
	return atomic_load(&s->asked);
}

void name_server_stop(struct name_server *s)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons((uint16_t)s->port) };

	sendto(s->fd, "x", 1, 0, (struct sockaddr *)&here, sizeof here);
	pthread_join(s->thread, NULL);
	close(s->fd);
	free(s);
}
