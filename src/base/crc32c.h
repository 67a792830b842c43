/* base/crc32c.h -- CRC-32C (Castagnoli), RFC 3720 appendix B.4. crc: 0, or the value so far. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/slice.h"

uint32_t crc32c(uint32_t crc, struct slice s);
/* The same without the processor's instruction. */
uint32_t crc32c_portable(uint32_t crc, struct slice s);

#endif
