/* ops/events.h -- every event the log knows, with what it tells. Names are stable: programs that
 * read the log rely on them. The list is also the documentation (docs/operations.md). */
#ifndef OPS_EVENTS_H
#define OPS_EVENTS_H

/* clang-format off */
#define LOG_EVENTS(X) \
	X(LOG_STARTED,            "started",            "the server runs: version, configuration") \
	X(LOG_LISTENING,          "listening",          "a listener accepts connections") \
	X(LOG_LISTENER_CLOSED,    "listener_closed",    "a reload took a listener's address away; its connections go on") \
	X(LOG_RELOADED,           "reloaded",           "configuration, certificates and routes were read anew and are in use") \
	X(LOG_RELOAD_REFUSED,     "reload_refused",     "what was read anew is wrong: the old ones stay in use; reason") \
	X(LOG_STOPPING,           "stopping",           "a signal asks the server to end") \
	X(LOG_STOPPED,            "stopped",            "the server has ended") \
	X(LOG_WARNING,            "warning",            "something is not as it should be, but works") \
	X(LOG_LINES_DROPPED,      "log_lines_dropped",  "the log could not be written fast enough; count lines are lost") \
	X(LOG_CONNECTION,         "connection",         "a client connected to a listener") \
	X(LOG_CONNECTION_REFUSED, "connection_refused", "a client was sent away: a limit is reached") \
	X(LOG_CONNECTION_CLOSED,  "connection_closed",  "a client connection ended") \
	X(LOG_TLS_FAILED,         "tls_failed",         "a TLS handshake failed") \
	X(LOG_AUTHENTICATION,     "authentication",     "a login was decided, or a login was withdrawn; result, and reason for the owner's eyes") \
	X(LOG_ISSUER,             "issuer",             "an issuer of tokens does not answer (down; reason), does again (up), or has no verdict on one (trouble; reason)") \
	X(LOG_BANNED,             "banned",             "an address has had its chances, or a ban was made or lifted by hand") \
	X(LOG_MESSAGE_ACCEPTED,   "message_accepted",   "a message is durable and was acknowledged") \
	X(LOG_MESSAGE_REFUSED,    "message_refused",    "a message was refused after its end of data") \
	X(LOG_MESSAGE_UNREADABLE, "message_unreadable", "a queued message cannot be read now; it is not tried again before the next start") \
	X(LOG_ATTEMPT,            "attempt",            "a connection for delivery failed or was refused") \
	X(LOG_DNS,                "dns",                "whether DNS answers are validated (DNSSEC): works, off, broken, unknown; and why") \
	X(LOG_OUTCOME,            "outcome",            "what an attempt meant for one recipient: delivered, deferred, failed") \
	X(LOG_NOTICE,             "notice",             "the sender of a message is told what became of it, or is not: reason") \
	X(LOG_CANCELLED,          "cancelled",          "queued mail of closed accounts, or of keys and accounts that were told so, is cancelled") \
	X(LOG_SPOOL_FAILED,       "spool_failed",       "a commit failed: the server accepts nothing more and ends") \
	X(LOG_HEALTH,             "health",             "the answer of /healthz changed: ok, or the reason why it is not") \
	X(LOG_SPOOL_DAMAGED,      "spool_damaged",      "a record of the spool is unsound and was set aside; said when it is found and at every start") \
	X(LOG_CONTROL,            "control",            "a call over the control socket: who acted, what, with which status")
/* clang-format on */

#endif
