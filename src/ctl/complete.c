/* ctl/complete.c -- completion for bash, zsh and fish, written out from the tables.
 *
 * A command has one word or two. An option whose help begins with the first word of a command and a
 * colon ("send: subject") is offered with that command, the others with every one. */
#include "ctl/manual.h"

#define HEADER "written by: signet help"

static struct slice first_word(struct slice name)
{
	struct slice first, rest;

	slice_cut(name, ' ', &first, &rest);
	return first;
}

static struct slice second_word(struct slice name)
{
	struct slice first, rest;

	slice_cut(name, ' ', &first, &rest);
	return rest;
}

/* The row is the first one with its first word. */
static bool is_new(size_t at, struct slice first)
{
	struct ctl_row row;

	for (size_t i = 0; i < at && ctl_command_row(i, &row); i++)
		if (slice_eq(first_word(row.name), first))
			return false;
	return true;
}

/* The command an option belongs to; empty: to all. */
static struct slice owner(const struct ctl_row *option)
{
	struct slice word, rest;
	struct ctl_row row;

	if (slice_cut(slice_str(option->help), ':', &word, &rest))
		for (size_t i = 0; ctl_command_row(i, &row); i++)
			if (slice_eq(first_word(row.name), first_word(word)))
				return first_word(word);
	return S("");
}

static bool is_path(const char *value)
{
	return value && (strstr(value, "FILE") || strstr(value, "PATH") || strstr(value, "DIR") ||
			 strstr(value, "FROM TO"));
}

/* Between single quotes. fish has an escape there, the others have none. */
static void add_quoted(struct buf *out, struct slice s, bool fish)
{
	buf_addc(out, '\'');
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\'')
			buf_add(out, fish ? S("\\'") : S("'\\''"));
		else if (s.p[i] == '\\' && fish)
			buf_add(out, S("\\\\"));
		else
			buf_addc(out, s.p[i]);
	}
	buf_addc(out, '\'');
}

/* What stands for a first word that has several second ones: these. */
static void add_group_help(struct buf *out, struct slice first)
{
	struct ctl_row row;
	bool some = false;

	for (size_t i = 0; ctl_command_row(i, &row); i++)
		if (slice_eq(first_word(row.name), first) && second_word(row.name).n) {
			buf_add(out, some ? S(", ") : S(""));
			buf_add(out, second_word(row.name));
			some = true;
		}
}

static void first_help(struct buf *out, const struct ctl_row *row, bool fish)
{
	struct buf help;

	buf_init(&help, 4096);
	if (second_word(row->name).n)
		add_group_help(&help, first_word(row->name));
	else
		buf_add(&help, slice_str(row->help));
	add_quoted(out, buf_slice(&help), fish);
	out->failed |= help.failed;
	buf_done(&help);
}

/* -- bash -- */

static void bash_firsts(struct buf *out)
{
	struct ctl_row row;

	buf_add(out, S("\tfirsts='help"));
	for (size_t i = 0; ctl_command_row(i, &row); i++)
		if (is_new(i, first_word(row.name))) {
			buf_addc(out, ' ');
			buf_add(out, first_word(row.name));
		}
	buf_add(out, S("'\n"));
}

