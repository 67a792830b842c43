/* account/key_impl.h -- how a key is made, for this room and its tests. */
#ifndef ACCOUNT_KEY_IMPL_H
#define ACCOUNT_KEY_IMPL_H

#include "account/key.h"

#define KEY_ID_RANDOM 12
#define KEY_ID_CHECK  4
#define KEY_RANDOM    (KEY_ID_RANDOM + 32)

/* The text of a new key from its random bytes: 12 for the id, 32 for the secret. */
void key_text_make(const unsigned char random[KEY_RANDOM], char ret[KEY_TEXT_LEN]);
void key_scram_make(struct secret whole, const unsigned char salt[SCRAM_SALT],
		    struct key_scram *ret);

/* What its CRAM-MD5 state is sealed for. */
#define KEY_CRAM_PURPOSE (9 + KEY_ID_LEN)
void key_cram_purpose(struct slice id, char ret[KEY_CRAM_PURPOSE]);

#endif
