/* Any bytes as a message and as the data of MX, A and AAAA records: what is taken for a host's name
 * is one, each good record can be written again, and no prefix of it is good. */
#include "base/must.h"
#include "dns/rdata.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same record made from what was read: same bytes, but for the case of letters. */
static void write_again(const struct dns_mx *mx, struct slice was)
{
	char wire[300] = { (char)(mx->preference >> 8), (char)mx->preference };
	struct slice name = slice_str(mx->host), label;
	size_t n = 2;

	while (name.n) {
		slice_cut(name, '.', &label, &name);
		wire[n++] = (char)label.n;
		memcpy(wire + n, label.p, label.n);
		n += label.n;
	}
	wire[n++] = '\0';
	MUST(slice_ieq(slice(wire, n), was));
}

static void check_mx(struct slice in)
{
	struct dns_mx mx, cut;

	if (dns_mx_read(in, &mx) != RDATA_OK)
		return;
	MUST(!mx.host[0] || dns_host_name(slice_str(mx.host)));
	write_again(&mx, in);
	for (size_t n = 0; n < in.n; n++)
		MUST(dns_mx_read(slice(in.p, n), &cut) == RDATA_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Storage of exactly that length: a byte read beyond it is seen. */
	char *copy = malloc(size ? size : 1);
	struct slice in = slice(copy, size);
	unsigned char address[16];

	MUST(copy);
	memcpy(copy, data, size);
	check_mx(in);
	if (dns_host_name(in))
		MUST(in.n <= DNS_NAME_MAX && in.p[0] != '.' && in.p[in.n - 1] != '.');
	dns_refers(in);
	MUST(dns_a_read(in, address) == (size == 4));
	MUST(dns_aaaa_read(in, address) == (size == 16));
	free(copy);
	return 0;
}
