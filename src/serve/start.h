/* serve/start.h -- what `signet` does besides asking a running server. Each returns an exit code
 * (ctl/ctl.h) and says on stderr, in one line, why when it is not 0. */
#ifndef SERVE_START_H
#define SERVE_START_H

#include "base/slice.h"

int serve_run(const char *config);
/* Makes a data directory with everything a first start needs. demo: loopback listeners on high
 * ports, a capture of all mail, an account, a domain and a key, printed once with commands to
 * paste. */
int serve_init(const char *dir, const char *hostname, bool demo);
int serve_config_check(const char *config);
int serve_config_dump(const char *config);
/* The option table as Markdown: what docs/configuration.md holds. */
int serve_config_table(void);
/* The same as mdoc: what docs/man/signet.conf.5 holds. */
int serve_config_man(void);
int serve_states(void);
int serve_salvage(const char *from, const char *to, bool json);

#endif
