/* ops/conf_impl.h -- the option table, shared by the reader and the writers of conf. */
#ifndef OPS_CONF_IMPL_H
#define OPS_CONF_IMPL_H

#include "ops/conf.h"

enum conf_type {
	CONF_STRING,
	CONF_PATH,   /* a string; relative to the file's directory */
	CONF_CHOICE, /* one of `choices`, with spaces between */
	CONF_UINT,
	CONF_SIZE,
	CONF_DURATION,
	CONF_STRINGS,
	CONF_ADDRESSES, /* list of ADDRESS:PORT */
	CONF_NETWORKS,  /* list of ADDRESS or ADDRESS/BITS */
	CONF_READABLE,  /* list of paths that must be readable files */
};

enum conf_section {
	IN_TOP,
	IN_SPOOL,
	IN_TLS,
	IN_LIMITS,
	IN_RETRY,
	IN_DELIVERY,
	IN_DNS,
	IN_BOUNCE,
	IN_GUARD,
	IN_AUTHLOG,
	IN_QUEUE,
	IN_HISTORY,
	IN_LOG,
	IN_METRICS,
	IN_LINKS,
	IN_LISTENER,
	IN_ROUTE,
	IN_ISSUER,
	SECTIONS
};

struct conf_option {
	enum conf_section section;
	const char *name;
	enum conf_type type;
	size_t at; /* in struct conf, conf_listener, conf_route or conf_issuer */
	const char *standard;
	uint64_t min, max;
	const char *choices, *about;
	bool restart; /* what a reload finds changed here waits for the next start */
};

struct conf_section_info {
	const char *name; /* NULL: the top of the file */
	bool titled;
	const char *about;
};

extern const struct conf_option conf_options[];
extern const size_t conf_n_options;
extern const struct conf_section_info conf_sections[SECTIONS];

/* For people: "number", "starttls implicit". */
const char *conf_type_name(const struct conf_option *);
bool conf_is_list(enum conf_type);

/* What is wrong with a section whose options are right each by itself; NULL: nothing. at[i] is
 * looked at beside those before it. */
const char *conf_check_route(const struct conf_route *);
const char *conf_check_issuer(const struct conf_issuer *at, size_t i);

/* Text to number by type. ERR_INPUT says what is wrong with it. */
bool conf_number(enum conf_type, struct slice text, uint64_t min, uint64_t max, uint64_t *ret,
		 struct err *e);

#endif
