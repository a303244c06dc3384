# Helpers of the demo's scripts, which source this.

bold= dim= plain=
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# on: where the next commands run, such as a network namespace; empty: just here.
# who: what is shown before a command that runs on one of several devices.
on=() who=
show() { printf '%s%s$ %s%s\n' "$dim" "$who" "$*" "$plain"; "${on[@]}" "$@"; }
quietly() { "${on[@]}" "$@" >/dev/null 2>&1; }

results=() failed=0
ok() { results+=("ok      $1"); }
bad() { results+=("FAILED  $1"); failed=1; }
# check WHAT COMMAND...: runs the command, and remembers whether it held.
check() {
	local what=$1; shift
	if quietly "$@"; then ok "$what"; else bad "$what"; fi
}
# guest COMMAND...: runs a command in the guest of the workspace ana.
guest() { "${on[@]}" satchel exec ana -- "$@"; }
# guest_says WHAT EXPECTED COMMAND...: the command's output in the guest is as expected.
guest_says() {
	local what=$1 expected=$2 got; shift 2
	got=$(guest "$@" </dev/null 2>&1) || true
	if [[ $got == "$expected" ]]; then ok "$what"; else bad "$what: got '$got', not '$expected'"; fi
}