static void bash_seconds(struct buf *out)
{
	struct ctl_row row;

	buf_add(out, S("\tcase \"$first\" in\n\thelp) seconds='man bash zsh fish' ;;\n"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		struct slice first = first_word(row.name);
		struct ctl_row other;

		if (!is_new(i, first) || !second_word(row.name).n)
			continue;
		buf_addc(out, '\t');
		buf_add(out, first);
		buf_add(out, S(") seconds='"));
		for (size_t k = i, some = 0; ctl_command_row(k, &other); k++)
			if (slice_eq(first_word(other.name), first)) {
				buf_add(out, some++ ? S(" ") : S(""));
				buf_add(out, second_word(other.name));
			}
		buf_add(out, S("' ;;\n"));
	}
	buf_add(out, S("\tesac\n"));
}

/* The options that the command of row i owns, or those of all (first empty). */
static void bash_options_of(struct buf *out, struct slice first)
{
	struct ctl_row row;

	for (size_t i = 0; ctl_option_row(i, &row); i++)
		if (slice_eq(owner(&row), first)) {
			buf_add(out, S(" --"));
			buf_add(out, row.name);
		}
}

static void bash_options(struct buf *out)
{
	struct ctl_row row;

	buf_add(out, S("\toptions='"));
	bash_options_of(out, S(""));
	buf_add(out, S("'\n\tcase \"$first\" in\n"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		if (!is_new(i, first_word(row.name)))
			continue;
		buf_addc(out, '\t');
		buf_add(out, first_word(row.name));
		buf_add(out, S(") options=\"$options"));
		bash_options_of(out, first_word(row.name));
		buf_add(out, S("\" ;;\n"));
	}
	buf_add(out, S("\tesac\n"));
}

/* A pattern of all options that want a value; path: only those whose value is a file's name. */
static void bash_valued(struct buf *out, bool path)
{
	struct ctl_row row;
	bool some = false;

	for (size_t i = 0; ctl_option_row(i, &row); i++)
		if (row.value && (!path || is_path(row.value))) {
			buf_add(out, some ? S("|--") : S("--"));
			buf_add(out, row.name);
			some = true;
		}
}

static void bash_path_commands(struct buf *out)
{
	struct ctl_row row;
	bool some = false;

	for (size_t i = 0; ctl_command_row(i, &row); i++)
		if (is_path(row.value)) {
			buf_add(out, some ? S("|'") : S("'"));
			buf_add(out, row.name);
			buf_addc(out, '\'');
			some = true;
		}
}

static void bash(struct buf *out)
{
	buf_add(out, S("# Completion of signet(8) for bash, " HEADER " bash\n"
		       "_signet() {\n"
		       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		       "\tlocal first= second= firsts= seconds= options= i word\n"
		       "\tCOMPREPLY=()\n"
		       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		       "\t\tword=${COMP_WORDS[i]}\n"
		       "\t\tcase \"$word\" in\n\t\t"));
	bash_valued(out, false);
	buf_add(out, S(") ((i++)) ;;\n"
		       "\t\t-*|=) ;;\n"
		       "\t\t*) if [ -z \"$first\" ]; then first=$word\n"
		       "\t\t   elif [ -z \"$second\" ]; then second=$word\n"
		       "\t\t   fi ;;\n"
		       "\t\tesac\n"
		       "\tdone\n"));
	bash_firsts(out);
	bash_seconds(out);
	bash_options(out);
	buf_add(out, S("\tcase \"$prev\" in\n\t"));
	bash_valued(out, true);
	buf_add(out, S(") compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")); "
		       "return ;;\n\t"));
	bash_valued(out, false);
	buf_add(out, S(") return ;;\n"
		       "\tesac\n"
		       "\tcase \"$cur\" in\n"
		       "\t-*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); return ;;\n"
		       "\tesac\n"
		       "\tif [ -z \"$first\" ]; then\n"
		       "\t\tCOMPREPLY=($(compgen -W \"$firsts\" -- \"$cur\"))\n"
		       "\telif [ -z \"$second\" ] && [ -n \"$seconds\" ]; then\n"
		       "\t\tCOMPREPLY=($(compgen -W \"$seconds\" -- \"$cur\"))\n"
		       "\telse\n"
		       "\t\tcase \"$first $second\" in\n\t\t"));
	bash_path_commands(out);
	buf_add(out,
		S(") compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
		  "\t\tesac\n"
		  "\tfi\n"
		  "}\n"
		  "complete -F _signet signet\n"));
}

/* -- zsh -- */

static void zsh_pair(struct buf *out, struct slice word, struct slice help)
{
	struct buf pair;

	buf_init(&pair, 4096);
	buf_add(&pair, word);
	buf_addc(&pair, ':');
	buf_add(&pair, help);
	buf_addc(out, ' ');
	add_quoted(out, buf_slice(&pair), false);
	out->failed |= pair.failed;
	buf_done(&pair);
}

