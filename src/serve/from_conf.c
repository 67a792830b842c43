#include "serve/from_conf.h"

struct smtp_config session_conf(const struct conf *c, bool implicit)
{
	return (struct smtp_config){
		.hostname = c->hostname,
		.message_max = c->limits.message,
		.rcpt_max = (uint32_t)c->limits.recipients,
		.line_max = (uint32_t)c->limits.line,
		.auth_line_max = (uint32_t)c->limits.auth_line,
		.body_line_max = (uint32_t)c->limits.body_line,
		.bad_max = (uint32_t)c->limits.errors,
		.command_max = (uint32_t)c->limits.commands,
		.auth_max = (uint32_t)c->limits.auth_failures,
		.tx_max = (uint32_t)c->limits.messages_per_connection,
		.tls_available = !implicit,
		.implicit_tls = implicit,
	};
}

struct submit_conf submit_conf(const struct conf *c)
{
	return (struct submit_conf){
		.mime = { .header_max = c->limits.header_size,
			  .fields_max = c->limits.header_fields,
			  .line_max = 998,
			  .received_max = c->limits.received,
			  .addresses_max = 100 },
		.hostname = c->hostname,
		.sender_help = c->links.sender_identity,
	};
}
