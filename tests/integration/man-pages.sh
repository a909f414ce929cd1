#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/integration/man-pages.sh - what --help says is in the man page, and the other way round
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
needs man

top=$(cd "$(dirname "$0")/../.." && pwd)
build=$top/${GRIDBOX_BUILD:-build}
man=$top/server/man
export LC_ALL=C.UTF-8 MANWIDTH=80

# ".It Ic volume create Ar NAME Fl -image Ar IMAGE" -> "volume create NAME --image IMAGE"
plain() { sed -e 's/ Ns / /g' -e 's/^\.It //' -e 's/\(^\| \)\(Ic\|Ar\) /\1/g' -e 's/\(^\| \)Fl -/\1--/g'; }

# The options that a help text lists: "--image IMAGE[@VERSION]", sorted.
help_options() { sed -n 's/^  *\(--[a-z].*\)/\1/p' | sed 's/  .*//' | LC_ALL=C sort; }

same() # GOT WANT WHAT
{
    printf '%s\n' "$1" >"$tap_tmp/help"
    printf '%s\n' "$2" >"$tap_tmp/page"
    cmp -s "$tap_tmp/help" "$tap_tmp/page"
    ok $? "$3" || diff "$tap_tmp/help" "$tap_tmp/page" | sed -e 's/^</only in --help:/' \
        -e 's/^>/only in the page:/' -e '/^[-0-9]/d' -e 's/^/# /'
}

for page in "$man"/*.[1-8] "$top"/hostside/man/*.[1-8]; do
    name=${page##*/}
    warnings=$(man --warnings -l "$page" 2>&1 >/dev/null)
    is "$warnings" "" "$name: reads without warnings"
    for section in EXAMPLES FILES SECURITY; do
        grep -q "^\.Sh $section\$" "$page"
        ok $? "$name: has $section"
    done
    case $name in
        *.[18])
            grep -q '^\.Sh EXIT STATUS$' "$page"
            ok $? "$name: has EXIT STATUS"
            ;;
    esac
done

# ---- gridbox: commands, and each command's options ----------------------------------------------
commands=$("$build/gridbox" --help | sed -n 's/^  \([a-z][a-z].*\)/\1/p' | sed 's/  .*//')
same "$commands" "$(grep '^\.It Ic ' "$man/gridbox.1" | plain)" "gridbox: commands"

# The options of every command stand before the first command.
same "$("$build/gridbox" --help | help_options)" \
    "$(sed '/^\.It Ic /,$d' "$man/gridbox.1" | grep '^\.It Fl ' | plain | LC_ALL=C sort)" \
    "gridbox: options of every command"
printf '%s\n' "$commands" | sed 's/ [^a-z].*//; s/ --.*//' >"$tap_tmp/commands"
while read -r group verb; do
    words=$group${verb:+ $verb}
    # shellcheck disable=SC2086 # a list of words
    same "$("$build/gridbox" $words --help </dev/null | sed '/^options of every command/,$d' | help_options)" \
        "$(awk -v words="$words" '
            /^\.It Ic / { inside = index($0 " ", ".It Ic " words " ") == 1 }
            inside && /^\.It Fl /' "$man/gridbox.1" | plain | LC_ALL=C sort)" \
        "gridbox $words: options"
done <"$tap_tmp/commands"

# ---- the two daemons: options -------------------------------------------------------------------
same "$("$build/gridboxd" --help | help_options)" \
    "$(grep '^\.It Fl ' "$man/gridboxd.8" | plain | LC_ALL=C sort)" "gridboxd: options"
same "$("$build/gridbox-host" --help | help_options)" \
    "$(grep '^\.It Fl ' "$top/hostside/man/gridbox-host.8" | plain | LC_ALL=C sort)" \
    "gridbox-host: options"

# The configuration file has the options of the command line, but for those that only make sense there.
same "$("$build/gridboxd" --help | help_options | sed -e 's/^--//' -e 's/ .*//' |
    grep -vxE 'config|help|version')" \
    "$(sed -n 's/^\.It Ic \([a-z-]*\).*/\1/p' "$man/gridboxd.conf.5" | LC_ALL=C sort -u)" \
    "gridboxd.conf: keys"
done_testing
