# Completion of signet(8) for bash, written by: signet help bash
_signet() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local first= second= firsts= seconds= options= i word
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case "$word" in
		--config|--socket|--data|--hostname|--account|--name|--scope|--expires|--mechanisms|--networks|--token|--certificate|--queued|--key|--domain|--site|--older-than|--state|--limit|--after|--since|--address|--identity|--result|--reason|--for|--from|--to|--subject|--text|--host|--port|--spool|--expect|--key-file) ((i++)) ;;
		-*|=) ;;
		*) if [ -z "$first" ]; then first=$word
		   elif [ -z "$second" ]; then second=$word
		   fi ;;
		esac
	done
	firsts='help serve init config spool keyring doctor backup restore send status health metrics reload account key domain ban authlog queue message'
	case "$first" in
	help) seconds='man bash zsh fish' ;;
	config) seconds='check dump table man' ;;
	spool) seconds='salvage' ;;
	keyring) seconds='rotate prune' ;;
	account) seconds='add list hold release close states' ;;
	key) seconds='create list show limit revoke' ;;
	domain) seconds='add list remove' ;;
	ban) seconds='list add lift' ;;
	queue) seconds='list show count why retry hold release cancel damaged' ;;
	message) seconds='show' ;;
	esac
	options=' --config --socket --json --data --account --name --scope --expires --mechanisms --networks --cram-md5 --token --certificate --import --verified --subdomains --queued --key --limit --reason'
	case "$first" in
	serve) options="$options" ;;
	init) options="$options --hostname --demo" ;;
	config) options="$options" ;;
	spool) options="$options" ;;
	keyring) options="$options" ;;
	doctor) options="$options" ;;
	backup) options="$options --with-secrets" ;;
	restore) options="$options --spool --expect --deliver" ;;
	send) options="$options --from --to --subject --text --host --port --key-file" ;;
	status) options="$options" ;;
	health) options="$options" ;;
	metrics) options="$options" ;;
	reload) options="$options" ;;
	account) options="$options" ;;
	key) options="$options" ;;
	domain) options="$options" ;;
	ban) options="$options --for" ;;
	authlog) options="$options --since --address --identity --result --follow" ;;
	queue) options="$options --domain --site --older-than --state --all --after" ;;
	message) options="$options" ;;
	esac
	case "$prev" in
	--config|--socket|--data|--spool|--key-file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return ;;
	--config|--socket|--data|--hostname|--account|--name|--scope|--expires|--mechanisms|--networks|--token|--certificate|--queued|--key|--domain|--site|--older-than|--state|--limit|--after|--since|--address|--identity|--result|--reason|--for|--from|--to|--subject|--text|--host|--port|--spool|--expect|--key-file) return ;;
	esac
	case "$cur" in
	-*) COMPREPLY=($(compgen -W "$options" -- "$cur")); return ;;
	esac
	if [ -z "$first" ]; then
		COMPREPLY=($(compgen -W "$firsts" -- "$cur"))
	elif [ -z "$second" ] && [ -n "$seconds" ]; then
		COMPREPLY=($(compgen -W "$seconds" -- "$cur"))
	else
		case "$first $second" in
		'config check'|'config dump'|'spool salvage'|'backup'|'restore') compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
		esac
	fi
}
complete -F _signet signet
