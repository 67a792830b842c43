/* auth/answer.c -- reasons, and what the client is told of them. */
#include "auth/login.h"

#include "base/must.h"

// clang-format off
static const struct {
	const char *name;
	enum auth_answer answer;
	bool guess; /* auth_is_guess() */
} reasons[REASON_COUNT] = {
	[REASON_OK]                      = { "ok",                     AUTH_OK,       false },
	[REASON_BAD_USERNAME]            = { "bad_username",           AUTH_BAD_PAIR, true },
	[REASON_BAD_KEY_SHAPE]           = { "bad_key_shape",          AUTH_BAD_PAIR, true },
	[REASON_BASIC_AUTH]              = { "basic_auth",             AUTH_BASIC,    true },
	[REASON_UNKNOWN_KEY]             = { "unknown_key",            AUTH_INVALID,  true },
	[REASON_MISTYPED_KEY]            = { "mistyped_key",           AUTH_INVALID,  true },
	[REASON_WRONG_SECRET]            = { "wrong_secret",           AUTH_INVALID,  true },
	[REASON_USERNAME_KEY_MISMATCH]   = { "username_key_mismatch",  AUTH_INVALID,  false },
	[REASON_OTHER_IDENTITY]          = { "other_identity",         AUTH_INVALID,  false },
	[REASON_NOT_A_KEY_ID]            = { "not_a_key_id",           AUTH_INVALID,  true },
	[REASON_BINDING]                 = { "channel_binding",        AUTH_INVALID,  true },
	[REASON_BINDING_TYPE]            = { "channel_binding_type",   AUTH_INVALID,  true },
	[REASON_DOWNGRADE]               = { "downgrade",              AUTH_INVALID,  true },
	[REASON_BAD_NONCE]               = { "bad_nonce",              AUTH_INVALID,  true },
	[REASON_NO_CRAM_MD5]             = { "no_cram_md5",            AUTH_INVALID,  true },
	[REASON_NO_ISSUER]               = { "no_issuer",              AUTH_INVALID,  true },
	[REASON_TOKEN_MALFORMED]         = { "token_malformed",        AUTH_INVALID,  true },
	[REASON_TOKEN_HEADER]            = { "token_header",           AUTH_INVALID,  true },
	[REASON_TOKEN_ALGORITHM]         = { "token_algorithm",        AUTH_INVALID,  true },
	[REASON_TOKEN_TYPE]              = { "token_type",             AUTH_INVALID,  true },
	[REASON_TOKEN_UNKNOWN_KEY]       = { "token_unknown_key",      AUTH_INVALID,  true },
	[REASON_TOKEN_SIGNATURE]         = { "token_signature",        AUTH_INVALID,  true },
	[REASON_TOKEN_ISSUER]            = { "token_issuer",           AUTH_INVALID,  true },
	[REASON_TOKEN_AUDIENCE]          = { "token_audience",         AUTH_INVALID,  false },
	[REASON_TOKEN_EXPIRED]           = { "token_expired",          AUTH_INVALID,  false },
	[REASON_TOKEN_NOT_YET]           = { "token_not_yet",          AUTH_INVALID,  false },
	[REASON_TOKEN_SCOPE]             = { "token_scope",            AUTH_INVALID,  false },
	[REASON_TOKEN_CLAIMS]            = { "token_claims",           AUTH_INVALID,  false },
	[REASON_TOKEN_INACTIVE]          = { "token_inactive",         AUTH_INVALID,  true },
	[REASON_TOKEN_TROUBLE]           = { "token_trouble",          AUTH_LATER,    false },
	[REASON_OTHER_HOST]              = { "other_host",             AUTH_INVALID,  true },
	[REASON_UNKNOWN_SUBJECT]         = { "unknown_subject",        AUTH_INVALID,  false },
	[REASON_AMBIGUOUS_SUBJECT]       = { "ambiguous_subject",      AUTH_INVALID,  false },
	[REASON_ISSUER_DOWN]             = { "issuer_down",            AUTH_LATER,    false },
	[REASON_ISSUER_BUSY]             = { "issuer_busy",            AUTH_LATER,    false },
	[REASON_UNKNOWN_CERTIFICATE]     = { "unknown_certificate",    AUTH_INVALID,  true },
	[REASON_AMBIGUOUS_CERTIFICATE]   = { "ambiguous_certificate",  AUTH_INVALID,  true },
	[REASON_MECHANISM]               = { "mechanism_not_allowed",  AUTH_INVALID,  false },
	[REASON_ADDRESS]                 = { "wrong_address",          AUTH_INVALID,  false },
	[REASON_REVOKED]                 = { "revoked",                AUTH_INVALID,  false },
	[REASON_EXPIRED]                 = { "expired",                AUTH_INVALID,  false },
	[REASON_ACCOUNT_HELD]            = { "account_held",           AUTH_INVALID,  false },
	[REASON_ACCOUNT_CLOSED]          = { "account_closed",         AUTH_INVALID,  false },
	[REASON_SCOPE_MISSING]           = { "scope_missing",          AUTH_INVALID,  false },
	[REASON_STORE_DOWN]              = { "store_down",             AUTH_LATER,    false },
};

#define TEXT(lit) { lit, sizeof(lit) - 1 }

/* RFC 4954 4 and 6 for the codes; the sentences as users of SendGrid know them. */
static const struct auth_text texts[] = {
	[AUTH_OK]       = { 235, TEXT("2.7.0"), TEXT("Authentication successful"), false },
	[AUTH_BAD_PAIR] = { 535, TEXT("5.7.8"),
			    TEXT("Authentication failed: Bad username / password"), false },
	[AUTH_BASIC]    = { 535, TEXT("5.7.8"),
			    TEXT("Authentication failed: Basic authentication is not allowed with "
				 "2FA enabled. To fix, see "), true },
	[AUTH_INVALID]  = { 535, TEXT("5.7.8"),
			    TEXT("Authentication failed: The provided authorization grant is "
				 "invalid, expired, or revoked"), false },
	[AUTH_LATER]    = { 454, TEXT("4.7.0"), TEXT("Temporary authentication failure"), false },
};
// clang-format on

const char *auth_reason_name(enum auth_reason r)
{
	MUST((size_t)r < REASON_COUNT);
	return reasons[r].name;
}

enum auth_answer auth_answer(enum auth_reason r)
{
	MUST((size_t)r < REASON_COUNT);
	return reasons[r].answer;
}

bool auth_is_guess(enum auth_reason r)
{
	MUST((size_t)r < REASON_COUNT);
	return reasons[r].guess;
}

const struct auth_text *auth_text(enum auth_answer a)
{
	MUST((size_t)a < sizeof(texts) / sizeof(*texts));
	return &texts[a];
}

void auth_add_text(enum auth_answer a, struct slice link, struct buf *out)
{
	buf_add(out, auth_text(a)->text);
	if (auth_text(a)->link)
		buf_add(out, link);
}
