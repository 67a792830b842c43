#include "ops/notify.h"

#include "base/buf.h"
#include "ops/clock.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STATUS_MAX 300

static int connect_to(const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	int fd;

	/* "@" begins a name of the abstract kind, whose first byte is NUL. */
	if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof to.sun_path)
		return -1;
	memcpy(to.sun_path, name, n);
	if (name[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n))) {
		close(fd);
		return -1;
	}
	return fd;
}

static uint64_t number(const char *text)
{
	uint64_t v = 0;

	return text && slice_u64(slice_str(text), &v) ? v : 0;
}

void notify_open(struct notify *n)
{
	const char *name = getenv("NOTIFY_SOCKET"), *pid = getenv("WATCHDOG_PID");

	*n = (struct notify){ .fd = name ? connect_to(name) : -1 };
	/* It may be meant for a parent of ours. */
	if (!pid || number(pid) == (uint64_t)getpid())
		n->watchdog_ms = number(getenv("WATCHDOG_USEC")) / 1000;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

static void tell(const struct notify *n, const char *state, struct slice status)
{
	struct buf text;

	if (n->fd < 0)
		return;
	buf_init(&text, STATUS_MAX + 100);
	buf_add(&text, slice_str(state));
	if (status.n) {
		buf_add(&text, S("\nSTATUS="));
		for (size_t i = 0; i < status.n && i < STATUS_MAX; i++)
			buf_addc(&text, (unsigned char)status.p[i] < ' ' ? ' ' : status.p[i]);
	}
	if (send(n->fd, text.p, text.n, MSG_NOSIGNAL) < 0)
		text.n = 0; /* lost: see the header */
	buf_done(&text);
}

void notify_ready(const struct notify *n, struct slice status)
{
	tell(n, "READY=1", status);
}

static void tell_number(const struct notify *n, const char *front, uint64_t v)
{
	char room[80];
	struct buf text = { .p = room, .cap = sizeof room - 1, .max = sizeof room - 1 };

	buf_add(&text, slice_str(front));
	buf_addu(&text, v);
	room[text.n] = '\0';
	tell(n, room, S(""));
}

void notify_reloading(const struct notify *n)
{
	tell_number(n, "RELOADING=1\nMONOTONIC_USEC=", clock_mono_ns() / 1000);
}

void notify_stopping(const struct notify *n, struct slice status)
{
	tell(n, "STOPPING=1", status);
}

void notify_alive(const struct notify *n)
{
	tell(n, "WATCHDOG=1", S(""));
}

void notify_extend(const struct notify *n, uint64_t ms)
{
	tell_number(n, "EXTEND_TIMEOUT_USEC=", ms * 1000);
}
