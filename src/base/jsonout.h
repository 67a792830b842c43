/* base/jsonout.h -- JSON text, written as it goes, without a tree.
 *
 * Commas come by themselves. Text is escaped; what is not UTF-8 becomes U+FFFD. The buffer's
 * ceiling is the limit: check out->failed at the end. */
#ifndef BASE_JSONOUT_H
#define BASE_JSONOUT_H

#include "base/buf.h"
#include "base/id.h"

struct json_out {
	struct buf *out;
	bool comma; /* the next value needs one before it */
};

void json_begin(struct json_out *j, struct buf *out);
void json_open(struct json_out *j);       /* { */
void json_close(struct json_out *j);      /* } */
void json_open_list(struct json_out *j);  /* [ */
void json_close_list(struct json_out *j); /* ] */
void json_key(struct json_out *j, const char *name);
void json_str(struct json_out *j, struct slice s);
void json_num(struct json_out *j, uint64_t v);
void json_bool(struct json_out *j, bool v);
void json_null(struct json_out *j);

/* A key and its value. */
void json_kstr(struct json_out *j, const char *name, struct slice s);
void json_knum(struct json_out *j, const char *name, uint64_t v);
void json_kbool(struct json_out *j, const char *name, bool v);
void json_kid(struct json_out *j, const char *name, struct id id);
/* RFC 3339 time; null for 0. */
void json_ktime(struct json_out *j, const char *name, uint64_t unix_ms);

#endif
