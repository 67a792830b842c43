/* sasl/server_impl.h -- what the files of the server side share.
 *
 *   server.c  the table; PLAIN, LOGIN, EXTERNAL
 *   scram.c   SCRAM-SHA-256 and -PLUS
 *   cram.c    CRAM-MD5
 *   bearer.c  XOAUTH2, OAUTHBEARER */
#ifndef SASL_SERVER_IMPL_H
#define SASL_SERVER_IMPL_H

#include "sasl/server.h"

/* Appends to `held`, which never moves; false: more than the mechanism has room for. */
bool sasl_hold(struct sasl_server *x, struct slice in, struct slice *ret);
/* UTF-8 without NUL, at most SASL_FIELD_MAX octets. */
bool sasl_field_ok(struct slice f);
/* RFC 5801 section 4, without the flag: ["a=" saslname] ",". Cuts it off *in; the name goes to
 * `held`. */
bool sasl_authzid(struct sasl_server *x, struct slice *in, struct slice *ret);
/* RFC 5801 section 4: =2C and =3D decoded into `held`; not empty. */
bool sasl_name(struct sasl_server *x, struct slice in, struct slice *ret);

#define SCRAM_MESSAGE_MAX 2048
#define SCRAM_ROOM        (3 * SCRAM_MESSAGE_MAX)
#define CRAM_ROOM         1024

sasl_step_fn scram_step, cram_step, xoauth2_step, oauthbearer_step;
enum sasl_got scram_supply(struct sasl_server *, const struct sasl_supply *, struct buf *out);
enum sasl_got scram_verdict(struct sasl_server *, struct buf *out);
enum sasl_got cram_supply(struct sasl_server *, const struct sasl_supply *, struct buf *out);
enum sasl_got bearer_refused(struct sasl_server *, struct buf *out);

#endif
