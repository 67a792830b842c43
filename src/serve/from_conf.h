/* serve/from_conf.h -- what the configuration says, as other rooms want to be told. */
#ifndef SERVE_FROM_CONF_H
#define SERVE_FROM_CONF_H

#include "ops/conf.h"
#include "relay/bounce.h"
#include "relay/submit.h"
#include "smtp/session.h"

/* Both keep slices of the configuration. implicit: the listener's sessions begin inside TLS. */
struct smtp_config session_conf(const struct conf *, const struct conf_listener *);
struct submit_conf submit_conf(const struct conf *);

/* The strings of *ret live in the arena. ERR_INPUT: bounce.from is no address. */
bool bounce_conf(const struct conf *, struct arena *, struct bounce_conf *ret, struct err *e);

#endif
