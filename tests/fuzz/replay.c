/* tests/fuzz/replay.c -- runs every file of a corpus folder through one fuzz target, as a test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *dir, const char *name)
{
	char path[4096];
	FILE *f;
	uint8_t *data;
	long n;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) {
		perror(path);
		return -1;
	}
	/* Exactly as many bytes as the file has, on the heap: ASan sees one byte too far. */
	data = malloc(n ? (size_t)n : 1);
	if (!data || fread(data, 1, (size_t)n, f) != (size_t)n) {
		perror(path);
		return -1;
	}
	fclose(f);
	LLVMFuzzerTestOneInput(data, (size_t)n);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *e;
	size_t ran = 0;

	if (!d) {
		fprintf(stderr, "usage: replay CORPUS_DIR (which must exist)\n");
		return 2;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (run_file(argv[1], e->d_name) < 0)
			return 1;
		ran++;
	}
	closedir(d);
	printf("%zu inputs replayed\n", ran);
	return ran ? 0 : 1; /* an empty corpus is a test that cannot fail */
}