static void zsh_commands(struct buf *out)
{
	struct ctl_row row, other;

	buf_add(out, S("\tfirsts=( 'help:commands and options, manual, completion'"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		struct buf help;

		if (!is_new(i, first_word(row.name)))
			continue;
		buf_init(&help, 4096);
		if (second_word(row.name).n)
			add_group_help(&help, first_word(row.name));
		else
			buf_add(&help, slice_str(row.help));
		zsh_pair(out, first_word(row.name), buf_slice(&help));
		buf_done(&help);
	}
	buf_add(out, S(" )\n\tcase $first in\n"
		       "\thelp) seconds=( man bash zsh fish ) ;;\n"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		if (!is_new(i, first_word(row.name)) || !second_word(row.name).n)
			continue;
		buf_addc(out, '\t');
		buf_add(out, first_word(row.name));
		buf_add(out, S(") seconds=("));
		for (size_t k = i; ctl_command_row(k, &other); k++)
			if (slice_eq(first_word(other.name), first_word(row.name)))
				zsh_pair(out, second_word(other.name), slice_str(other.help));
		buf_add(out, S(" ) ;;\n"));
	}
	buf_add(out, S("\tesac\n"));
}

static void zsh_options(struct buf *out)
{
	struct ctl_row row;

	for (size_t i = 0; ctl_option_row(i, &row); i++) {
		char name[80] = "--";
		size_t n = row.name.n < 70 ? row.name.n : 70;

		memcpy(name + 2, row.name.p, n);
		if (owner(&row).n) {
			buf_add(out, S("\t[[ $first == "));
			buf_add(out, owner(&row));
			buf_add(out, S(" ]] && options+=("));
		} else {
			buf_add(out, S("\toptions+=("));
		}
		zsh_pair(out, slice(name, n + 2), slice_str(row.help));
		buf_add(out, S(" )\n"));
	}
}

static void zsh(struct buf *out)
{
	buf_add(out, S("#compdef signet\n# Completion of signet(8) for zsh, " HEADER " zsh\n"
		       "_signet() {\n"
		       "\tlocal first= second= word i\n"
		       "\tlocal -a firsts seconds options\n"
		       "\tfor ((i = 2; i < CURRENT; i++)); do\n"
		       "\t\tword=$words[i]\n"
		       "\t\tcase $word in\n\t\t("));
	bash_valued(out, false);
	buf_add(out, S(") ((i++)) ;;\n"
		       "\t\t(-*) ;;\n"
		       "\t\t(*) if [[ -z $first ]]; then first=$word\n"
		       "\t\t   elif [[ -z $second ]]; then second=$word\n"
		       "\t\t   fi ;;\n"
		       "\t\tesac\n"
		       "\tdone\n"));
	zsh_commands(out);
	zsh_options(out);
	buf_add(out, S("\tcase $words[CURRENT-1] in\n\t("));
	bash_valued(out, true);
	buf_add(out, S(") _files; return ;;\n\t("));
	bash_valued(out, false);
	buf_add(out, S(") return ;;\n"
		       "\tesac\n"
		       "\tif [[ $words[CURRENT] == -* ]]; then _describe -o option options\n"
		       "\telif [[ -z $first ]]; then _describe command firsts\n"
		       "\telif [[ -z $second && -n $seconds ]]; then _describe command seconds\n"
		       "\telse\n"
		       "\t\tcase \"$first $second\" in\n\t\t("));
	bash_path_commands(out);
	buf_add(out, S(") _files ;;\n"
		       "\t\tesac\n"
		       "\tfi\n"
		       "}\n"
		       "compdef _signet signet\n"
		       "[[ $zsh_eval_context[-1] == loadautofunc ]] && _signet \"$@\"\n"
		       "true\n"));
}

/* -- fish -- */

static void fish(struct buf *out)
{
	struct ctl_row row;

	buf_add(out,
		S("# Completion of signet(8) for fish, " HEADER " fish\n"
		  "complete -c signet -f\n"
		  "complete -c signet -n __fish_use_subcommand -a help -d 'commands and options, "
		  "manual, completion'\n"
		  "complete -c signet -n '__fish_seen_subcommand_from help' -a 'man bash zsh "
		  "fish'\n"));
	for (size_t i = 0; ctl_command_row(i, &row); i++) {
		struct slice first = first_word(row.name), second = second_word(row.name);

		if (is_new(i, first)) {
			buf_add(out, S("complete -c signet -n __fish_use_subcommand -a "));
			buf_add(out, first);
			buf_add(out, S(" -d "));
			first_help(out, &row, true);
			buf_addc(out, '\n');
		}
		if (second.n) {
			buf_add(out, S("complete -c signet -n '__fish_seen_subcommand_from "));
			buf_add(out, first);
			buf_add(out, S("' -a "));
			buf_add(out, second);
			buf_add(out, S(" -d "));
			add_quoted(out, slice_str(row.help), true);
			buf_addc(out, '\n');
		}
		if (is_path(row.value)) {
			buf_add(out, S("complete -c signet -F -n '__fish_seen_subcommand_from "));
			buf_add(out, second.n ? second : first);
			buf_add(out, S("'\n"));
		}
	}
	for (size_t i = 0; ctl_option_row(i, &row); i++) {
		buf_add(out, S("complete -c signet -l "));
		buf_add(out, row.name);
		if (owner(&row).n) {
			buf_add(out, S(" -n '__fish_seen_subcommand_from "));
			buf_add(out, owner(&row));
			buf_addc(out, '\'');
		}
		if (row.value)
			buf_add(out, is_path(row.value) ? S(" -r -F") : S(" -x"));
		buf_add(out, S(" -d "));
		add_quoted(out, slice_str(row.help), true);
		buf_addc(out, '\n');
	}
}

bool ctl_completion(struct slice shell, struct buf *out)
{
	if (slice_eq(shell, S("bash")))
		bash(out);
	else if (slice_eq(shell, S("zsh")))
		zsh(out);
	else if (slice_eq(shell, S("fish")))
		fish(out);
	else
		return false;
	return true;
}
