/* base/utf8.h -- well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, <= U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

bool utf8_valid(struct slice s);
/* No byte above 0x7f. */
bool ascii_only(struct slice s);
/* Holds a byte below 0x20 or 0x7f. */
bool has_control(struct slice s);

#endif
