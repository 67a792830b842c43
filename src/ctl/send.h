/* ctl/send.h -- `signet send`: a test message through the real door.
 *
 * Composed here, submitted by SMTP with TLS and the API key like any application would; the
 * certificate is that of the configuration, or checked against the system's when --host is given.
 */
#ifndef CTL_SEND_H
#define CTL_SEND_H

#include "ctl/ctl.h"

int ctl_send(const struct ctl_args *, const char *config);

#endif
