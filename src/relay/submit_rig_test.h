/* relay/submit_rig_test.h -- messages of a shop, checked as serve/ does it, over the memory store.
 */
#ifndef RELAY_SUBMIT_RIG_TEST_H
#define RELAY_SUBMIT_RIG_TEST_H

#include "relay/submit.h"

#include "account/account.h"
#include "relay/room_test.h"

/* The shop has own.test, tree.test with its subdomains, and xn--bcher-kva.test; the other account
 * foreign.test with its subdomains, and taken.tree.test. */
struct fix {
	struct store *store;
	struct store_handle *h;
	struct sender_cache *cache;
	struct submit_conf conf;
	uint64_t account, other;
	/* of the last run */
	struct arena a;
	struct submit_result result;
	struct submit_question question;
	size_t rounds; /* of asking the store */
	uint64_t lookups;
};

int submit_begin(void **state);
int submit_end(void **state);
void add(struct fix *, uint64_t account, const char *domain, bool subdomains);
void take_away(struct fix *, const char *domain);

struct mail {
	const char *message;
	const char *reverse_domain; /* "" or NULL: the null reverse-path */
	bool smtputf8, cut;         /* cut: there is more than what is shown */
	unsigned rcpts;             /* 0: one */
	uint64_t account;           /* 0: the shop */
};

enum submit_verdict run(struct fix *, const struct mail *);
/* Between the rounds, between() has its say. */
enum submit_verdict run_between(struct fix *, const struct mail *, void (*between)(struct fix *));

#define HELP  "https://relay.example/senders"
#define RULE  "The from address does not match a verified Sender Identity"
#define DATED "Date: x\r\nMessage-ID: <1@x>\r\n"

void assert_ready(struct fix *, enum submit_verdict);
void assert_refused(struct fix *, enum submit_verdict, int code, const char *enhanced,
		    const char *text, const char *reason);
void assert_foreign(struct fix *, enum submit_verdict);

#endif
