#include "serve/from_conf.h"

#include "base/must.h"
#include "mime/address.h"

/* What nobody could judge is not offered. */
static uint32_t mechanisms(const struct conf *c, const struct conf_list *names)
{
	const unsigned without = c->n_issuers ? 0 : SASL_TOKEN;
	uint32_t set = 0;

	for (size_t i = 0; i < names->n; i++) {
		const struct sasl_mech *m = sasl_mech_find(names->at[i]);

		MUST(m); /* the configuration knows no others */
		set |= SASL_BIT(sasl_mech_id(m));
	}
	return sasl_without(set, without);
}

struct smtp_config session_conf(const struct conf *c, const struct conf_listener *l)
{
	bool implicit = slice_eq(l->tls, S("implicit"));

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
		.mechanisms = mechanisms(c, &l->mechanisms),
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

bool bounce_conf(const struct conf *c, struct arena *a, struct bounce_conf *ret, struct err *e)
{
	struct mime_addresses list;
	struct buf from;

	buf_init(&from, 1024);
	buf_add(&from, S("Mail Delivery System <"));
	if (c->bounce.from.n) {
		buf_add(&from, c->bounce.from);
	} else {
		buf_add(&from, S("mailer-daemon@"));
		buf_add(&from, c->hostname);
	}
	buf_addc(&from, '>');
	*ret = (struct bounce_conf){
		.enabled = slice_eq(c->bounce.enabled, S("yes")),
		.delay_warning = slice_eq(c->bounce.delay_warning, S("yes")),
		.hostname = arena_dup(a, c->hostname),
		.from = arena_dup(a, buf_slice(&from)),
		.delay_ms = c->bounce.delay_notice,
		.lifetime_ms = c->retry.lifetime,
		.full_max = c->bounce.full_size,
	};
	buf_done(&from);
	if (!ret->from.p || !ret->hostname.p)
		return err_set(e, ERR_LATER, "out of memory");
	/* Two addresses, or a line end, would do harm in every notice. */
	return (mime_addresses_parse(ret->from, false, 1, a, &list, e) && list.n == 1) ||
	       err_in(e, "bounce.from");
}
