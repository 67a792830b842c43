/* api/reload.c -- asking for a reload, and saying how the last one went. The driver does it. */
#include "api/api_impl.h"

bool api_reload_ask(struct api_run *r, struct err *e)
{
	(void)e;
	r->call->reload = true;
	json_open(&r->out);
	json_close(&r->out);
	return true;
}

static void show_warnings(struct json_out *j, const struct api_reload *v)
{
	json_key(j, "warnings");
	json_open_list(j);
	for (unsigned i = 0; i < v->n_warnings; i++) {
		json_open(j);
		json_kstr(j, "warning", slice_str(v->warnings[i]));
		json_close(j);
	}
	json_close_list(j);
}

void api_reload_reply(struct api_call *c, const struct api_reload *v)
{
	struct json_out j;

	buf_clear(&c->reply);
	if (!v->ok) {
		struct err e = { .kind = v->kind };

		memcpy(e.text, v->error, sizeof e.text);
		api_reply_error(c, &e);
		return;
	}
	c->status = 200;
	json_begin(&j, &c->reply);
	json_open(&j);
	json_kstr(&j, "result", S("in use"));
	json_knum(&j, "generation", v->generation);
	json_knum(&j, "listeners_opened", v->opened);
	json_knum(&j, "listeners_closed", v->closed);
	json_kstr(&j, "restart_needed_for", slice_str(v->waiting));
	if (v->n_warnings)
		show_warnings(&j, v);
	json_close(&j);
}

void api_reload_show(struct json_out *j, const struct api_reload *v)
{
	json_knum(j, "generation", v->generation);
	json_kstr(j, "restart_needed_for", slice_str(v->waiting));
	if (!v->at_ms)
		return;
	json_ktime(j, "reload", v->at_ms);
	json_kstr(j, "reload_cause", slice_str(v->cause));
	json_kstr(j, "reload_result", v->ok ? S("in use") : S("refused"));
	json_kstr(j, "reload_error", slice_str(v->error));
}
