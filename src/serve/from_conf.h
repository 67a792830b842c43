/* serve/from_conf.h -- what the configuration says, as other rooms want to be told. */
#ifndef SERVE_FROM_CONF_H
#define SERVE_FROM_CONF_H

#include "ops/conf.h"
#include "relay/submit.h"
#include "smtp/session.h"

/* Both keep slices of the configuration. implicit: the listener's sessions begin inside TLS. */
struct smtp_config session_conf(const struct conf *, bool implicit);
struct submit_conf submit_conf(const struct conf *);

#endif
