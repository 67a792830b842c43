/* Opens a spool as the server does and says what is in it, a line each:
 *
 *     message SUBJECT SHA256-OF-THE-BODY PATH=STATE... [PLACE...]
 *     damaged WHERE REASON
 *     failed REASON
 *
 *     spool_dump DIR [put]    put: one more message is committed then, and the process is gone
 *                             without closing anything
 *     spool_dump DIR where    PLACE is SEGMENT:AT:BYTES of the record and of each outcome,
 *                             BYTES about */
#include "spool/log_impl.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct spool_backend *const b = &spool_segments;

static void digest(const struct spool_content *c, char ret[65])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char raw[32];
	char block[65536];
	uint64_t at = c->fd_offset, end = c->fd_offset + c->fd_bytes;

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		abort();
	if (c->fd < 0)
		EVP_DigestUpdate(ctx, c->body.p, c->body.n);
	while (c->fd >= 0 && at < end) {
		size_t want = end - at < sizeof block ? (size_t)(end - at) : sizeof block;
		ssize_t n = pread(c->fd, block, want, (off_t)at);

		if (n <= 0)
			break;
		EVP_DigestUpdate(ctx, block, (size_t)n);
		at += (uint64_t)n;
	}
	EVP_DigestFinal_ex(ctx, raw, NULL);
	EVP_MD_CTX_free(ctx);
	for (int i = 0; i < 32; i++)
		snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

static void places(struct spool *s, struct id id)
{
	struct entry *e = index_find(s->index, id);

	printf(" %u:%llu:%llu", e->put.segment, (unsigned long long)place_at(e->put),
	       (unsigned long long)(entry_in_file(s->index, e) ? 2048 : entry_size(e) + 1024));
	for (uint32_t i = 0; i < e->n_deliveries; i++) {
		struct place p = index_delivery(s->index, e, i)->state;

		if (p.segment)
			printf(" %u:%llu:1024", p.segment, (unsigned long long)place_at(p));
	}
	if (entry_in_file(s->index, e)) {
		char name[32];

		log_large_name(id, name);
		printf(" %s", name);
	}
}

static void show(struct spool *s, struct id id, bool where)
{
	static const char *const states[] = { "pending", "delivered", "failed", "cancelled" };
	struct spool_message m;
	struct arena a;
	struct err e = { 0 };
	const char *subject;
	char sum[65];

	arena_init(&a, 64 << 20);
	if (!b->load(s, id, &a, &m, &e)) {
		printf("failed load: %s\n", e.text);
		arena_done(&a);
		return;
	}
	digest(&m.content, sum);
	subject = memmem(m.content.head.p, m.content.head.n, "Subject: ", 9);
	subject = subject ? subject + 9 : "-\r";
	printf("message %.*s %s", (int)strcspn(subject, "\r\n"), subject, sum);
	for (uint32_t i = 0; i < m.envelope.n_rcpts; i++)
		printf(" %.*s=%s", SLICE_ARG(m.envelope.rcpts[i].path),
		       states[m.envelope.rcpts[i].state]);
	if (where)
		places(s, id);
	printf("\n");
	if (m.content.fd >= 0)
		close(m.content.fd);
	arena_done(&a);
}

static void put(struct spool *s)
{
	struct spool_rcpt to = { .path = S("one@more.example"), .state = RCPT_PENDING };
	struct slice dest = S("more.example");
	struct spool_envelope envelope = { .id = { .b = { 1, (unsigned char)getpid(),
							  (unsigned char)(getpid() >> 8) } },
					   .key_id = S("k"),
					   .reverse_path = S("x@y.example"),
					   .rcpts = &to,
					   .n_rcpts = 1,
					   .dests = &dest,
					   .n_deliveries = 1 };
	struct spool_content content = { .head = S("Subject: tag-onemore-\r\n\r\n"),
					 .body = S("one more\r\n"),
					 .fd = -1 };
	struct spool_op op = { .kind = SPOOL_PUT, .envelope = &envelope, .content = &content };
	struct spool_op *ops = &op;
	struct err e = { 0 };

	if (!b->commit(s, &ops, 1, &e) || op.result != SPOOL_OK)
		printf("failed put: %s\n", e.text);
}

int main(int argc, char **argv)
{
	struct spool_conf conf = { .path = slice_str(argc > 1 ? argv[1] : ""),
				   .segment_bytes = 1 << 20,
				   .hash_key = { 1, 2 } };
	struct spool_damage d[64];
	struct spool_row rows[256];
	struct err e = { 0 };
	struct spool *s = b->open(&conf, &e);
	size_t n;

	if (!s) {
		printf("failed open: %s\n", e.text);
		return 1;
	}
	n = b->damaged(s, 0, d, 64);
	for (size_t i = 0; i < n; i++)
		printf("damaged %s %s\n", d[i].where, d[i].reason);
	for (struct id after = { 0 };
	     (n = spool_list(b, s, &(struct spool_filter){ 0 }, &after, rows, 256));)
		for (size_t i = 0; i < n; i++) {
			show(s, rows[i].id, argc > 2 && !strcmp(argv[2], "where"));
			after = rows[i].id;
		}
	if (argc > 2 && !strcmp(argv[2], "put"))
		put(s);
	fflush(stdout);
	_exit(0);
}
