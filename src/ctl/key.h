/* ctl/key.h -- what a new key is made of, as the server wants to hear it. */
#ifndef CTL_KEY_H
#define CTL_KEY_H

#include "base/err.h"
#include "base/jsonout.h"
#include "ctl/ctl.h"

/* A whole object. seconds: until it ends; 0: never. ERR_INPUT: the key that was to come by standard
 * input did not. */
bool ctl_key_spec(const struct ctl_args *, uint64_t seconds, struct json_out *, struct err *e);

/* What it is limited to from now on: what was not said stays. ERR_INPUT: nothing was said. */
bool ctl_key_limits(const struct ctl_args *, struct json_out *, struct err *e);

#endif
