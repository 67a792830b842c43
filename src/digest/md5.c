/* digest/md5.c -- MD5 by RFC 1321; the library's does not give its state away. */
#include "digest/md5.h"

#include "digest/digest.h"

#define BLOCK 64

/* RFC 1321 section 3.4: floor(2^32 * |sin(i + 1)|). */
static const uint32_t sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
	0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
	0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
	0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
	0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
	0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
	0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
	0xeb86d391,
};
static const unsigned char turns[4][4] = {
	{ 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 }
};

static uint32_t little(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void compress(uint32_t state[4], const unsigned char block[BLOCK])
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

	for (unsigned i = 0; i < 64; i++) {
		unsigned turn = turns[i / 16][i % 4], word = 0;
		uint32_t f = 0;

		switch (i / 16) {
		case 0:
			f = (b & c) | (~b & d);
			word = i;
			break;
		case 1:
			f = (d & b) | (~d & c);
			word = (5 * i + 1) % 16;
			break;
		case 2:
			f = b ^ c ^ d;
			word = (3 * i + 5) % 16;
			break;
		case 3:
			f = c ^ (b | ~d);
			word = 7 * i % 16;
			break;
		}
		f += a + sines[i] + little(block + (size_t)4 * word);
		a = d;
		d = c;
		c = b;
		b += f << turn | f >> (32 - turn);
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

static void begin(uint32_t state[4])
{
	state[0] = 0x67452301;
	state[1] = 0xefcdab89;
	state[2] = 0x98badcfe;
	state[3] = 0x10325476;
}

static void save(const uint32_t state[4], unsigned char ret[DIGEST_MD5])
{
	for (size_t i = 0; i < DIGEST_MD5; i++)
		ret[i] = (unsigned char)(state[i / 4] >> 8 * (i % 4));
}

static void load(uint32_t state[4], const unsigned char from[DIGEST_MD5])
{
	for (size_t i = 0; i < 4; i++)
		state[i] = little(from + 4 * i);
}

/* The rest of a message, when `before` bytes (whole blocks) have gone into the state. */
static void finish(uint32_t state[4], uint64_t before, struct slice text,
		   unsigned char ret[DIGEST_MD5])
{
	uint64_t bits = (before + text.n) * 8;
	unsigned char block[2 * BLOCK] = { 0 };
	size_t n;

	while (text.n >= BLOCK)
		compress(state, (const unsigned char *)slice_take(&text, BLOCK).p);
	if (text.n)
		memcpy(block, text.p, text.n);
	block[text.n] = 0x80;
	n = text.n + 9 <= BLOCK ? BLOCK : (size_t)2 * BLOCK;
	for (size_t i = 0; i < 8; i++)
		block[n - 8 + i] = (unsigned char)(bits >> 8 * i);
	for (size_t i = 0; i < n; i += BLOCK)
		compress(state, block + i);
	save(state, ret);
	digest_wipe(block, sizeof block);
}

static void pad(const unsigned char key[BLOCK], unsigned char with, unsigned char ret[DIGEST_MD5])
{
	unsigned char block[BLOCK];
	uint32_t state[4];

	for (size_t i = 0; i < BLOCK; i++)
		block[i] = key[i] ^ with;
	begin(state);
	compress(state, block);
	save(state, ret);
	digest_wipe(block, sizeof block);
	digest_wipe(state, sizeof state);
}

void digest_hmac_md5_state(struct slice key, unsigned char ret[HMAC_MD5_STATE])
{
	unsigned char block[BLOCK] = { 0 };
	uint32_t state[4];

	if (key.n > BLOCK) {
		begin(state);
		finish(state, 0, key, block);
	} else if (key.n) {
		memcpy(block, key.p, key.n);
	}
	pad(block, 0x36, ret);
	pad(block, 0x5c, ret + DIGEST_MD5);
	digest_wipe(block, sizeof block);
	digest_wipe(state, sizeof state);
}

void digest_hmac_md5_finish(const unsigned char state[HMAC_MD5_STATE], struct slice text,
			    unsigned char ret[DIGEST_MD5])
{
	unsigned char inner[DIGEST_MD5];
	uint32_t s[4];

	load(s, state);
	finish(s, BLOCK, text, inner);
	load(s, state + DIGEST_MD5);
	finish(s, BLOCK, slice(inner, sizeof inner), ret);
	digest_wipe(inner, sizeof inner);
	digest_wipe(s, sizeof s);
}
