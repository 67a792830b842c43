/* spool/spool_contract_test.h -- the rig of the contract's tests, with each back end; the durable
 * one also closed and reopened, and killed and reopened, between any two calls. */
#ifndef SPOOL_SPOOL_CONTRACT_TEST_H
#define SPOOL_SPOOL_CONTRACT_TEST_H

#include "spool/spool_rig_test.h"

extern struct rig rig;

int contract_memory(void **state);
int contract_segments(void **state);
int contract_small(void **state); /* its segments are of 4 KiB */
int contract_reopened(void **state);
int contract_killed(void **state);
int contract_end(void **state);

/* A message of one recipient, for d1.test, of an account and a key. */
void put_from(unsigned n, uint64_t account, const char *key, uint64_t due_ms);
/* How many deliveries are handed out at this time; all are given back. */
size_t due_at(uint64_t now_ms);

/* A group of tests over all of them: OVER(begin) is the list of tests with one. */
#define OVER_EACH                                                                                  \
	OVER(contract_memory), OVER(contract_segments), OVER(contract_reopened),                   \
	    OVER(contract_killed)

int spool_message_cases(void);
int spool_queue_cases(void);
int spool_hold_cases(void);

#endif
